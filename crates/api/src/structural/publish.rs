//! How schemas are published in OpenAPI v3 documents: what kubectl explains and checks manifests against.
//!
//! v3 can say all that a schema says. What v2 cannot say, [`crate::openapi`] leaves out of it for every kind.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::schema::{AdditionalProperties, Extensions, MapType, Structural, ValidationRule, ValueValidation};
use crate::generated::schemas::SCHEMAS;
use crate::schema::{ListType, OBJECT_META};

/// The kind that a schema is published for.
#[derive(Debug, Clone, Copy)]
pub struct GroupVersionKind<'a> {
    /// The group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The kind.
    pub kind: &'a str,
}

/// The schema of a kind, with the fields of every object.
#[must_use]
pub fn published(schema: &Structural, kind: GroupVersionKind<'_>) -> Value {
    let mut object = node(schema);
    object.insert("type".to_owned(), "object".into());
    add_type_meta(&mut object);
    let GroupVersionKind { group, version, kind } = kind;
    object.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": group, "version": version, "kind": kind}]),
    );
    Value::Object(object)
}

/// What is said of the fields of every object, in upstream's words.
static TYPE_META: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let any_kind = "io.k8s.api.core.v1.ConfigMap";
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    for (_, add) in SCHEMAS.iter().filter(|(name, _)| *name == any_kind) {
        add(&mut generator);
    }
    let schemas = generator.take_definitions(false);
    let properties = schemas.get(any_kind).and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let wanted = |name: &&str| properties.is_some_and(|properties| properties.contains_key(*name));
    ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter(wanted)
        .map(|name| (name.to_owned(), properties.map_or(Value::Null, |properties| properties[name].clone())))
        .collect()
});

fn add_type_meta(object: &mut Map<String, Value>) {
    let described = |name: &str| TYPE_META.get(name).map(|property| property["description"].clone());
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    for name in ["apiVersion", "kind"] {
        properties[name] = json!({"type": "string", "description": described(name)});
    }
    // Nothing may stand beside a reference.
    let reference = json!({"$ref": format!("#/components/schemas/{OBJECT_META}")});
    properties["metadata"] = json!({"allOf": [reference], "description": described("metadata")});
}

fn node(schema: &Structural) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    if let Some(ty) = &schema.ty {
        put("type", ty.name().into());
    }
    for (name, text) in [("title", &schema.title), ("description", &schema.description)] {
        if !text.is_empty() {
            put(name, text.as_str().into());
        }
    }
    if schema.nullable {
        put("nullable", true.into());
    }
    for (name, value) in [("default", &schema.default), ("externalDocs", &schema.external_docs)] {
        if let Some(value) = value {
            put(name, value.clone());
        }
    }
    if let Some(items) = &schema.items {
        put("items", Value::Object(node(items)));
    }
    if !schema.properties.is_empty() {
        let properties = schema.properties.iter();
        put("properties", properties.map(|(name, schema)| (name.clone(), Value::Object(node(schema)))).collect());
    }
    match &schema.additional_properties {
        Some(AdditionalProperties::Any(allowed)) => {
            put("additionalProperties", (*allowed).into());
        }
        Some(AdditionalProperties::Schema(schema)) => {
            put("additionalProperties", Value::Object(node(schema)));
        }
        None => {}
    }
    add_extensions(&schema.extensions, &mut object);
    add_limits(&schema.values, &mut object);
    add_branches(schema, &mut object);
    if schema.extensions.embedded_resource {
        add_type_meta(&mut object);
        require(&mut object, &["kind", "apiVersion"]);
    }
    object
}

fn add_branches(schema: &Structural, object: &mut Map<String, Value>) {
    let values = &schema.values;
    let published =
        |branches: &[Structural]| -> Vec<Value> { branches.iter().map(|branch| Value::Object(node(branch))).collect() };
    let (mut any_of, mut all_of) = (published(&values.any_of), published(&values.all_of));
    if schema.extensions.int_or_string {
        let types = json!([{"type": "integer"}, {"type": "string"}]);
        let says_so = |branches: &[Value]| Some(branches) == types.as_array().map(Vec::as_slice);
        let is_said = says_so(&any_of)
            || all_of.first().and_then(|first| first["anyOf"].as_array()).is_some_and(|first| says_so(first));
        match (is_said, any_of.is_empty()) {
            (true, _) => {}
            (false, true) => any_of = types.as_array().cloned().unwrap_or_default(),
            (false, false) => all_of.insert(0, json!({"anyOf": types})),
        }
    }
    for (name, branches) in [("allOf", all_of), ("anyOf", any_of), ("oneOf", published(&values.one_of))] {
        if !branches.is_empty() {
            object.insert(name.to_owned(), branches.into());
        }
    }
    if let Some(not) = &values.not {
        object.insert("not".to_owned(), Value::Object(node(not)));
    }
}

fn require(object: &mut Map<String, Value>, names: &[&str]) {
    let required = object.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(required) = required {
        for name in names {
            if !required.iter().any(|there| there == name) {
                required.push((*name).into());
            }
        }
    }
}

fn add_extensions(extensions: &Extensions, object: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| object.insert(format!("x-kubernetes-{name}"), value);
    for (name, is_set) in [
        ("preserve-unknown-fields", extensions.preserve_unknown_fields),
        ("embedded-resource", extensions.embedded_resource),
        ("int-or-string", extensions.int_or_string),
    ] {
        if is_set {
            put(name, true.into());
        }
    }
    if !extensions.list_map_keys.is_empty() {
        put("list-map-keys", extensions.list_map_keys.clone().into());
    }
    if let Some(list_type) = extensions.list_type {
        let name = match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        put("list-type", name.into());
    }
    if let Some(map_type) = extensions.map_type {
        put("map-type", if map_type == MapType::Atomic { "atomic" } else { "granular" }.into());
    }
    if !extensions.validations.is_empty() {
        put("validations", extensions.validations.iter().map(rule).collect());
    }
}

