//! Which resources this server serves: the built-in ones and those of definitions, as one snapshot that never changes.
//!
//! The feed of the watch cache makes a new snapshot whenever a CustomResourceDefinition has changed; a request takes
//! one snapshot and works with it to its end.

pub(crate) mod priorities;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::custom::{Definition, version};
use api::kinds::Resource;
use serde_json::Value;

use crate::discovery;
use crate::openapi::Document;
use crate::runtime_config::RuntimeConfig;

use priorities::Priorities;

/// An API group with its versions, the preferred one first.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) versions: Vec<String>,
}

/// A version of a group that an extension API server serves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remote {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) priorities: Priorities,
    /// Its part of the aggregated discovery document.
    pub(crate) item: Value,
    /// Its OpenAPI document, if it has one.
    pub(crate) document: Option<Arc<Document>>,
}

/// The resources of one moment.
pub(crate) struct Kinds {
    config: Arc<RuntimeConfig>,
    definitions: BTreeMap<String, Arc<Definition>>,
    served: Vec<Arc<Resource>>,
    /// Rows under which the same objects are served, where there are several.
    together: Vec<Box<[Arc<Resource>]>>,
    /// Custom resources that are served, by group, version and plural.
    by_plural: HashMap<String, Arc<Resource>>,
    /// Every version of every definition, by group, version and kind.
    by_kind: HashMap<String, Arc<Resource>>,
    remotes: Arc<[Remote]>,
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

/// Whether the objects of two rows are stored at the same place.
fn is_together(row: &Resource, other: &Resource) -> bool {
    row.plural == other.plural && row.storage_group == other.storage_group
}

/// Rows under which the same objects are served, where there are several.
fn together(served: &[Arc<Resource>]) -> Vec<Box<[Arc<Resource>]>> {
    let mut places: BTreeMap<(&str, &str), Vec<Arc<Resource>>> = BTreeMap::new();
    for row in served {
        places.entry((&row.plural, &row.storage_group)).or_default().push(row.clone());
    }
    places.into_values().filter(|rows| rows.len() > 1).map(Vec::into_boxed_slice).collect()
}

impl Kinds {
    /// The built-in resources that the configuration lets through and those of definitions.
    pub(crate) fn new(config: Arc<RuntimeConfig>, definitions: impl IntoIterator<Item = Arc<Definition>>) -> Self {
        Self::assemble(config, definitions, Arc::from([]))
    }

    fn assemble(
        config: Arc<RuntimeConfig>,
        definitions: impl IntoIterator<Item = Arc<Definition>>,
        remotes: Arc<[Remote]>,
    ) -> Self {
        let definitions: BTreeMap<String, Arc<Definition>> =
            definitions.into_iter().map(|definition| (definition.name.clone(), definition)).collect();
        let custom: Vec<Arc<Resource>> = definitions.values().flat_map(Definition::rows).collect();
        let served: Vec<Arc<Resource>> =
            api::kinds::all().iter().chain(&custom).filter(|row| is_served(row, &config)).cloned().collect();
        let by_plural = custom.iter().filter(|row| is_served(row, &config));
        Self {
            together: together(&served),
            by_plural: by_plural.map(|row| (key(&row.group, &row.version, &row.plural), row.clone())).collect(),
            by_kind: custom.iter().map(|row| (key(&row.group, &row.version, &row.kind), row.clone())).collect(),
            groups: groups(&served, &remotes),
            documents: discovery::Documents::default(),
            served,
            definitions,
            config,
            remotes,
        }
    }

    /// The rows under which the objects of a resource are served, if there is more than one.
    pub(crate) fn stored_with(&self, resource: &Resource) -> &[Arc<Resource>] {
        let found = self.together.iter().find(|rows| is_together(&rows[0], resource));
        found.map_or(&[], |rows| &**rows)
    }

    /// The same with a definition that is new or has changed, or without one.
    pub(crate) fn with(&self, name: &str, definition: Option<Arc<Definition>>) -> Self {
        let others = self.definitions.values().filter(|other| other.name != name).cloned();
        Self::assemble(self.config.clone(), others.chain(definition), self.remotes.clone())
    }

