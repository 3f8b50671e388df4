//! The paths of a document.

use serde_json::{Map, Value, json};

use super::components::type_of;
use super::operations::{Operation, Verb};
use super::parameters::in_path;
use crate::kinds::{Resource, Subresource};

/// A resource as far as its paths need it: of the table, or one that is defined at run time.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The API group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The kind of its objects.
    pub kind: &'a str,
    /// The name in URLs.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done.
    pub verbs: &'a [&'a str],
    /// The name of the schema of its objects.
    pub schema: &'a str,
}

/// All paths of resources of the table.
pub(super) fn of_resources(resources: &[&Resource]) -> Value {
    let mut paths = Map::new();
    for resource in resources {
        let place = Place {
            group: &resource.group,
            version: &resource.version,
            kind: &resource.kind,
            plural: &resource.plural,
            namespaced: resource.namespaced,
            verbs: resource.verbs,
            schema: resource.schema,
        };
        paths.extend(of_place(&place));
        for sub in resource.subresources.iter() {
            let (path, item) = of_subresource(&place, sub);
            paths.insert(path, item);
        }
    }
    Value::Object(paths)
}

impl Place<'_> {
    fn root(&self) -> String {
        format!("/{}", super::path_of(self.group, self.version))
    }

    /// The path of the collection to which objects are added.
    fn collection(&self) -> String {
        let namespace = if self.namespaced { "/namespaces/{namespace}" } else { "" };
        format!("{}{namespace}/{}", self.root(), self.plural)
    }

    fn operation(&self, verb: Verb, suffix: &str) -> Value {
        let scope = if self.namespaced { "Namespaced" } else { "" };
        let subject = format!("{scope}{}{suffix}", self.kind);
        let Place { group, version, kind, schema, .. } = *self;
        Operation { verb, group, version, kind, schema: Some(schema), subject: &subject }.to_json()
    }

    fn item(&self, operations: &[(&str, Verb)], named: bool) -> Option<Value> {
        let mut item = Map::new();
        for (word, verb) in operations {
            if self.verbs.contains(word) {
                item.insert(verb.method().to_owned(), self.operation(*verb, ""));
            }
        }
        if item.is_empty() {
            return None;
        }
        let parameters = self.path_parameters(named);
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        Some(Value::Object(item))
    }

    fn path_parameters(&self, named: bool) -> Vec<Value> {
        let mut parameters = Vec::new();
        if named {
            parameters.push(in_path("name", "the name of the object"));
        }
        if self.namespaced {
            parameters.push(in_path("namespace", "the namespace of the object"));
        }
        parameters
    }
}

/// The paths of one resource without its subresources.
pub fn of_place(place: &Place<'_>) -> Map<String, Value> {
    let mut paths = Map::new();
    let collection = [("list", Verb::List), ("create", Verb::Create), ("deletecollection", Verb::DeleteCollection)];
    let object = [("get", Verb::Get), ("update", Verb::Update), ("patch", Verb::Patch), ("delete", Verb::Delete)];
    if let Some(item) = place.item(&collection, false) {
        paths.insert(place.collection(), item);
    }
    if let Some(item) = place.item(&object, true) {
        paths.insert(format!("{}/{{name}}", place.collection()), item);
    }
    if place.namespaced && place.verbs.contains(&"list") {
        let across = Place { namespaced: false, ..*place };
        let list = across.operation(Verb::List, "ForAllNamespaces");
        paths.insert(across.collection(), json!({"get": list}));
    }
    paths
}

fn of_subresource(place: &Place<'_>, sub: &Subresource) -> (String, Value) {
    let schema = type_of(&sub.group, &sub.version, &sub.kind);
    let mut words = sub.name.chars();
    let name: String = words.next().into_iter().flat_map(char::to_uppercase).chain(words).collect();
    let scope = if place.namespaced { "Namespaced" } else { "" };
    let subject = format!("{scope}{}{name}", place.kind);
    let mut item = Map::new();
    let verbs = [
        ("get", Verb::Get),
        ("create", Verb::Create),
        ("update", Verb::Update),
        ("patch", Verb::Patch),
        ("delete", Verb::Delete),
    ];
    for (word, verb) in verbs {
        if sub.verbs.contains(&word) {
            let (group, version, kind) = (&*sub.group, &*sub.version, &*sub.kind);
            // A log is text, not an object.
            let schema = schema.as_deref().filter(|_| sub.name != "log");
            let operation = Operation { verb, group, version, kind, schema, subject: &subject };
            item.insert(verb.method().to_owned(), operation.to_json());
        }
    }
    item.insert("parameters".to_owned(), place.path_parameters(true).into());
    (format!("{}/{{name}}/{}", place.collection(), sub.name), Value::Object(item))
}
