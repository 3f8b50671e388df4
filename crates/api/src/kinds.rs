//! Resources as rows: every built-in one in a table, and the form that custom ones have too.
//!
//! The rows are written by `cargo xtask codegen`: groups, kinds and scopes come from `k8s-openapi`, the rest (short
//! names, categories, verbs, subresources) from the override data beside the generator.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::custom::Custom;
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

/// Text of a row: fixed for a built-in resource, made at run time for a custom one.
pub type Text = Cow<'static, str>;

/// One resource: a plural under a group and version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: Text,
    /// The version.
    pub version: Text,
    /// The kind of one object.
    pub kind: Text,
    /// The name in URLs.
    pub plural: Text,
    /// The name of one.
    pub singular: Text,
    /// The kind of a list.
    pub list_kind: Text,
    /// What people type instead of the plural.
    pub short_names: Cow<'static, [Text]>,
    /// The groups of resources it belongs to, such as `all`.
    pub categories: Cow<'static, [Text]>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it, sorted.
    pub verbs: &'static [&'static str],
    /// What lies below an object of it.
    pub subresources: Cow<'static, [Subresource]>,
    /// The name of its type in [`crate::schema`]; empty for custom resources, whose schema is in their definition.
    pub schema: &'static str,
    /// The group under which its objects are stored; differs for `events.k8s.io`.
    pub storage_group: Text,
    /// The version in which its objects are stored.
    pub storage_version: Text,
    /// How settled this version is.
    pub stability: Stability,
    /// What the definition of a custom resource says; built-in resources have none.
    pub custom: Option<Custom>,
}

/// One subresource, such as `status`.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// The last segment of the URL.
    pub name: Text,
    /// The group of the kind that is sent and received.
    pub group: Text,
    /// The version of that kind.
    pub version: Text,
    /// That kind.
    pub kind: Text,
    /// What can be done with it, sorted.
    pub verbs: &'static [&'static str],
}

impl Resource {
    /// The `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The `apiVersion` in which its objects are stored.
    pub fn storage_api_version(&self) -> String {
        if self.storage_group.is_empty() {
            self.storage_version.to_string()
        } else {
            format!("{}/{}", self.storage_group, self.storage_version)
        }
    }

    /// How error messages and authorization name it: `deployments.apps`, or only the plural in the core group.
    pub fn qualified_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The subresource with this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether the verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether objects are kept at all: reviews and bindings are answered, never stored. Custom resources are, even
    /// while their definition is being deleted and no more of them are made.
    pub fn is_stored(&self) -> bool {
        self.custom.is_some() || self.allows("get") && self.allows("create")
    }

    /// What whoever asks for it is warned of, if it is deprecated.
    pub fn deprecation(&self) -> Option<&str> {
        match (&self.custom, &*self.group, &*self.version, &*self.kind) {
            (Some(custom), ..) => custom.version().deprecation.as_deref(),
            (None, "", "v1", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
            (None, "", "v1", "Endpoints") => {
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
            }
            _ => None,
        }
    }

    /// Whether this version is the one in which objects are stored.
    pub fn is_storage_version(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }
}

/// Every built-in resource, by group, version and plural; within a group the preferred version comes first.
pub fn all() -> &'static [Arc<Resource>] {
    static ROWS: LazyLock<Vec<Arc<Resource>>> =
        LazyLock::new(|| generated::kinds::RESOURCES.iter().cloned().map(Arc::new).collect());
    &ROWS
}

/// The rows by group, version and a third part of theirs.
type Index = HashMap<(&'static str, &'static str, &'static str), &'static Arc<Resource>>;

/// The built-in resource at this path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    static BY_PLURAL: LazyLock<Index> =
        LazyLock::new(|| all().iter().map(|row| ((&*row.group, &*row.version, &*row.plural), row)).collect());
    BY_PLURAL.get(&(group, version, plural)).copied()
}

/// The built-in resource whose objects are of this kind.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Arc<Resource>> {
    static BY_KIND: LazyLock<Index> =
        LazyLock::new(|| all().iter().map(|row| ((&*row.group, &*row.version, &*row.kind), row)).collect());
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
            assert!(find(&row.group, &row.version, &row.plural).is_some_and(|found| Arc::ptr_eq(row, found)));
            assert!(find_kind(&row.group, &row.version, &row.kind).is_some_and(|found| Arc::ptr_eq(row, found)));
        }
    }

    #[test]
    fn every_storage_version_is_a_row() {
        for row in all().iter().filter(|row| row.is_stored()) {
            let stored = find(&row.storage_group, &row.storage_version, &row.plural);
            assert!(stored.is_some_and(|stored| stored.is_storage_version()), "{} {}", row.group, row.plural);
        }
    }

    #[test]
    fn events_are_stored_once() {
        let events = find("events.k8s.io", "v1", "events").expect("events");
        assert_eq!((&*events.storage_group, &*events.storage_version), ("", "v1"));
    }
}
