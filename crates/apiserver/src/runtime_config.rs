//! `--runtime-config`: which versions of the API are served beside the stable ones, or not served at all.

use std::collections::BTreeMap;
use std::str::FromStr;

use api::kinds::{self, Resource, Stability};

/// What is switched on or off beside the defaults: every stable version is served, no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig(BTreeMap<Key, bool>);

/// What one setting is about. Later variants are more specific and win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// `api/all`.
    All,
    /// `api/ga`, `api/beta`, `api/alpha`.
    Stability(Stability),
    /// `<group>/<version>`, or `v1` (also `api/v1`) of the core group.
    Version(String, String),
    /// `<group>/<version>/<resource>`.
    Resource(String, String, String),
}

/// Why a setting means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeConfigError {
    /// The value is not a boolean.
    #[error("invalid value of {key}: {value:?}, expected true or false")]
    Value {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
    /// There is no such group.
    #[error("unknown api group {0}")]
    Group(String),
    /// The group has no such version.
    #[error("group version {0} has not been registered")]
    Version(String),
    /// The version has no such resource.
    #[error("unknown resource {0}")]
    Resource(String),
    /// The key has another form.
    #[error(
        "invalid key {0}: expected api/all, api/ga, api/beta, api/alpha, <group>/<version> or <group>/<version>/<resource>"
    )]
    Key(String),
    /// A server without any API would have nobody to serve.
    #[error("api/all=false needs versions that are switched on beside it")]
    Nothing,
}

impl FromStr for RuntimeConfig {
    type Err = RuntimeConfigError;

    /// Reads `key=value` pairs with commas between them; a key alone means true.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut settings = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = match value.trim() {
                "true" | "" => true,
                "false" => false,
                other => return Err(RuntimeConfigError::Value { key: key.to_owned(), value: other.to_owned() }),
            };
            settings.insert(parse_key(key.trim())?, value);
        }
        if settings.len() == 1 && settings.get(&Key::All) == Some(&false) {
            return Err(RuntimeConfigError::Nothing);
        }
        Ok(Self(settings))
    }
}

fn parse_key(text: &str) -> Result<Key, RuntimeConfigError> {
    let segments: Vec<&str> = text.split('/').collect();
    let (group, version, resource) = match segments.as_slice() {
        ["api", "all"] => return Ok(Key::All),
        ["api", "ga"] => return Ok(Key::Stability(Stability::Stable)),
        ["api", "beta"] => return Ok(Key::Stability(Stability::Beta)),
        ["api", "alpha"] => return Ok(Key::Stability(Stability::Alpha)),
        ["v1"] | ["api", "v1"] => ("", "v1", None),
        ["v1", resource] | ["api", "v1", resource] => ("", "v1", Some(*resource)),
        [group, version] => (*group, *version, None),
        [group, version, resource] => (*group, *version, Some(*resource)),
        _ => return Err(RuntimeConfigError::Key(text.to_owned())),
    };
    let in_group = || kinds::all().iter().filter(move |row| row.group == group);
    if in_group().next().is_none() {
        return Err(RuntimeConfigError::Group(group.to_owned()));
    }
    let mut in_version = in_group().filter(|row| row.version == version);
    let Some(resource) = resource else {
        return match in_version.next() {
            Some(_) => Ok(Key::Version(group.to_owned(), version.to_owned())),
            None => Err(RuntimeConfigError::Version(text.to_owned())),
        };
    };
    match in_version.find(|row| row.plural == resource) {
        Some(_) => Ok(Key::Resource(group.to_owned(), version.to_owned(), resource.to_owned())),
        None => Err(RuntimeConfigError::Resource(text.to_owned())),
    }
}

impl RuntimeConfig {
    /// Whether a built-in resource is served.
    pub(crate) fn serves(&self, resource: &Resource) -> bool {
        let default = resource.stability == Stability::Stable;
        let mut settings = self.0.iter().filter(|(key, _)| key.is_about(resource));
        settings.next_back().map_or(default, |(_, value)| *value)
    }
}

impl Key {
    fn is_about(&self, resource: &Resource) -> bool {
        let is_of = |group: &str, version: &str| resource.group == group && resource.version == version;
        match self {
            Key::All => true,
            Key::Stability(stability) => resource.stability == *stability,
            Key::Version(group, version) => is_of(group, version),
            Key::Resource(group, version, plural) => is_of(group, version) && resource.plural == *plural,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn serves(settings: &str, group: &str, version: &str, plural: &str) -> bool {
        let config: RuntimeConfig = settings.parse().expect("settings");
        config.serves(kinds::find(group, version, plural).expect("a resource"))
    }

    #[test]
    fn stable_versions_are_served_and_others_when_they_are_named() {
        assert!(serves("", "apps", "v1", "deployments"));
        assert!(!serves("", "networking.k8s.io", "v1beta1", "servicecidrs"));
        for settings in ["api/all=true", "api/beta", "networking.k8s.io/v1beta1=true"] {
            assert!(serves(settings, "networking.k8s.io", "v1beta1", "servicecidrs"), "{settings}");
        }
        assert!(!serves("api/beta=true", "scheduling.k8s.io", "v1alpha1", "workloads"));
        assert!(serves("api/alpha=true", "scheduling.k8s.io", "v1alpha1", "workloads"));
        assert!(!serves("batch/v1=false", "batch", "v1", "jobs"));
    }

    #[test]
    fn the_more_specific_setting_wins() {
        assert!(!serves("api/all=true,networking.k8s.io/v1beta1=false", "networking.k8s.io", "v1beta1", "ipaddresses"));
        let one = "networking.k8s.io/v1beta1/ipaddresses=true";
        assert!(serves(one, "networking.k8s.io", "v1beta1", "ipaddresses"));
        assert!(!serves(one, "networking.k8s.io", "v1beta1", "servicecidrs"));
        assert!(serves("api/all=false,v1=true", "", "v1", "pods"));
        assert!(!serves("api/all=false,v1=true", "apps", "v1", "deployments"));
    }

    #[track_caller]
    fn check_error(settings: &str, expected: &str) {
        let error = settings.parse::<RuntimeConfig>().expect_err("an error");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        check_error("nope.example.com/v1=true", "unknown api group nope.example.com");
        check_error("apps/v9=true", "apps/v9 has not been registered");
        check_error("apps/v1/nopes=true", "unknown resource apps/v1/nopes");
        check_error("apps=true", "invalid key apps");
        check_error("api/nope=true", "unknown api group api");
        check_error("api/beta=perhaps", "invalid value of api/beta: \"perhaps\"");
        check_error("api/all=false", "api/all=false needs");
    }
}
