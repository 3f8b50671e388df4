//! The schemas of custom resources as they are published: what the definition says, and what every object has.

use serde_json::{Map, Value, json};

use super::components::reference;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of a version of a definition with the fields of every object; an absent one admits anything.
pub(super) fn published(declared: &Value) -> Value {
    let mut schema = match declared {
        Value::Object(schema) if !schema.is_empty() => schema.clone(),
        _ => Map::from_iter([("x-kubernetes-preserve-unknown-fields".to_owned(), true.into())]),
    };
    schema.insert("type".to_owned(), "object".into());
    let mut schema = Value::Object(schema);
    embed(&mut schema);
    complete(&mut schema);
    schema
}

/// Gives the fields of every object to embedded objects.
fn embed(schema: &mut Value) {
    let Value::Object(words) = schema else { return };
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = words.get_mut(word) {
            embed(inner);
        }
    }
    if let Some(Value::Object(properties)) = words.get_mut("properties") {
        properties.values_mut().for_each(embed);
    }
    if words.get("x-kubernetes-embedded-resource") == Some(&true.into()) {
        complete(schema);
    }
}

fn complete(schema: &mut Value) {
    let described = |text: &str| json!({"type": "string", "description": text});
    let metadata =
        json!({"allOf": [reference(OBJECT_META)], "description": "what every object has: name, labels, owners"});
    let Value::Object(schema) = schema else { return };
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        properties.insert("apiVersion".to_owned(), described("the group and version of the schema of this object"));
        properties.insert("kind".to_owned(), described("the kind of this object"));
        properties.insert("metadata".to_owned(), metadata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_what_all_have() {
        let schema = published(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "template": {"type": "object", "x-kubernetes-embedded-resource": true},
            }},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
        }}));
        let metadata = json!([{"$ref": format!("#/components/schemas/{OBJECT_META}")}]);
        assert_eq!(schema["properties"]["metadata"]["allOf"], metadata);
        assert_eq!(schema["properties"]["kind"]["type"], "string");
        let template = &schema["properties"]["spec"]["properties"]["template"];
        assert_eq!(template["properties"]["metadata"]["allOf"], metadata);
    }

    #[test]
    fn what_is_not_described_may_be_anything() {
        let schema = published(&Value::Null);
        assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true);
        assert_eq!(schema["type"], "object");
    }
}
