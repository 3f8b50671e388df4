//! Which resources this server serves: the built-in ones and those of definitions, as one snapshot that never changes.
//!
//! The feed of the watch cache makes a new snapshot whenever a CustomResourceDefinition has changed; a request takes
//! one snapshot and works with it to its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::custom::{Definition, version};
use api::kinds::Resource;

use crate::discovery;
use crate::runtime_config::RuntimeConfig;

/// An API group with its versions, the preferred one first.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) versions: Vec<String>,
}

/// The resources of one moment.
pub(crate) struct Kinds {
    config: Arc<RuntimeConfig>,
    definitions: BTreeMap<String, Arc<Definition>>,
    served: Vec<Arc<Resource>>,
    /// Custom resources that are served, by group, version and plural.
    by_plural: HashMap<String, Arc<Resource>>,
    /// Every version of every definition, by group, version and kind.
    by_kind: HashMap<String, Arc<Resource>>,
    groups: Vec<Group>,
    /// The documents that tell of this snapshot.
    pub(crate) documents: discovery::Documents,
}

fn key(group: &str, version: &str, name: &str) -> String {
    format!("{group}/{version}/{name}")
}

fn is_served(resource: &Resource, config: &RuntimeConfig) -> bool {
    match &resource.custom {
        Some(custom) => custom.definition.is_served && custom.version().served,
        None => config.serves(resource),
    }
}

impl Kinds {
    /// The built-in resources that the configuration lets through and those of definitions.
    pub(crate) fn new(config: Arc<RuntimeConfig>, definitions: impl IntoIterator<Item = Arc<Definition>>) -> Self {
        let definitions: BTreeMap<String, Arc<Definition>> =
            definitions.into_iter().map(|definition| (definition.name.clone(), definition)).collect();
        let custom: Vec<Arc<Resource>> = definitions.values().flat_map(Definition::rows).collect();
        let served: Vec<Arc<Resource>> =
            api::kinds::all().iter().chain(&custom).filter(|row| is_served(row, &config)).cloned().collect();
        let by_plural = custom.iter().filter(|row| is_served(row, &config));
        Self {
            by_plural: by_plural.map(|row| (key(&row.group, &row.version, &row.plural), row.clone())).collect(),
            by_kind: custom.iter().map(|row| (key(&row.group, &row.version, &row.kind), row.clone())).collect(),
            groups: groups(&served),
            documents: discovery::Documents::default(),
            served,
            definitions,
            config,
        }
    }

    /// The same with a definition that is new or has changed, or without one.
    pub(crate) fn with(&self, name: &str, definition: Option<Arc<Definition>>) -> Self {
        let others = self.definitions.values().filter(|other| other.name != name).cloned();
        Self::new(self.config.clone(), others.chain(definition))
    }

    /// The definition with this name.
    pub(crate) fn definition(&self, name: &str) -> Option<&Arc<Definition>> {
        self.definitions.get(name)
    }

    /// The same with other definitions.
    pub(crate) fn with_all(&self, definitions: impl IntoIterator<Item = Arc<Definition>>) -> Self {
        Self::new(self.config.clone(), definitions)
    }

    /// What is served: built-in resources first, in the order of their table.
    pub(crate) fn served(&self) -> &[Arc<Resource>] {
        &self.served
    }

    /// What is served in one version of a group, in the same order.
    pub(crate) fn of_version(&self, group: &str, version: &str) -> Vec<Arc<Resource>> {
        self.served.iter().filter(|row| row.group == group && row.version == version).cloned().collect()
    }

    /// Every group but the core one.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The resource at a path, if it is served.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        match api::kinds::find(group, version, plural) {
            Some(built_in) => Some(built_in).filter(|row| is_served(row, &self.config)),
            None => self.by_plural.get(&key(group, version, plural)),
        }
    }

    /// The resource whose objects are of this kind, even if it is not served.
    pub(crate) fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        api::kinds::find_kind(group, version, kind).or_else(|| self.by_kind.get(&key(group, version, kind)))
    }
}

/// Groups in the order in which upstream lists them; others follow by name.
const GROUP_ORDER: [&str; 22] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
];

fn groups(served: &[Arc<Resource>]) -> Vec<Group> {
    let mut groups: HashMap<&str, Vec<String>> = HashMap::new();
    for resource in served.iter().filter(|resource| !resource.group.is_empty()) {
        let versions = groups.entry(&resource.group).or_default();
        if !versions.iter().any(|version| *version == resource.version) {
            versions.push(resource.version.to_string());
        }
    }
    let place = |group: &str| GROUP_ORDER.iter().position(|known| *known == group).unwrap_or(usize::MAX);
    let mut groups: Vec<Group> =
        groups.into_iter().map(|(name, versions)| Group { name: name.to_owned(), versions }).collect();
    groups.sort_by(|a, b| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
    for group in &mut groups {
        // `v2` is preferred to `v1`: later stable versions replace earlier ones.
        group.versions.sort_by(|a, b| version::compare(b, a));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(settings: &str) -> Kinds {
        Kinds::new(Arc::new(settings.parse().expect("settings")), [])
    }

    #[track_caller]
    fn check_versions(settings: &str, group: &str, expected: &[&str]) {
        let kinds = kinds(settings);
        let found = kinds.groups().iter().find(|each| each.name == group);
        assert_eq!(found.map(|group| group.versions.clone()).unwrap_or_default(), expected);
    }

    #[test]
    fn the_preferred_version_comes_first() {
        check_versions("", "autoscaling", &["v2", "v1"]);
        check_versions("", "resource.k8s.io", &["v1"]);
        check_versions("api/all=true", "resource.k8s.io", &["v1", "v1beta2", "v1beta1", "v1alpha3"]);
        check_versions("", "storagemigration.k8s.io", &[]);
    }

    #[test]
    fn only_what_is_served_is_found() {
        let kinds = kinds("batch/v1/cronjobs=false");
        assert!(kinds.find("batch", "v1", "jobs").is_some());
        assert!(kinds.find("batch", "v1", "cronjobs").is_none());
        let plurals: Vec<String> = kinds.of_version("batch", "v1").iter().map(|row| row.plural.to_string()).collect();
        assert_eq!(plurals, ["jobs"]);
    }
}
