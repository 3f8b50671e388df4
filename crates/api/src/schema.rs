//! The shape of every built-in type, as data: what a field is called, what it holds, how lists and maps merge, which
//! protobuf tags it has.
//!
//! The tables are written by `cargo xtask codegen` out of `k8s-openapi` (names, types, what is required) and `k8s-pb`
//! (tags and upstream's markers). Decoding, strategic merge, server-side apply, OpenAPI and protobuf all read them.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::generated;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    String,
    /// A 32 bit integer.
    Integer32,
    /// A 64 bit integer.
    Integer64,
    /// A floating point number.
    Number,
    /// True or false.
    Boolean,
    /// Bytes, in JSON as base64.
    Bytes,
    /// A resource quantity, in JSON a string (numbers are accepted).
    Quantity,
    /// An integer or a string.
    IntOrString,
    /// A time with seconds.
    Time,
    /// A time with microseconds.
    MicroTime,
    /// The set of fields of one field manager.
    FieldsV1,
    /// An embedded object of any kind.
    Raw,
    /// Any JSON value.
    Json,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of strings.
    SchemaOrStringArray,
    /// A type of the table, by name.
    Ref(&'static str),
    /// A list.
    List(&'static FieldType),
    /// A map with string keys.
    Map(&'static FieldType),
}

/// The type that JSON schemas inside custom resource definitions have.
pub const JSON_SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// The type that the metadata of every object have.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl FieldType {
    /// The type in the table, if this is a reference to one.
    pub fn as_type(&self) -> Option<&'static Type> {
        match self {
            FieldType::Ref(name) => type_by_name(name),
            _ => None,
        }
    }

    /// What the elements of the list or the values of the map are, if this is one.
    pub fn element(&self) -> Option<&'static FieldType> {
        match self {
            FieldType::List(element) | FieldType::Map(element) => Some(element),
            _ => None,
        }
    }
}

/// How a list is merged by server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// As one value; also what a list without a marker is.
    #[default]
    Atomic,
    /// As a set of scalars.
    Set,
    /// As a map from the values of [`Field::map_keys`].
    Map,
}

/// How strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchStrategy {
    /// Lists are replaced, maps merged.
    #[default]
    Default,
    /// Lists are merged, by [`Field::patch_merge_key`] where they hold objects.
    Merge,
    /// The whole value is replaced.
    Replace,
    /// Keys that the patch does not name are removed.
    RetainKeys,
    /// Lists are merged, and in their elements keys that the patch does not name are removed.
    MergeRetainKeys,
}

impl PatchStrategy {
    /// Whether lists are merged.
    pub fn merges(self) -> bool {
        matches!(self, PatchStrategy::Merge | PatchStrategy::MergeRetainKeys)
    }

    /// Whether `$retainKeys` is honoured.
    pub fn retains_keys(self) -> bool {
        matches!(self, PatchStrategy::RetainKeys | PatchStrategy::MergeRetainKeys)
    }
}

/// How a field, its elements or its map's values are encoded in protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A varint that is 0 or 1.
    Bool,
    /// A varint.
    Int32,
    /// A varint.
    Int64,
    /// Eight bytes.
    Double,
    /// Length-delimited text.
    String,
    /// Length-delimited bytes.
    Bytes,
    /// Length-delimited message.
    Message,
    /// A length-delimited message whose only field, tag 1, is a repeated string.
    StringList,
}

/// One field of a [`Type`].
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name in JSON.
    pub json: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// The protobuf tags that lead to it: more than one where the protobuf message nests what JSON does not; none
    /// where protobuf does not have the field.
    pub tags: &'static [u32],
    /// How protobuf encodes it.
    pub wire: Wire,
    /// How server-side apply merges it, if it is a list.
    pub list_type: ListType,
    /// The keys of a list of type map.
    pub map_keys: &'static [&'static str],
    /// Whether server-side apply treats the object or map as one value.
    pub atomic: bool,
    /// How strategic merge patch treats it.
    pub patch_strategy: PatchStrategy,
    /// The key by which strategic merge patch finds list elements.
    pub patch_merge_key: Option<&'static str>,
    /// The default that a marker declares, as JSON text.
    pub default: Option<&'static str>,
    /// Whether an object without it is invalid.
    pub required: bool,
    /// Whether upstream writes it even when it is empty: an object as `{}`, a time as `null`.
    pub always: bool,
    /// Whether the zero value of an optional scalar means that it is not set, because upstream has no pointer there.
    pub by_value: bool,
    /// Whether upstream points to it although it is required or always written.
    pub pointer: bool,
    /// Whether it says which other field of its type is set, of those of which at most one is.
    pub discriminator: bool,
}

