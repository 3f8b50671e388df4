//! The v2 document of all groups, made from their v3 documents.
//!
//! OpenAPI v2 says less: no alternatives, no defaults (upstream leaves them out), one list of media types for an
//! operation. What it says in another way is where definitions and parameters stand and how a body is sent.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Members of an object, as text: as values a whole document would take many times its size.
pub type Members = BTreeMap<String, Box<RawValue>>;

/// What a v3 document adds to the v2 document of all.
#[derive(Debug)]
pub struct Part {
    /// Its paths.
    pub paths: Members,
    /// Its schemas. Other parts may have the same.
    pub definitions: Members,
    /// Parameters that are written once and referred to, by their names in the document. A name means the same in all
    /// parts.
    pub parameters: Members,
}

impl Part {
    /// Reads a v3 document.
    pub fn new(mut v3: Value) -> serde_json::Result<Self> {
        let (mut paths, mut definitions) = (Members::new(), Members::new());
        if let Value::Object(schemas) = v3["components"]["schemas"].take() {
            for (name, mut schema) in schemas {
                convert_schema(&mut schema);
                definitions.insert(name, to_raw_value(&schema)?);
            }
        }
        let mut converter = Converter::default();
        if let Value::Object(items) = v3["paths"].take() {
            for (path, item) in items {
                let item = converter.path_item(item);
                paths.insert(path, to_raw_value(&item)?);
            }
        }
        let parameters = converter.parameters.into_iter();
        let parameters = parameters.map(|(name, parameter)| Ok((name, to_raw_value(&parameter)?)));
        Ok(Self { paths, definitions, parameters: parameters.collect::<serde_json::Result<_>>()? })
    }
}

/// What a document has before its paths.
pub(super) fn head() -> Value {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.35.0"}})
}

/// What a document has behind its definitions.
pub(super) fn tail(parameters: &Members) -> serde_json::Result<Value> {
    Ok(json!({
        "parameters": serde_json::to_value(parameters)?, "securityDefinitions": super::security(),
        "security": [{"BearerToken": []}],
    }))
}

/// The text of a v2 document before the members of its paths, between them and those of its definitions, and behind.
pub fn frame(parameters: &Members) -> serde_json::Result<[String; 3]> {
    let (head, tail) = (head().to_string(), tail(parameters)?.to_string());
    // The members of an object without the brace that ends it, or begins it.
    let (head, tail) = (&head[..head.len() - 1], &tail[1..]);
    Ok([format!(r#"{head},"paths":{{"#), r#"},"definitions":{"#.to_owned(), format!("}},{tail}")])
}

/// Turns operations and parameters of v3 into those of v2.
#[derive(Default)]
struct Converter {
    parameters: Map<String, Value>,
}

impl Converter {
    fn path_item(&mut self, item: Value) -> Value {
        let Value::Object(item) = item else { return item };
        let item = item.into_iter().map(|(key, value)| {
            let value = if key == "parameters" { self.parameters(value).into() } else { self.operation(value) };
            (key, value)
        });
        Value::Object(item.collect())
    }

    fn operation(&mut self, operation: Value) -> Value {
        let Value::Object(mut operation) = operation else { return operation };
        let mut parameters = self.parameters(operation.remove("parameters").unwrap_or_default());
        let mut consumes = json!(["*/*"]);
        if let Some(mut body) = operation.remove("requestBody") {
            let content = body["content"].take();
            consumes = media_types(&content);
            let mut parameter = json!({"name": "body", "in": "body", "schema": schema_of(content)});
            if body["required"] == true {
                parameter["required"] = true.into();
            }
            parameters.push(self.shared(parameter));
        }
        let mut produces = json!(["*/*"]);
        if let Some(Value::Object(responses)) = operation.get_mut("responses") {
            for (code, response) in responses {
                if let Value::Object(response) = response
                    && let Some(content) = response.remove("content")
                {
                    if code == "200" {
                        produces = media_types(&content);
                    }
                    response.insert("schema".to_owned(), schema_of(content));
                }
            }
        }
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), parameters.into());
        }
        operation.insert("consumes".to_owned(), consumes);
        operation.insert("produces".to_owned(), produces);
        operation.insert("schemes".to_owned(), json!(["https"]));
        Value::Object(operation)
    }

    fn parameters(&mut self, parameters: Value) -> Vec<Value> {
        let Value::Array(parameters) = parameters else { return Vec::new() };
        parameters.into_iter().map(|parameter| self.parameter(parameter)).collect()
    }

    fn parameter(&mut self, parameter: Value) -> Value {
        let Value::Object(mut parameter) = parameter else { return parameter };
        if let Some(Value::Object(schema)) = parameter.remove("schema") {
            parameter.extend(schema);
        }
        self.shared(Value::Object(parameter))
    }

    /// A reference to the parameter, which stands in the document once. Its name tells it from others of the name.
    fn shared(&mut self, parameter: Value) -> Value {
        let hash = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(parameter.to_string())[..6]);
        let name = format!("{}-{hash}", parameter["name"].as_str().unwrap_or("param"));
        let reference = json!({"$ref": format!("#/parameters/{name}")});
        self.parameters.entry(name).or_insert(parameter);
        reference
    }
}

/// The media types of a body.
fn media_types(content: &Value) -> Value {
    content.as_object().into_iter().flatten().map(|(media_type, _)| media_type.clone()).collect()
}

/// The schema of a body, which is the same in all media types.
fn schema_of(mut content: Value) -> Value {
    let first = content.as_object_mut().and_then(|content| content.values_mut().next());
    let mut schema = first.map(|body| body["schema"].take()).unwrap_or_default();
    convert_schema(&mut schema);
    schema
}

