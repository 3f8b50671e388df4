//! Every built-in resource, as rows of one table.
//!
//! The rows are written by `cargo xtask codegen`: groups, kinds and scopes come from `k8s-openapi`, the rest (short
//! names, categories, verbs, subresources) from the override data beside the generator.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::generated;

/// How settled a version of a kind is; upstream serves only stable ones unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// May vanish.
    Alpha,
    /// May change.
    Beta,
    /// Stays.
    Stable,
}

/// One resource: a plural under a group and version.
#[derive(Debug)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind of one object.
    pub kind: &'static str,
    /// The name in URLs.
    pub plural: &'static str,
    /// The name of one.
    pub singular: &'static str,
    /// The kind of a list.
    pub list_kind: &'static str,
    /// What people type instead of the plural.
    pub short_names: &'static [&'static str],
    /// The groups of resources it belongs to, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it, sorted.
    pub verbs: &'static [&'static str],
    /// What lies below an object of it.
    pub subresources: &'static [Subresource],
    /// The name of its type in [`crate::schema`].
    pub schema: &'static str,
    /// The group under which its objects are stored; differs for `events.k8s.io`.
    pub storage_group: &'static str,
    /// The version in which its objects are stored.
    pub storage_version: &'static str,
    /// How settled this version is.
    pub stability: Stability,
}

/// One subresource, such as `status`.
#[derive(Debug)]
pub struct Subresource {
    /// The last segment of the URL.
    pub name: &'static str,
    /// The group of the kind that is sent and received.
    pub group: &'static str,
    /// The version of that kind.
    pub version: &'static str,
    /// That kind.
    pub kind: &'static str,
    /// What can be done with it, sorted.
    pub verbs: &'static [&'static str],
}

impl Resource {
    /// The `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// How error messages and authorization name it: `deployments.apps`, or only the plural in the core group.
    pub fn qualified_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The subresource with this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether the verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether objects are kept at all: reviews and bindings are answered, never stored.
    pub fn is_stored(&self) -> bool {
        self.allows("get") && self.allows("create")
    }

    /// Whether this version is the one in which objects are stored.
    pub fn is_storage_version(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }
}

/// Every resource, by group, version and plural; within a group the preferred version comes first.
pub fn all() -> &'static [Resource] {
    generated::kinds::RESOURCES
}

/// The resource at this path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    static BY_PLURAL: LazyLock<HashMap<(&str, &str, &str), &'static Resource>> =
        LazyLock::new(|| all().iter().map(|row| ((row.group, row.version, row.plural), row)).collect());
    BY_PLURAL.get(&(group, version, plural)).copied()
}

/// The resource whose objects are of this kind.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    static BY_KIND: LazyLock<HashMap<(&str, &str, &str), &'static Resource>> =
        LazyLock::new(|| all().iter().map(|row| ((row.group, row.version, row.kind), row)).collect());
    BY_KIND.get(&(group, version, kind)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn every_row_has_a_type() {
        for row in all() {
            assert!(schema::type_by_name(row.schema).is_some(), "{}", row.schema);
        }
    }

    #[test]
    fn rows_are_found_both_ways() {
        for row in all() {
            assert!(std::ptr::eq(row, find(row.group, row.version, row.plural).expect(row.plural)));
            assert!(std::ptr::eq(row, find_kind(row.group, row.version, row.kind).expect(row.kind)));
        }
    }

    #[test]
    fn every_storage_version_is_a_row() {
        for row in all().iter().filter(|row| row.is_stored()) {
            let stored = find(row.storage_group, row.storage_version, row.plural);
            assert!(stored.is_some_and(Resource::is_storage_version), "{} {}", row.group, row.plural);
        }
    }

    #[test]
    fn events_are_stored_once() {
        let events = find("events.k8s.io", "v1", "events").expect("events");
        assert_eq!((events.storage_group, events.storage_version), ("", "v1"));
    }
}
