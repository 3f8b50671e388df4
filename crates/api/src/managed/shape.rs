//! How the values of a type merge, as the walks over documents see it.
//!
//! What built-in types say in the tables of [`crate::schema`] and what custom resources say in their schemas is the same
//! thing here.

use serde_json::Value;

use super::element::Element;
use crate::schema::{self, Field, FieldType, ListType, Type};
use crate::structural::{AdditionalProperties, MapType, Structural};

/// How a value merges.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'a> {
    /// As one value.
    Leaf,
    /// Field by field.
    Struct(&'static Type),
    /// Key by key; the values are of this type.
    Map(&'static FieldType),
    /// Field by field and key by key, as a schema says.
    Object(&'a Structural),
    /// The same for what also has the fields of every object: a custom resource or an embedded one.
    Resource(&'a Structural),
    /// As a set of scalars.
    Set,
    /// Item by item, found by the values of the keys.
    Keyed(Keyed<'a>),
    /// Whatever it is: objects key by key, all else as one value.
    Any,
    /// An object of a kind without schema, whose metadata is that of every object.
    Custom,
}

/// A list of type map.
#[derive(Debug, Clone, Copy)]
pub enum Keyed<'a> {
    /// Of a built-in type: what the items are, and their keys.
    Type(&'static FieldType, &'static [&'static str]),
    /// As the schema of the list says.
    Schema(&'a Structural),
}

impl<'a> Keyed<'a> {
    /// The names of the keys.
    pub(super) fn keys(self) -> Vec<&'a str> {
        match self {
            Keyed::Type(_, keys) => keys.to_vec(),
            Keyed::Schema(list) => list.extensions.list_map_keys.iter().map(String::as_str).collect(),
        }
    }

    /// What an item has for a key that it does not set.
    pub(super) fn default_of(self, key: &str) -> Option<Value> {
        match self {
            Keyed::Type(element, _) => serde_json::from_str(element.as_type()?.field(key)?.default?).ok(),
            Keyed::Schema(list) => list.items.as_ref()?.properties.get(key)?.default.clone(),
        }
    }

    fn item(self) -> Shape<'a> {
        match self {
            Keyed::Type(element, _) => Shape::of_type(element),
            Keyed::Schema(list) => list.items.as_deref().map_or(Shape::Leaf, Shape::of_schema),
        }
    }
}

/// The parts of a value, as its shape has them.
pub(super) enum Parts {
    Leaf,
    Fields,
    Items,
}

impl<'a> Shape<'a> {
    /// The shape of a type by name.
    pub fn root(type_name: &str) -> Shape<'a> {
        schema::type_by_name(type_name).map_or(Shape::Custom, Shape::Struct)
    }

    pub(super) fn of_field(field: &'static Field) -> Shape<'a> {
        if field.atomic {
            return Shape::Leaf;
        }
        match (&field.ty, field.list_type) {
            (FieldType::List(_), ListType::Set) => Shape::Set,
            (FieldType::List(element), ListType::Map) => Shape::Keyed(Keyed::Type(element, field.map_keys)),
            (ty, _) => Shape::of_type(ty),
        }
    }

    fn of_type(ty: &'static FieldType) -> Shape<'a> {
        match ty {
            FieldType::Ref(_) => match ty.as_type() {
                Some(ty) if !ty.atomic => Shape::Struct(ty),
                _ => Shape::Leaf,
            },
            FieldType::Map(element) => Shape::Map(element),
            _ => Shape::Leaf,
        }
    }

    /// The shape of what a schema describes.
    pub(super) fn of_schema(schema: &'a Structural) -> Shape<'a> {
        use crate::structural::Type;
        let extensions = &schema.extensions;
        match (&schema.ty, extensions.list_type) {
            _ if extensions.int_or_string || extensions.map_type == Some(MapType::Atomic) => Shape::Leaf,
            (Some(Type::Array), Some(ListType::Set)) => Shape::Set,
            (Some(Type::Array), Some(ListType::Map)) => Shape::Keyed(Keyed::Schema(schema)),
            (Some(Type::Object), _) if extensions.embedded_resource => Shape::Resource(schema),
            (Some(Type::Object), _) => Shape::Object(schema),
            (None, _) if extensions.preserve_unknown_fields => Shape::Any,
            _ => Shape::Leaf,
        }
    }

    /// The shape of a field or key, and whether a type declares it.
    pub(super) fn field(self, name: &str) -> (Shape<'a>, bool) {
        match self {
            Shape::Struct(ty) => match ty.field(name) {
                Some(field) => (Shape::of_field(field), true),
                None => (Shape::Any, false),
            },
            Shape::Map(element) => (Shape::of_type(element), false),
            Shape::Resource(_) | Shape::Custom if matches!(name, "apiVersion" | "kind") => (Shape::Leaf, true),
            Shape::Resource(_) | Shape::Custom if name == "metadata" => (Shape::root(schema::OBJECT_META), true),
            Shape::Resource(schema) | Shape::Object(schema) => {
                if let Some(schema) = schema.properties.get(name) {
                    return (Shape::of_schema(schema), true);
                }
                let values = schema.additional_properties.as_ref().and_then(AdditionalProperties::schema);
                (values.map_or(Shape::Any, Shape::of_schema), false)
            }
            Shape::Any | Shape::Custom => (Shape::Any, false),
            Shape::Leaf | Shape::Set | Shape::Keyed(..) => (Shape::Leaf, false),
        }
    }

    /// The shape of the items of a list.
    pub(super) fn item(self) -> Shape<'a> {
        match self {
            Shape::Keyed(list) => list.item(),
            _ => Shape::Leaf,
        }
    }

    /// The shape of what an element leads to, and whether a type declares it.
    pub(super) fn below(self, element: &Element) -> (Shape<'a>, bool) {
        match element.name() {
            Some(name) => self.field(name),
            None => (self.item(), false),
        }
    }

    /// How a value, or two that are compared, are taken apart. What is empty or of the wrong type is one value.
    pub(super) fn parts(self, old: Option<&Value>, new: Option<&Value>) -> Parts {
        let values = || old.into_iter().chain(new).filter(|value| !value.is_null());
        let has_any = |filled: fn(&Value) -> Option<bool>| {
            values().all(|value| filled(value).is_some()) && values().any(|value| filled(value) == Some(true))
        };
        let fields = |value: &Value| value.as_object().map(|fields| !fields.is_empty());
        let items = |value: &Value| value.as_array().map(|items| !items.is_empty());
        match self {
            Shape::Leaf => Parts::Leaf,
            Shape::Set | Shape::Keyed(..) if has_any(items) => Parts::Items,
            Shape::Set | Shape::Keyed(..) => Parts::Leaf,
            _ if has_any(fields) => Parts::Fields,
            _ => Parts::Leaf,
        }
    }
}