impl Field {
    /// Whether upstream points to it: protobuf then leaves it out when it is not set, and writes all else even when
    /// it is empty.
    pub fn is_pointer(&self) -> bool {
        self.pointer || !(self.required || self.always || self.by_value)
    }

    pub(crate) const fn new(json: &'static str, ty: FieldType, wire: Wire, tags: &'static [u32]) -> Field {
        Field {
            json,
            ty,
            tags,
            wire,
            list_type: ListType::Atomic,
            map_keys: &[],
            atomic: false,
            patch_strategy: PatchStrategy::Default,
            patch_merge_key: None,
            default: None,
            required: false,
            always: false,
            by_value: false,
            pointer: false,
            discriminator: false,
        }
    }

    pub(crate) const fn set(mut self) -> Field {
        self.list_type = ListType::Set;
        self
    }

    pub(crate) const fn map(mut self, keys: &'static [&'static str]) -> Field {
        self.list_type = ListType::Map;
        self.map_keys = keys;
        self
    }

    pub(crate) const fn atomic(mut self) -> Field {
        self.atomic = true;
        self
    }

    pub(crate) const fn patch(mut self, strategy: PatchStrategy) -> Field {
        self.patch_strategy = strategy;
        self
    }

    pub(crate) const fn merge_key(mut self, key: &'static str) -> Field {
        self.patch_merge_key = Some(key);
        self
    }

    pub(crate) const fn default(mut self, json: &'static str) -> Field {
        self.default = Some(json);
        self
    }

    pub(crate) const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    pub(crate) const fn by_value(mut self) -> Field {
        self.by_value = true;
        self
    }

    pub(crate) const fn pointer(mut self) -> Field {
        self.pointer = true;
        self
    }

    pub(crate) const fn discriminator(mut self) -> Field {
        self.discriminator = true;
        self
    }

    pub(crate) const fn always(mut self) -> Field {
        self.always = true;
        self
    }
}

/// The shape of one type.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    /// The name in OpenAPI, such as `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Its fields, by name in JSON.
    pub fields: &'static [Field],
    /// Whether server-side apply treats it as one value.
    pub atomic: bool,
}

impl Type {
    /// The field with this name in JSON.
    pub fn field(&self, json: &str) -> Option<&'static Field> {
        self.fields.binary_search_by(|field| field.json.cmp(json)).ok().map(|index| &self.fields[index])
    }
}

/// The type with this name.
pub fn type_by_name(name: &str) -> Option<&'static Type> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Type>> =
        LazyLock::new(|| all_types().map(|ty| (ty.name, ty)).collect());
    BY_NAME.get(name).copied()
}

/// Every type of the table.
pub fn all_types() -> impl Iterator<Item = &'static Type> {
    generated::TYPES.iter().flat_map(|group| group.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_type() {
        for ty in all_types() {
            for field in ty.fields {
                let mut at = &field.ty;
                while let Some(element) = at.element() {
                    at = element;
                }
                if let FieldType::Ref(name) = at {
                    assert!(type_by_name(name).is_some(), "{}.{} refers to {name}", ty.name, field.json);
                }
            }
        }
    }

    #[test]
    fn fields_are_sorted() {
        for ty in all_types() {
            assert!(ty.fields.is_sorted_by_key(|field| field.json), "{}", ty.name);
        }
    }

    #[track_caller]
    fn field(ty: &str, name: &str) -> &'static Field {
        type_by_name(ty).and_then(|ty| ty.field(name)).unwrap_or_else(|| panic!("{ty}.{name}"))
    }

    #[test]
    fn service_ports_have_two_keys() {
        let ports = field("io.k8s.api.core.v1.ServiceSpec", "ports");
        assert_eq!(ports.list_type, ListType::Map);
        assert_eq!(ports.map_keys, ["port", "protocol"]);
        assert_eq!(ports.patch_merge_key, Some("port"));
    }

    #[test]
    fn volumes_merge_and_retain_keys() {
        let volumes = field("io.k8s.api.core.v1.PodSpec", "volumes");
        assert_eq!(volumes.patch_strategy, PatchStrategy::MergeRetainKeys);
        assert_eq!(field("io.k8s.api.core.v1.Volume", "emptyDir").tags.len(), 2);
    }
}
