//! The schemas of a document: those of `k8s-openapi`, with the extensions that clients read.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Entry, enums};
use crate::generated::schemas::SCHEMAS;
use crate::kinds::{self, Subresource};
use crate::schema::{self, Field, FieldType, ListType, PatchStrategy, Type};
use crate::structural::{self, GroupVersionKind};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The schemas that the resources' paths refer to, and all that those refer to.
pub(super) fn of_entries(entries: &[Entry<'_>]) -> Map<String, Value> {
    let mut wanted = BTreeSet::new();
    for entry in entries {
        if !entry.is_custom() {
            wanted.insert(entry.schema_name());
        }
        wanted.extend(foreign_kinds(entry).map(|(_, name)| name));
    }
    let mut generator = generator();
    for (name, add) in SCHEMAS {
        if wanted.contains(*name) {
            add(&mut generator);
        }
    }
    // What no kind refers to, but requests and answers are made of.
    generator.subschema_for::<meta::APIResourceList>();
    generator.subschema_for::<meta::DeleteOptions>();
    generator.subschema_for::<meta::ListMeta>();
    generator.subschema_for::<meta::ObjectMeta>();
    generator.subschema_for::<meta::Patch>();
    generator.subschema_for::<meta::Status>();
    generator.subschema_for::<meta::WatchEvent<RawExtension>>();
    let mut schemas = finish(generator);
    for entry in entries {
        let resource = entry.resource;
        if let Some(schema) = entry.schema {
            let kind = GroupVersionKind { group: &resource.group, version: &resource.version, kind: &resource.kind };
            schemas.insert(entry.schema_name(), structural::published(schema, kind));
        }
        if !resource.list_kind.is_empty() {
            schemas.insert(format!("{}List", entry.schema_name()), list(entry));
        }
    }
    schemas
}

/// The subresources that are of another kind than the resource, with the names of their types.
fn foreign_kinds<'a>(entry: &'a Entry<'a>) -> impl Iterator<Item = (&'a Subresource, String)> {
    let resource = entry.resource;
    let others =
        resource.subresources.iter().filter(|sub| (&sub.group, &sub.kind) != (&resource.group, &resource.kind));
    others.filter_map(|sub| Some((sub, type_of(&sub.group, &sub.version, &sub.kind)?)))
}

/// The schemas of types by their names, and all that those refer to.
pub(super) fn of_types(names: &[&str]) -> Map<String, Value> {
    let mut generator = generator();
    for (_, add) in SCHEMAS.iter().filter(|(name, _)| names.contains(name)) {
        add(&mut generator);
    }
    finish(generator)
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.transforms.clear();
        })
        .into_generator()
}

fn finish(mut generator: SchemaGenerator) -> Map<String, Value> {
    let mut schemas = generator.take_definitions(false);
    for (name, value) in &mut schemas {
        extend(name, value);
    }
    // Whichever document a kind stands in, clients find it by its mark.
    for row in kinds::all() {
        mark_kind(&mut schemas, row.schema, &row.group, &row.version, &row.kind);
    }
    for sub in kinds::all().iter().flat_map(|row| row.subresources.iter()) {
        if let Some(name) = type_of(&sub.group, &sub.version, &sub.kind) {
            mark_kind(&mut schemas, &name, &sub.group, &sub.version, &sub.kind);
        }
    }
    for kind in ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"] {
        mark_kind(&mut schemas, &format!("{META}.{kind}"), "", "v1", kind);
    }
    // Every group knows these two as its own.
    for kind in ["DeleteOptions", "WatchEvent"] {
        if let Some(Value::Object(schema)) = schemas.get_mut(&format!("{META}.{kind}")) {
            let versions: BTreeSet<(&str, &str)> =
                kinds::all().iter().map(|row| (row.group.as_ref(), row.version.as_ref())).collect();
            let all = versions.into_iter().map(|(group, version)| group_version_kind(group, version, kind));
            schema.insert("x-kubernetes-group-version-kind".to_owned(), all.collect());
        }
    }
    schemas
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

fn list(entry: &Entry<'_>) -> Value {
    let resource = entry.resource;
    let described = |text: &str| json!({"type": "string", "description": text});
    let items = json!({"allOf": [reference(&entry.schema_name())], "default": {}});
    json!({
        "description": format!("a list of {} objects", resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": described("the version of the schema of this list"),
            "kind": described("the kind of this list"),
            "metadata": {"allOf": [reference(&format!("{META}.ListMeta"))], "default": {},
                "description": "where the list stands in the history of the resource"},
            "items": {"type": "array", "description": "the objects", "items": items},
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
    if let Some(union) = union(ty) {
        schema.insert("x-kubernetes-unions".to_owned(), json!([union]));
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (key, property) in properties {
        if let (Some(field), Value::Object(property)) = (ty.field(key), property) {
            describe(name, field, property);
        }
    }
}

/// Which field says which of the others is set, in a type of which one is.
fn union(ty: &Type) -> Option<Value> {
    let discriminator = ty.fields.iter().find(|field| field.discriminator)?.json;
    let members = ty.fields.iter().map(|field| field.json).filter(|name| *name != discriminator);
    let members: Map<String, Value> =
        members.map(|name| (name.to_owned(), super::names::operation_part(name, true).into())).collect();
    Some(json!({"discriminator": discriminator, "fields-to-discriminateBy": members}))
}

fn one_of(schema: &mut Map<String, Value>, format: &str, types: [&str; 2]) {
    schema.remove("x-kubernetes-int-or-string");
    schema.remove("type");
    if !format.is_empty() {
        schema.insert("format".to_owned(), format.into());
    }
    let types: Vec<Value> = types.iter().map(|ty| json!({"type": ty})).collect();
    schema.insert("oneOf".to_owned(), types.into());
}

fn describe(type_name: &str, field: &Field, property: &mut Map<String, Value>) {
    let declared = field.default.and_then(|text| serde_json::from_str(text).ok());
    let is_value = (field.always || field.required) && !field.pointer;
    if let Some(default) = declared.or_else(|| is_value.then(|| zero(&field.ty)).flatten()) {
        property.insert("default".to_owned(), default);
    }
    let values = enums::values(type_name, field.json);
    if !values.is_empty() {
        property.insert("enum".to_owned(), values.into());
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
    elements(&field.ty, property);
    beside(property);
}

/// Says what the elements of a list and the values of a map are when they are empty.
fn elements(ty: &FieldType, property: &mut Map<String, Value>) {
    let Some(element) = ty.element() else { return };
    let key = if matches!(ty, FieldType::List(_)) { "items" } else { "additionalProperties" };
    let Some(Value::Object(schema)) = property.get_mut(key) else { return };
    if let Some(zero) = zero(element) {
        schema.insert("default".to_owned(), zero);
    }
    elements(element, schema);
    beside(schema);
}

/// In OpenAPI 3.0 nothing may stand beside a reference.
fn beside(schema: &mut Map<String, Value>) {
    if schema.len() > 1
        && let Some(reference) = schema.remove("$ref")
    {
        schema.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

/// The value that upstream writes for nothing; types that write themselves have none.
fn zero(ty: &FieldType) -> Option<Value> {
    match ty {
        FieldType::String => Some("".into()),
        FieldType::Integer32 | FieldType::Integer64 | FieldType::Number => Some(0.into()),
        FieldType::Boolean => Some(false.into()),
        FieldType::Ref(_) => Some(json!({})),
        _ => None,
    }
}