    /// Every definition, whether it is served or not.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.definitions.values()
    }

    /// The definition with this name.
    pub(crate) fn definition(&self, name: &str) -> Option<&Arc<Definition>> {
        self.definitions.get(name)
    }

    /// The same with other definitions.
    pub(crate) fn with_all(&self, definitions: impl IntoIterator<Item = Arc<Definition>>) -> Self {
        Self::assemble(self.config.clone(), definitions, self.remotes.clone())
    }

    /// The same with other versions of extension API servers.
    pub(crate) fn with_remotes(&self, remotes: Vec<Remote>) -> Self {
        Self::assemble(self.config.clone(), self.definitions.values().cloned(), remotes.into())
    }

    /// The versions of extension API servers.
    pub(crate) fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// What is served: built-in resources first, in the order of their table.
    pub(crate) fn served(&self) -> &[Arc<Resource>] {
        &self.served
    }

    /// What is served in one version of a group, in the same order.
    pub(crate) fn of_version(&self, group: &str, version: &str) -> Vec<Arc<Resource>> {
        self.served.iter().filter(|row| row.group == group && row.version == version).cloned().collect()
    }

    /// Every group and version that is served, the core group's too.
    pub(crate) fn group_versions(&self) -> BTreeSet<(String, String)> {
        self.served.iter().map(|row| (row.group.to_string(), row.version.to_string())).collect()
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

/// A group as it is put together: its highest priority, and its versions with theirs.
#[derive(Default)]
struct Ranked<'a> {
    priority: i64,
    versions: Vec<(i64, &'a str)>,
}

fn groups(served: &[Arc<Resource>], remotes: &[Remote]) -> Vec<Group> {
    let mut groups: HashMap<&str, Ranked<'_>> = HashMap::new();
    let remote = remotes.iter().map(|remote| (remote.group.as_str(), remote.version.as_str(), remote.priorities));
    let own = served.iter().filter(|resource| !resource.group.is_empty());
    let own = own.map(|row| (&*row.group, &*row.version, Priorities::of(&row.group, &row.version)));
    for (group, version, priorities) in remote.chain(own) {
        let ranked = groups.entry(group).or_default();
        ranked.priority = ranked.priority.max(priorities.group);
        if !ranked.versions.iter().any(|(_, known)| *known == version) {
            ranked.versions.push((priorities.version, version));
        }
    }
    let mut groups: Vec<(&str, Ranked<'_>)> = groups.into_iter().collect();
    groups.sort_by_key(|(name, ranked)| (Reverse(ranked.priority), *name));
    let group = |(name, mut ranked): (&str, Ranked<'_>)| {
        // Of the same priority, `v2` is preferred to `v1`: later stable versions replace earlier ones.
        ranked.versions.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| version::compare(other, one)));
        let versions = ranked.versions.into_iter().map(|(_, version)| version.to_owned()).collect();
        Group { name: name.to_owned(), versions }
    };
    groups.into_iter().map(group).collect()
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
    fn extension_api_servers_have_their_place() {
        let remote = |group: &str, version: &str, group_priority, version_priority| Remote {
            group: group.to_owned(),
            version: version.to_owned(),
            priorities: Priorities { group: group_priority, version: version_priority },
            item: Value::Null,
            document: None,
        };
        let b = [remote("b", "v1", 100, 10), remote("b", "v2", 50, 20)];
        let remotes = [vec![remote("a", "v1", 50, 10), remote("c", "v1", 20_000, 10)], b.to_vec()].concat();
        let kinds = kinds("").with_remotes(remotes);
        let found: Vec<String> =
            kinds.groups().iter().map(|group| format!("{} {:?}", group.name, group.versions)).collect();
        assert_eq!(found[..2], [r#"apiregistration.k8s.io ["v1"]"#, r#"c ["v1"]"#]);
        assert_eq!(found[found.len() - 2..], [r#"b ["v2", "v1"]"#, r#"a ["v1"]"#]);
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