fn rule(rule: &ValidationRule) -> Value {
    let mut object = Map::from_iter([("rule".to_owned(), Value::from(rule.rule.as_str()))]);
    let reason = rule.reason.as_deref().unwrap_or_default();
    for (name, text) in [
        ("message", rule.message.as_str()),
        ("messageExpression", &rule.message_expression),
        ("reason", reason),
        ("fieldPath", &rule.field_path),
    ] {
        if !text.is_empty() {
            object.insert(name.to_owned(), text.into());
        }
    }
    if let Some(optional) = rule.optional_old_self {
        object.insert("optionalOldSelf".to_owned(), optional.into());
    }
    Value::Object(object)
}

fn add_limits(values: &ValueValidation, object: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    if !values.format.is_empty() {
        put("format", values.format.as_str().into());
    }
    for (name, limit) in [("maximum", values.maximum), ("minimum", values.minimum), ("multipleOf", values.multiple_of)]
    {
        if let Some(limit) = limit {
            put(name, number(limit));
        }
    }
    for (name, is_set) in [
        ("exclusiveMaximum", values.exclusive_maximum),
        ("exclusiveMinimum", values.exclusive_minimum),
        ("uniqueItems", values.unique_items),
    ] {
        if is_set {
            put(name, true.into());
        }
    }
    for (name, count) in [
        ("maxLength", values.max_length),
        ("minLength", values.min_length),
        ("maxItems", values.max_items),
        ("minItems", values.min_items),
        ("maxProperties", values.max_properties),
        ("minProperties", values.min_properties),
    ] {
        if let Some(count) = count {
            put(name, count.into());
        }
    }
    if let Some(pattern) = &values.pattern {
        put("pattern", pattern.source().into());
    }
    if let Some(enumeration) = &values.enumeration {
        put("enum", enumeration.clone().into());
    }
    if !values.required.is_empty() {
        put("required", values.required.clone().into());
    }
}

/// Whole numbers are written without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "the number has just been found to be a whole one in range")]
fn number(limit: f64) -> Value {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    if limit.fract() == 0.0 && limit.abs() <= LARGEST { Value::from(limit as i64) } else { Value::from(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: GroupVersionKind<'_> = GroupVersionKind { group: "example.com", version: "v1", kind: "Widget" };

    fn of_x(x: Value) -> Structural {
        Structural::parse(&json!({"type": "object", "required": ["x"], "properties": {"x": x}})).expect("a schema")
    }

    #[track_caller]
    fn check(x: Value, expected: Value) {
        assert_eq!(published(&of_x(x), KIND)["properties"]["x"], expected);
    }

    #[test]
    fn kinds_have_the_fields_of_every_object() {
        let schema = published(&of_x(json!({"type": "string"})), KIND);
        let gvk = json!([{"group": "example.com", "version": "v1", "kind": "Widget"}]);
        assert_eq!(schema["x-kubernetes-group-version-kind"], gvk);
        assert_eq!(schema["required"], json!(["x"]));
        assert_eq!(schema["properties"]["kind"]["type"], "string");
        assert!(schema["properties"]["kind"]["description"].as_str().is_some_and(|text| text.contains("CamelCase")));
        assert!(schema["properties"]["metadata"]["description"].is_string());
        let reference = format!("#/components/schemas/{OBJECT_META}");
        assert_eq!(schema["properties"]["metadata"]["allOf"], json!([{"$ref": reference}]));
        let any = published(&Structural::default(), KIND);
        assert_eq!(any["type"], "object");
    }

    #[test]
    fn what_a_schema_says_is_published() {
        let all = json!({
            "type": "array", "title": "t", "description": "d", "default": [], "externalDocs": {"url": "u"},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "maxItems": 3, "minItems": 1,
            "x-kubernetes-validations": [{"rule": "true", "message": "m", "optionalOldSelf": true}],
            "items": {"type": "object", "required": ["k"], "x-kubernetes-map-type": "atomic", "minProperties": 1, "properties": {
                "k": {"type": "string", "enum": ["a"], "pattern": "^a", "format": "date", "maxLength": 5, "minLength": 1},
                "n": {"type": "number", "maximum": 10, "minimum": 0.5, "exclusiveMinimum": true, "multipleOf": 2},
                "m": {"type": "object", "additionalProperties": {"type": "integer"}, "nullable": true},
                "a": {"type": "string", "anyOf": [{"minLength": 1}], "oneOf": [{"maxLength": 2}], "allOf": [{"pattern": "a"}],
                    "not": {"enum": ["b"]}},
            }},
        });
        check(all.clone(), all);
    }

    #[test]
    fn integers_or_strings_are_said_to_be_either() {
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        check(
            json!({"x-kubernetes-int-or-string": true}),
            json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
        );
        check(
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"minimum": 1}]}),
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"minimum": 1}], "allOf": [{"anyOf": either}]}),
        );
        check(
            json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
            json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
        );
    }

    #[test]
    fn embedded_resources_are_objects_too() {
        let schema = of_x(json!({"type": "object", "x-kubernetes-embedded-resource": true, "required": ["spec"],
            "properties": {"spec": {"type": "object"}}}));
        let x = &published(&schema, KIND)["properties"]["x"];
        assert_eq!(x["required"], json!(["spec", "kind", "apiVersion"]));
        assert_eq!(x["properties"]["apiVersion"]["type"], "string");
        assert!(x["properties"]["metadata"].is_object());
    }
}
