//! What an admission plugin is, and which of them are on.

use api::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, PLUGINS};

/// A plugin: its name, and what it does when.
pub(crate) struct Plugin {
    /// Upstream's name, by which flags turn it on and off.
    pub(crate) name: &'static str,
    /// Whether it is on unless a flag turns it off.
    pub(super) is_default: bool,
    /// What it does before an object is validated: complete it, or refuse it.
    pub(super) admit: &'static [(Operation, Handler)],
    /// What it does when an object is complete and valid: judge it.
    pub(super) validate: &'static [(Operation, Handler)],
}

/// One thing that a plugin does.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// It looks at the watch cache alone; when it refuses, it is asked again with a fresh one.
    Now(fn(&Attributes<'_>, &mut Value) -> Result<(), Status>),
    /// It asks others, or looks itself whether the cache is fresh.
    Later(for<'a> fn(&'a Attributes<'a>, &'a mut Value) -> BoxFuture<'a, Result<(), Status>>),
}

impl Plugin {
    /// A plugin that is on and does nothing yet.
    pub(super) const fn named(name: &'static str) -> Self {
        Self { name, is_default: true, admit: &[], validate: &[] }
    }

    /// The same, on only if a flag says so.
    pub(super) const fn off(name: &'static str) -> Self {
        Self { is_default: false, ..Self::named(name) }
    }
}

/// What is wrong with flags about plugins.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginsError {
    /// A plugin does not exist.
    #[error("admission-control plugin {0:?} is unknown; the plugins are {known}", known = AdmissionPlugins::names().join(", "))]
    Unknown(String),
    /// Plugins are to be on and off.
    #[error("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", .0.join(" "))]
    Overlapping(Vec<String>),
}

/// Which plugins are on: `--enable-admission-plugins` and `--disable-admission-plugins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionPlugins {
    /// One for each of [`PLUGINS`].
    is_on: Vec<bool>,
}

impl Default for AdmissionPlugins {
    fn default() -> Self {
        Self { is_on: PLUGINS.iter().map(|plugin| plugin.is_default).collect() }
    }
}

impl AdmissionPlugins {
    /// The names of all plugins, in their order.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        PLUGINS.iter().map(|plugin| plugin.name).collect()
    }

    /// The plugins that are on by default, with those of the first list and without those of the second.
    ///
    /// # Errors
    ///
    /// A name is not known, or in both lists.
    pub fn new<S: AsRef<str>>(enabled: &[S], disabled: &[S]) -> Result<Self, PluginsError> {
        let both = enabled.iter().filter(|name| disabled.iter().any(|other| other.as_ref() == name.as_ref()));
        let both: Vec<String> = both.map(|name| name.as_ref().to_owned()).collect();
        if !both.is_empty() {
            return Err(PluginsError::Overlapping(both));
        }
        let mut plugins = Self::default();
        for name in disabled {
            plugins.turn(name.as_ref(), false)?;
        }
        for name in enabled {
            plugins.turn(name.as_ref(), true)?;
        }
        Ok(plugins)
    }

    fn turn(&mut self, name: &str, on: bool) -> Result<(), PluginsError> {
        let index = PLUGINS.iter().position(|plugin| plugin.name == name);
        self.is_on[index.ok_or_else(|| PluginsError::Unknown(name.to_owned()))?] = on;
        Ok(())
    }

    /// Whether a plugin is on.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.enabled().any(|plugin| plugin.name == name)
    }

    /// Those that are on, in their order.
    pub(super) fn enabled(&self) -> impl Iterator<Item = &'static Plugin> {
        PLUGINS.into_iter().zip(&self.is_on).filter(|(_, on)| **on).map(|(plugin, _)| plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(enabled: &[&str], disabled: &[&str], name: &str, expected: bool) {
        let plugins = AdmissionPlugins::new(enabled, disabled).expect("known names");
        assert_eq!(plugins.enabled().any(|plugin| plugin.name == name), expected, "{name}");
    }

    #[test]
    fn flags_turn_plugins_on_and_off() {
        check(&[], &[], "PodSecurity", true);
        check(&[], &["PodSecurity"], "PodSecurity", false);
        check(&[], &[], "DenyServiceExternalIPs", false);
        check(&["DenyServiceExternalIPs"], &["PodSecurity"], "DenyServiceExternalIPs", true);
    }

    #[test]
    fn plugins_are_either_on_or_off() {
        let error = AdmissionPlugins::new(&["PodSecurity", "Priority"], &["PodSecurity"]).expect_err("it is both");
        let why = "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped";
        assert_eq!(error.to_string(), why);
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = AdmissionPlugins::new(&["podsecurity"], &[]).expect_err("it is unknown").to_string();
        assert!(error.starts_with("admission-control plugin \"podsecurity\" is unknown; the plugins are "), "{error}");
        assert!(error.contains("NamespaceAutoProvision, NamespaceLifecycle, "), "{error}");
    }

    #[test]
    fn every_plugin_has_one_name() {
        let mut names = AdmissionPlugins::names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PLUGINS.len());
    }
}
