//! From the schema as it is written to the tree.

use serde_json::{Map, Value};
use thiserror::Error;

use super::pattern::Pattern;
use super::schema::{AdditionalProperties, Extensions, MapType, Structural, Type, ValidationRule, ValueValidation};
use crate::schema::ListType;

/// Why a schema has no tree.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// It says something that structural schemas cannot say.
    #[error("OpenAPIV3Schema '{0}' is not supported")]
    Unsupported(&'static str),
    /// It has a schema for each item of a list.
    #[error("OpenAPIV3Schema 'items' must be a schema, but is an array")]
    ItemsArray,
    /// It says in so many words that unknown fields are not to be preserved.
    #[error("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")]
    PreserveUnknownFieldsFalse,
}

impl Structural {
    /// Compiles an `openAPIV3Schema`, whose values are of the types that JSONSchemaProps has.
    pub fn parse(schema: &Value) -> Result<Self, ParseError> {
        match schema {
            Value::Object(schema) => node(schema),
            _ => Ok(Self::default()),
        }
    }
}

fn node(schema: &Map<String, Value>) -> Result<Structural, ParseError> {
    refuse_unsupported(schema)?;
    let properties = match schema.get("properties") {
        Some(Value::Object(properties)) => {
            let parse = |(name, schema): (&String, &Value)| Ok((name.clone(), Structural::parse(schema)?));
            properties.iter().map(parse).collect::<Result<_, ParseError>>()?
        }
        _ => Default::default(),
    };
    let items = match schema.get("items") {
        Some(Value::Array(_)) => return Err(ParseError::ItemsArray),
        Some(items @ Value::Object(_)) => Some(Box::new(Structural::parse(items)?)),
        _ => None,
    };
    let additional_properties = match schema.get("additionalProperties") {
        Some(Value::Bool(allowed)) => Some(AdditionalProperties::Any(*allowed)),
        Some(schema @ Value::Object(_)) => Some(AdditionalProperties::Schema(Box::new(Structural::parse(schema)?))),
        _ => None,
    };
    Ok(Structural {
        ty: Some(text(schema, "type")).filter(|name| !name.is_empty()).map(|name| Type::from_name(&name)),
        title: text(schema, "title"),
        description: text(schema, "description"),
        external_docs: schema.get("externalDocs").cloned(),
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        nullable: is_true(schema, "nullable"),
        items,
        properties,
        additional_properties,
        extensions: extensions(schema)?,
        values: values(schema)?,
    })
}

fn refuse_unsupported(schema: &Map<String, Value>) -> Result<(), ParseError> {
    for (key, name) in [("id", "id"), ("$schema", "schema"), ("$ref", "$ref")] {
        if !text(schema, key).is_empty() {
            return Err(ParseError::Unsupported(name));
        }
    }
    for name in ["patternProperties", "dependencies", "definitions"] {
        if schema.get(name).and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
            return Err(ParseError::Unsupported(name));
        }
    }
    match schema.get("additionalItems") {
        Some(items) if !items.is_null() => Err(ParseError::Unsupported("additionalItems")),
        _ => Ok(()),
    }
}

fn extensions(schema: &Map<String, Value>) -> Result<Extensions, ParseError> {
    let preserve_unknown_fields = match schema.get("x-kubernetes-preserve-unknown-fields") {
        Some(Value::Bool(false)) => return Err(ParseError::PreserveUnknownFieldsFalse),
        preserve => preserve == Some(&Value::Bool(true)),
    };
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str).map(|name| match name {
        "set" => ListType::Set,
        "map" => ListType::Map,
        _ => ListType::Atomic,
    });
    let map_type = schema.get("x-kubernetes-map-type").and_then(Value::as_str).map(|name| match name {
        "atomic" => MapType::Atomic,
        _ => MapType::Granular,
    });
    Ok(Extensions {
        preserve_unknown_fields,
        embedded_resource: is_true(schema, "x-kubernetes-embedded-resource"),
        int_or_string: is_true(schema, "x-kubernetes-int-or-string"),
        list_type,
        list_map_keys: texts(schema, "x-kubernetes-list-map-keys"),
        map_type,
        validations: list(schema, "x-kubernetes-validations").filter_map(Value::as_object).map(rule).collect(),
    })
}

fn rule(rule: &Map<String, Value>) -> ValidationRule {
    ValidationRule {
        rule: text(rule, "rule"),
        message: text(rule, "message"),
        message_expression: text(rule, "messageExpression"),
        reason: rule.get("reason").and_then(Value::as_str).map(str::to_owned),
        field_path: text(rule, "fieldPath"),
        optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
    }
}

fn values(schema: &Map<String, Value>) -> Result<ValueValidation, ParseError> {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let count = |key: &str| schema.get(key).and_then(Value::as_i64);
    let branches = |key: &str| list(schema, key).map(Structural::parse).collect::<Result<Vec<_>, _>>();
    let pattern = text(schema, "pattern");
    let not = match schema.get("not") {
        Some(not @ Value::Object(_)) => Some(Box::new(Structural::parse(not)?)),
        _ => None,
    };
    Ok(ValueValidation {
        format: text(schema, "format"),
        maximum: number("maximum"),
        exclusive_maximum: is_true(schema, "exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: is_true(schema, "exclusiveMinimum"),
        max_length: count("maxLength"),
        min_length: count("minLength"),
        pattern: (!pattern.is_empty()).then(|| Pattern::new(&pattern)),
        max_items: count("maxItems"),
        min_items: count("minItems"),
        unique_items: is_true(schema, "uniqueItems"),
        multiple_of: number("multipleOf"),
        enumeration: schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty()).cloned(),
        max_properties: count("maxProperties"),
        min_properties: count("minProperties"),
        required: texts(schema, "required"),
        all_of: branches("allOf")?,
        any_of: branches("anyOf")?,
        one_of: branches("oneOf")?,
        not,
    })
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(object: &Map<String, Value>, key: &str) -> Vec<String> {
    list(object, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn is_true(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool).unwrap_or_default()
}
