//! The tree that a schema is compiled into.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pattern::Pattern;
use crate::schema::ListType;

/// One node of a compiled schema.
///
/// The nodes below `allOf`, `anyOf`, `oneOf` and `not` are of the same type; that they only validate is what
/// [`super::check`] sees to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Structural {
    /// The type; nodes that accept several have none.
    pub ty: Option<Type>,
    /// The title; empty if there is none.
    pub title: String,
    /// The description; empty if there is none.
    pub description: String,
    /// Where more is said, as it was written.
    pub external_docs: Option<Value>,
    /// What a field that is not set gets.
    pub default: Option<Value>,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// The schema of the items of a list.
    pub items: Option<Box<Structural>>,
    /// The schemas of the fields of an object.
    pub properties: BTreeMap<String, Structural>,
    /// What is known about the keys of a map.
    pub additional_properties: Option<AdditionalProperties>,
    /// What `x-kubernetes-` extensions say.
    pub extensions: Extensions,
    /// What values must hold to.
    pub values: ValueValidation,
}

/// A type of JSON, as schemas name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A list.
    Array,
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// An object or a map.
    Object,
    /// Text.
    String,
    /// None of OpenAPI's types; no checked schema has it.
    Other(Box<str>),
}

impl Type {
    /// The types that a schema may have, in the order in which refusals list them.
    pub const NAMES: [&'static str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

    /// The type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            other => Self::Other(other.into()),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
            Self::Other(name) => name,
        }
    }
}

/// What `additionalProperties` says.
#[derive(Debug, Clone, PartialEq)]
pub enum AdditionalProperties {
    /// Whether there may be any.
    Any(bool),
    /// What each of them is.
    Schema(Box<Structural>),
}

impl AdditionalProperties {
    /// The schema of the values, if there is one.
    #[must_use]
    pub fn schema(&self) -> Option<&Structural> {
        match self {
            Self::Any(_) => None,
            Self::Schema(schema) => Some(schema),
        }
    }
}

/// How an object or map merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// As one value.
    Atomic,
    /// Key by key.
    Granular,
}

/// The `x-kubernetes-` extensions of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extensions {
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown_fields: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded_resource: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type`.
    pub map_type: Option<MapType>,
    /// `x-kubernetes-validations`.
    pub validations: Vec<ValidationRule>,
}

/// One rule of `x-kubernetes-validations`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidationRule {
    /// The expression.
    pub rule: String,
    /// What is said when it does not hold; empty if the rule is to speak for itself.
    pub message: String,
    /// The expression that makes the message; may be empty.
    pub message_expression: String,
    /// The reason that the error is to have.
    pub reason: Option<String>,
    /// The field, below the node, that the error is about; may be empty.
    pub field_path: String,
    /// Whether a rule with `oldSelf` also holds for what is new.
    pub optional_old_self: Option<bool>,
}

/// What the values of a node must hold to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ValueValidation {
    /// The format; empty if there is none.
    pub format: String,
    /// The largest number.
    pub maximum: Option<f64>,
    /// Whether a number must be smaller than that.
    pub exclusive_maximum: bool,
    /// The smallest number.
    pub minimum: Option<f64>,
    /// Whether a number must be larger than that.
    pub exclusive_minimum: bool,
    /// How many characters a text may have.
    pub max_length: Option<i64>,
    /// How many characters a text must have.
    pub min_length: Option<i64>,
    /// What a text must match.
    pub pattern: Option<Pattern>,
    /// How many items a list may have.
    pub max_items: Option<i64>,
    /// How many items a list must have.
    pub min_items: Option<i64>,
    /// Whether all items must differ; no checked schema says so.
    pub unique_items: bool,
    /// What a number must be a multiple of.
    pub multiple_of: Option<f64>,
    /// The values that there are; `None` if there may be any.
    pub enumeration: Option<Vec<Value>>,
    /// How many keys an object may have.
    pub max_properties: Option<i64>,
    /// How many keys an object must have.
    pub min_properties: Option<i64>,
    /// The fields that an object must have.
    pub required: Vec<String>,
    /// Schemas that must all hold.
    pub all_of: Vec<Structural>,
    /// Schemas of which one at least must hold.
    pub any_of: Vec<Structural>,
    /// Schemas of which exactly one must hold.
    pub one_of: Vec<Structural>,
    /// A schema that must not hold.
    pub not: Option<Box<Structural>>,
}

impl Structural {
    /// The schema of a field, be it declared or one of a map's.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Structural> {
        match self.properties.get(name) {
            Some(schema) => Some(schema),
            None => self.additional_properties.as_ref().and_then(AdditionalProperties::schema),
        }
    }

    /// Whether something about the node and what is below it holds, `allOf` and its like included.
    pub fn any(&self, holds: &dyn Fn(&Structural) -> bool) -> bool {
        let values = &self.values;
        let branches = values.all_of.iter().chain(&values.any_of).chain(&values.one_of).chain(values.not.as_deref());
        let additional = self.additional_properties.as_ref().and_then(AdditionalProperties::schema);
        let below = branches.chain(self.items.as_deref()).chain(self.properties.values()).chain(additional);
        holds(self) || { below }.any(|schema| schema.any(holds))
    }
}

/// Fields that are those of every object, at the root and in embedded resources.
pub(super) fn is_meta_field(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}
