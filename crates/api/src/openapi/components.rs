//! The schemas of a document: those of `k8s-openapi`, with the extensions that clients read.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::generated::schemas::SCHEMAS;
use crate::kinds::{self, Resource};
use crate::schema::{self, Field, FieldType, ListType, PatchStrategy};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The schemas that the resources' paths refer to, and all that those refer to.
pub(super) fn schemas(resources: &[&Resource]) -> Value {
    let mut wanted: BTreeSet<String> =
        ["DeleteOptions", "ListMeta", "Status"].iter().map(|name| format!("{META}.{name}")).collect();
    for resource in resources {
        wanted.insert(resource.schema.to_owned());
        wanted.extend(resource.subresources.iter().filter_map(|sub| type_of(&sub.group, &sub.version, &sub.kind)));
    }
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut generator = settings.into_generator();
    for (name, add) in SCHEMAS {
        if wanted.contains(*name) {
            add(&mut generator);
        }
    }
    let mut schemas = generator.take_definitions(false);
    for (name, value) in &mut schemas {
        extend(name, value);
    }
    for resource in resources {
        mark_kind(&mut schemas, resource.schema, &resource.group, &resource.version, &resource.kind);
        for sub in resource.subresources.iter() {
            if let Some(name) = type_of(&sub.group, &sub.version, &sub.kind) {
                mark_kind(&mut schemas, &name, &sub.group, &sub.version, &sub.kind);
            }
        }
        if !resource.list_kind.is_empty() {
            schemas.insert(format!("{}List", resource.schema), list(resource));
        }
    }
    Value::Object(schemas)
}

/// The name of the type of a kind, if there is a type: options of connections have none.
pub(super) fn type_of(group: &str, version: &str, kind: &str) -> Option<String> {
    if let Some(resource) = kinds::find_kind(group, version, kind) {
        return Some(resource.schema.to_owned());
    }
    let suffix = format!(".{version}.{kind}");
    SCHEMAS.iter().map(|(name, _)| *name).find(|name| name.ends_with(&suffix)).map(str::to_owned)
}

/// A reference to a schema.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn mark_kind(schemas: &mut Map<String, Value>, name: &str, group: &str, version: &str, kind: &str) {
    if let Some(Value::Object(schema)) = schemas.get_mut(name) {
        schema.insert("x-kubernetes-group-version-kind".to_owned(), json!([group_version_kind(group, version, kind)]));
    }
}

fn list(resource: &Resource) -> Value {
    let described = |text: &str| json!({"type": "string", "description": text});
    json!({
        "description": format!("a list of {} objects", resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": described("the version of the schema of this list"),
            "kind": described("the kind of this list"),
            "metadata": {"allOf": [reference(&format!("{META}.ListMeta"))], "default": {},
                "description": "where the list stands in the history of the resource"},
            "items": {"type": "array", "description": "the objects", "items": reference(resource.schema)},
        },
        "x-kubernetes-group-version-kind":
            [group_version_kind(&resource.group, &resource.version, &resource.list_kind)],
    })
}

/// Adds to a schema what the tables know about its type.
fn extend(name: &str, value: &mut Value) {
    let Value::Object(schema) = value else { return };
    match name.rsplit('.').next() {
        Some("IntOrString") => one_of(schema, "int-or-string", ["integer", "string"]),
        Some("Quantity") => one_of(schema, "", ["string", "number"]),
        _ => {}
    }
    let Some(ty) = schema::type_by_name(name) else { return };
    let required: Vec<&str> = ty.fields.iter().filter(|field| field.required).map(|field| field.json).collect();
    schema.remove("required");
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if ty.atomic {
        schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (key, property) in properties {
        if let (Some(field), Value::Object(property)) = (ty.field(key), property) {
            describe(field, property);
        }
    }
}

fn one_of(schema: &mut Map<String, Value>, format: &str, types: [&str; 2]) {
    schema.remove("x-kubernetes-int-or-string");
    if !format.is_empty() {
        schema.insert("format".to_owned(), format.into());
    }
    let types: Vec<Value> = types.iter().map(|ty| json!({"type": ty})).collect();
    schema.insert("oneOf".to_owned(), types.into());
}

fn describe(field: &Field, property: &mut Map<String, Value>) {
    // In OpenAPI 3.0 nothing may stand beside a reference.
    if property.len() > 1
        && let Some(reference) = property.remove("$ref")
    {
        property.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    let mut extension = |key: &str, value: Value| property.insert(format!("x-kubernetes-{key}"), value);
    if let FieldType::List(_) = field.ty {
        let list_type = match field.list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        extension("list-type", list_type.into());
        if field.list_type == ListType::Map {
            extension("list-map-keys", field.map_keys.into());
        }
    } else if field.atomic {
        extension("map-type", "atomic".into());
    }
    let strategy = match field.patch_strategy {
        PatchStrategy::Default => None,
        PatchStrategy::Merge => Some("merge"),
        PatchStrategy::Replace => Some("replace"),
        PatchStrategy::RetainKeys => Some("retainKeys"),
        PatchStrategy::MergeRetainKeys => Some("merge,retainKeys"),
    };
    if let Some(strategy) = strategy {
        extension("patch-strategy", strategy.into());
    }
    if let Some(key) = field.patch_merge_key {
        extension("patch-merge-key", key.into());
    }
    let declared = field.default.and_then(|text| serde_json::from_str(text).ok());
    let default = declared.or_else(|| (field.always && matches!(field.ty, FieldType::Ref(_))).then(|| json!({})));
    if let Some(default) = default {
        property.insert("default".to_owned(), default);
    }
}
