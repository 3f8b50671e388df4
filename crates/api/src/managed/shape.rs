//! How the values of a type merge, as the walks over documents see it.

use serde_json::Value;

use super::element::Element;
use crate::schema::{self, Field, FieldType, ListType, Type};

/// How a value merges.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// As one value.
    Leaf,
    /// Field by field.
    Struct(&'static Type),
    /// Key by key; the values are of this type.
    Map(&'static FieldType),
    /// As a set of scalars.
    Set,
    /// Item by item, found by the values of the keys.
    Keyed(&'static FieldType, &'static [&'static str]),
    /// Whatever it is: objects key by key, all else as one value.
    Any,
    /// An object of a kind without schema, whose metadata is that of every object.
    Custom,
}

/// The parts of a value, as its shape has them.
pub(super) enum Parts {
    Leaf,
    Fields,
    Items,
}

impl Shape {
    /// The shape of a type by name.
    pub fn root(type_name: &str) -> Shape {
        schema::type_by_name(type_name).map_or(Shape::Custom, Shape::Struct)
    }

    fn of_field(field: &'static Field) -> Shape {
        if field.atomic {
            return Shape::Leaf;
        }
        match (&field.ty, field.list_type) {
            (FieldType::List(_), ListType::Set) => Shape::Set,
            (FieldType::List(element), ListType::Map) => Shape::Keyed(element, field.map_keys),
            (ty, _) => Shape::of_type(ty),
        }
    }

    fn of_type(ty: &'static FieldType) -> Shape {
        match ty {
            FieldType::Ref(_) => match ty.as_type() {
                Some(ty) if !ty.atomic => Shape::Struct(ty),
                _ => Shape::Leaf,
            },
            FieldType::Map(element) => Shape::Map(element),
            _ => Shape::Leaf,
        }
    }

    /// The shape of a field or key, and whether a type declares it.
    pub(super) fn field(self, name: &str) -> (Shape, bool) {
        match self {
            Shape::Struct(ty) => match ty.field(name) {
                Some(field) => (Shape::of_field(field), true),
                None => (Shape::Any, false),
            },
            Shape::Map(element) => (Shape::of_type(element), false),
            Shape::Custom => match name {
                "metadata" => (Shape::root(schema::OBJECT_META), true),
                "apiVersion" | "kind" => (Shape::Leaf, true),
                _ => (Shape::Any, false),
            },
            Shape::Any => (Shape::Any, false),
            Shape::Leaf | Shape::Set | Shape::Keyed(..) => (Shape::Leaf, false),
        }
    }

    /// The shape of the items of a list.
    pub(super) fn item(self) -> Shape {
        match self {
            Shape::Keyed(element, _) => Shape::of_type(element),
            _ => Shape::Leaf,
        }
    }

    /// The shape of what an element leads to, and whether a type declares it.
    pub(super) fn below(self, element: &Element) -> (Shape, bool) {
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
            Shape::Struct(_) | Shape::Map(_) | Shape::Any | Shape::Custom if has_any(fields) => Parts::Fields,
            Shape::Set | Shape::Keyed(..) if has_any(items) => Parts::Items,
            _ => Parts::Leaf,
        }
    }
}