/// Words of v3 (and of JSON schema) that v2 does not have, or that upstream leaves out of it.
const NOT_IN_V2: [&str; 6] = ["anyOf", "default", "not", "nullable", "oneOf", "x-kubernetes-validations"];

fn convert_schema(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if let Some(ty) = type_of_alternatives(schema) {
        schema.insert("type".to_owned(), ty.into());
    }
    // A null or an unknown field would not be valid in a document that names the type or the fields.
    let is = |schema: &Map<String, Value>, word: &str| schema.get(word) == Some(&true.into());
    let is_nullable = is(schema, "nullable");
    let keeps_unknown = is(schema, "x-kubernetes-preserve-unknown-fields");
    if is_nullable || keeps_unknown {
        for word in ["items", "properties"] {
            schema.remove(word);
        }
        let is_list = schema.get("type").is_some_and(|ty| ty == "array");
        if is_nullable || is_list {
            schema.remove("type");
        }
    }
    let is_embedded = is(schema, "x-kubernetes-embedded-resource");
    loosen_required(schema, is_embedded && keeps_unknown);
    for word in NOT_IN_V2 {
        schema.remove(word);
    }
    match schema.remove("allOf") {
        // Beside a reference v2 lets stand what it likes.
        Some(Value::Array(mut all)) if all.len() == 1 && all[0].get("$ref").is_some() => {
            if let Some(Value::Object(only)) = all.pop() {
                schema.extend(only);
            }
        }
        // Alternatives of custom resources, which upstream drops as well.
        Some(_) | None => {}
    }
    if let Some(Value::String(reference)) = schema.get_mut("$ref") {
        *reference = reference.replacen("#/components/schemas/", "#/definitions/", 1);
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(word) {
            convert_schema(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(convert_schema);
    }
}

/// What may be null may also be missing for those who do not know nulls; nor can be required what is not named.
fn loosen_required(schema: &mut Map<String, Value>, names_no_type_meta: bool) {
    let is_nullable = |schema: Option<&Value>| schema.is_some_and(|schema| schema["nullable"] == true);
    let all_nullable = is_nullable(schema.get("additionalProperties"));
    let Some(Value::Array(mut required)) = schema.remove("required") else { return };
    let properties = schema.get("properties");
    required.retain(|name| {
        let name = name.as_str().unwrap_or_default();
        let is_unnamed = names_no_type_meta && matches!(name, "apiVersion" | "kind");
        let may_be_null = all_nullable || is_nullable(properties.and_then(|properties| properties.get(name)));
        !is_unnamed && !may_be_null
    });
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
}

/// The one type that v2 names for a value of several types: text, which all of them can be written as.
fn type_of_alternatives(schema: &Map<String, Value>) -> Option<&'static str> {
    if schema.contains_key("type") {
        return None;
    }
    let alternatives: BTreeMap<&str, ()> =
        schema.get("oneOf")?.as_array()?.iter().filter_map(|one| Some((one["type"].as_str()?, ()))).collect();
    alternatives.contains_key("string").then_some("string")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(v3: Value, expected: Value) {
        let mut schema = v3;
        convert_schema(&mut schema);
        assert_eq!(schema, expected);
    }

    #[test]
    fn references_keep_what_stands_beside_them() {
        check(
            json!({"allOf": [{"$ref": "#/components/schemas/a.B"}], "default": {}, "description": "d"}),
            json!({"$ref": "#/definitions/a.B", "description": "d"}),
        );
        check(
            json!({"type": "array", "items": {"$ref": "#/components/schemas/a.B"}}),
            json!({"type": "array", "items": {"$ref": "#/definitions/a.B"}}),
        );
    }

    #[test]
    fn values_of_several_types_are_text() {
        check(
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"format": "int-or-string", "type": "string"}),
        );
    }

    #[test]
    fn what_may_be_null_or_anything_has_no_type() {
        check(json!({"type": "string", "nullable": true, "description": "d"}), json!({"description": "d"}));
        check(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}}),
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        );
        check(
            json!({"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {"type": "string"}}),
            json!({"x-kubernetes-preserve-unknown-fields": true}),
        );
    }

    #[test]
    fn what_may_be_null_is_not_required() {
        check(
            json!({"type": "object", "required": ["a", "b"], "properties": {
                "a": {"type": "string", "nullable": true}, "b": {"type": "string"},
            }}),
            json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
        );
        check(
            json!({"type": "object", "required": ["kind", "apiVersion", "spec"], "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true, "properties": {"kind": {"type": "string"}}}),
            json!({"type": "object", "required": ["spec"], "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true}),
        );
    }

    #[test]
    fn parameters_are_written_once() {
        let pretty = json!({"name": "pretty", "in": "query", "schema": {"type": "string"}});
        let part = Part::new(json!({"paths": {
            "/a": {"get": {"parameters": [pretty], "responses": {}}},
            "/b": {"get": {"responses": {}}, "parameters": [pretty]},
        }}));
        let part = part.expect("a document");
        let path = |name: &str| -> Value { serde_json::from_str(part.paths[name].get()).expect("JSON") };
        let reference = &path("/a")["get"]["parameters"][0]["$ref"];
        assert_eq!(reference, &path("/b")["parameters"][0]["$ref"]);
        let name = reference.as_str().and_then(|path| path.strip_prefix("#/parameters/")).expect("a reference");
        let parameter: Value = serde_json::from_str(part.parameters[name].get()).expect("JSON");
        assert_eq!(parameter, json!({"name": "pretty", "in": "query", "type": "string"}));
    }
}
