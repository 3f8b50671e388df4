//! Matches definitions with messages and reads the markers.

use std::collections::BTreeSet;

use super::openapi::{self, Definitions, Ty};
use super::overrides;
use super::presence;
use super::proto::{Message, Messages, normalize};

/// A type, ready to be written.
pub struct Type {
    pub name: String,
    pub atomic: bool,
    pub fields: Vec<Field>,
}

/// A field, ready to be written.
pub struct Field {
    pub json: String,
    pub ty: Ty,
    pub required: bool,
    pub tags: Vec<u32>,
    pub wire: String,
    pub list_type: Option<String>,
    pub map_keys: Vec<String>,
    pub atomic: bool,
    pub patch_strategy: Option<String>,
    pub merge_key: Option<String>,
    pub default: Option<String>,
    pub always: bool,
    pub by_value: bool,
    pub pointer: bool,
    pub discriminator: bool,
}

/// What did not match.
pub struct Report {
    pub fields: usize,
    pub untagged: usize,
}

/// A protobuf field as JSON sees it: under its path of tags.
struct Flat {
    name: String,
    tags: Vec<u32>,
    wire: String,
    markers: Vec<String>,
}

/// The types of the tables.
pub fn types(definitions: &Definitions, messages: &Messages) -> (Vec<Type>, Report) {
    let mut types = Vec::new();
    let mut report = Report { fields: 0, untagged: 0 };
    for (name, definition) in definitions {
        let message = messages.get(&message_name(name));
        let json: BTreeSet<String> = definition.fields.iter().map(|field| normalize(&field.json)).collect();
        let mut flat = Vec::new();
        if let Some(message) = message {
            flatten(message, messages, &json, &[], &mut flat);
        }
        let mut fields: Vec<Field> =
            definition.fields.iter().map(|each| field(name, each, definition.kind.is_some(), &flat)).collect();
        report.untagged += fields.iter().filter(|field| field.tags.is_empty()).count();
        report.fields += fields.len();
        if definition.kind.is_some() {
            for key in ["apiVersion", "kind"] {
                if !json.contains(&normalize(key)) {
                    fields.push(Field::type_meta(key));
                }
            }
        }
        fields.sort_by(|a, b| a.json.cmp(&b.json));
        // The marker of a field means something only in a type that is marked as well.
        if !message.is_some_and(|message| message.markers.iter().any(|marker| marker == "union")) {
            fields.iter_mut().for_each(|field| field.discriminator = false);
        }
        let atomic = message.is_some_and(|message| value(&message.markers, "structType") == Some("atomic"));
        types.push(Type { name: name.clone(), atomic, fields });
    }
    (types, report)
}

/// `io.k8s.kube-aggregator.pkg.x.V` is `kube_aggregator::pkg::x::v` there.
fn message_name(definition: &str) -> String {
    let path = definition.strip_prefix("io.k8s.").unwrap_or(definition).replace('-', "_");
    let (module, name) = path.rsplit_once('.').unwrap_or(("", &path));
    format!("{}::{}", module.replace('.', "::"), normalize(name))
}

fn flatten(message: &Message, messages: &Messages, json: &BTreeSet<String>, path: &[u32], flat: &mut Vec<Flat>) {
    for field in &message.fields {
        let mut tags = path.to_vec();
        tags.push(field.tag);
        let nested = field.message.as_ref().and_then(|name| messages.get(name));
        match nested {
            // JSON does not have this field: it has the fields of the message in it.
            Some(nested) if !json.contains(&normalize(&field.name)) && tags.len() < 4 => {
                flatten(nested, messages, json, &tags, flat);
            }
            _ => {
                let list = nested.is_some_and(|nested| {
                    nested.fields.len() == 1 && nested.fields[0].name == "items" && nested.fields[0].wire == "string"
                });
                let wire = if list { "string list".to_owned() } else { field.wire.clone() };
                flat.push(Flat { name: normalize(&field.name), tags, wire, markers: field.markers.clone() });
            }
        }
    }
}

fn field(type_name: &str, source: &openapi::Field, of_kind: bool, flat: &[Flat]) -> Field {
    let proto = flat.iter().filter(|flat| flat.name == normalize(&source.json)).min_by_key(|flat| flat.tags.len());
    let markers = proto.map_or(&[][..], |proto| &proto.markers);
    let optional = markers.iter().any(|marker| marker == "optional");
    let atomic = value(markers, "mapType") == Some("atomic") || value(markers, "structType") == Some("atomic");
    let required = source.required && !optional && !overrides::is_optional(type_name, &source.json);
    let always = presence::is_always_written(type_name, &source.json, of_kind, &source.ty);
    Field {
        json: source.json.clone(),
        ty: source.ty.clone(),
        required,
        tags: proto.map(|proto| proto.tags.clone()).unwrap_or_default(),
        wire: proto.map(|proto| proto.wire.clone()).unwrap_or_default(),
        list_type: value(markers, "listType").map(str::to_owned),
        map_keys: values(markers, "listMapKey").map(str::to_owned).collect(),
        atomic,
        patch_strategy: value(markers, "patchStrategy").map(str::to_owned),
        merge_key: value(markers, "patchMergeKey").map(str::to_owned),
        default: value(markers, "default").map(|text| overrides::default_value(text).to_owned()),
        always,
        by_value: !required && !always && presence::is_by_value(type_name, &source.json, &source.ty),
        pointer: presence::is_pointer(type_name, &source.json),
        discriminator: markers.iter().any(|marker| marker == "unionDiscriminator"),
    }
}

impl Field {
    fn type_meta(json: &str) -> Field {
        Field {
            json: json.to_owned(),
            ty: Ty::String,
            required: false,
            tags: Vec::new(),
            wire: String::new(),
            list_type: None,
            map_keys: Vec::new(),
            atomic: false,
            patch_strategy: None,
            merge_key: None,
            default: None,
            always: false,
            by_value: true,
            pointer: false,
            discriminator: false,
        }
    }
}

fn value<'a>(markers: &'a [String], name: &str) -> Option<&'a str> {
    values(markers, name).next()
}

fn values<'a>(markers: &'a [String], name: &str) -> impl Iterator<Item = &'a str> {
    markers.iter().filter_map(move |marker| marker.strip_prefix(name)?.strip_prefix('=').map(str::trim))
}
