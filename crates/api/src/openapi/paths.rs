//! The paths of a document.

use serde_json::{Map, Value, json};

use super::Entry;
use super::components::{self, type_of};
use super::operations::{Answer, Operation, Verb};
use super::parameters::{self, in_path};
use crate::kinds::{Resource, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The methods by which requests are passed on to a proxy, and that upstream's documents name for it.
const PROXY_METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

/// All paths of a resource.
pub(super) fn of_entry(entry: &Entry<'_>) -> Map<String, Value> {
    let place = Place { entry, resource: entry.resource, namespaced: entry.resource.namespaced };
    let mut paths = place.own();
    for sub in entry.resource.subresources.iter() {
        paths.extend(place.subresource(sub));
    }
    paths
}

/// A resource under one of its paths.
#[derive(Clone, Copy)]
struct Place<'a> {
    entry: &'a Entry<'a>,
    resource: &'a Resource,
    /// Whether the path names a namespace.
    namespaced: bool,
}

impl<'a> Place<'a> {
    fn root(&self) -> String {
        format!("/{}", super::path_of(&self.resource.group, &self.resource.version))
    }

    fn scope(&self) -> &'static str {
        if self.namespaced { "Namespaced" } else { "" }
    }

    /// What stands between the root and the name of an object.
    fn collection(&self) -> String {
        let namespace = if self.namespaced { "/namespaces/{namespace}" } else { "" };
        format!("{namespace}/{}", self.resource.plural)
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

    fn operation(&self, verb: Verb, suffix: &str) -> Value {
        let resource = self.resource;
        let schema = self.entry.schema_name();
        let list = format!("{schema}List");
        let status = format!("{META}.Status");
        let answer = match verb {
            Verb::List => list,
            Verb::Watch | Verb::WatchList => format!("{META}.WatchEvent"),
            Verb::Delete if self.entry.returns_deleted => schema.clone(),
            Verb::Delete | Verb::DeleteCollection => status,
            _ => schema.clone(),
        };
        let body = body_of(verb, &schema);
        Operation {
            verb,
            at: (&resource.group, &resource.version),
            kind: (&resource.group, &resource.version, &resource.kind),
            subject: &format!("{}{}{suffix}", self.scope(), resource.kind),
            body: body.as_deref(),
            answer: Answer::Schema(&answer),
            parameters: &[],
            custom: self.entry.is_custom(),
        }
        .to_json()
    }

    /// A path with those of the operations that the resource allows, if it allows one.
    fn item(&self, operations: &[(&str, Verb)], suffix: &str, named: bool) -> Option<Value> {
        let allowed = operations.iter().filter(|(word, _)| self.resource.allows(word));
        let mut item: Map<String, Value> =
            allowed.map(|(_, verb)| (verb.method().to_owned(), self.operation(*verb, suffix))).collect();
        if item.is_empty() {
            return None;
        }
        parameters::share(&mut item, self.path_parameters(named));
        Some(Value::Object(item))
    }

    /// The paths of the resource without its subresources.
    fn own(&self) -> Map<String, Value> {
        const COLLECTION: &[(&str, Verb)] =
            &[("list", Verb::List), ("create", Verb::Create), ("deletecollection", Verb::DeleteCollection)];
        const OBJECT: &[(&str, Verb)] =
            &[("get", Verb::Get), ("update", Verb::Update), ("patch", Verb::Patch), ("delete", Verb::Delete)];
        let across = Place { namespaced: false, ..*self };
        let (root, own, all) = (self.root(), self.collection(), across.collection());
        let mut items = vec![
            (format!("{root}{own}"), self.item(COLLECTION, "", false)),
            (format!("{root}{own}/{{name}}"), self.item(OBJECT, "", true)),
        ];
        if self.namespaced {
            items.push((format!("{root}{all}"), across.item(&[("list", Verb::List)], "ForAllNamespaces", false)));
        }
        // The old paths of watches are not for custom resources.
        if !self.entry.is_custom() {
            let list = &[("watch", Verb::WatchList)];
            items.push((format!("{root}/watch{own}"), self.item(list, "List", false)));
            items.push((format!("{root}/watch{own}/{{name}}"), self.item(&[("watch", Verb::Watch)], "", true)));
            if self.namespaced {
                items.push((format!("{root}/watch{all}"), across.item(list, "ListForAllNamespaces", false)));
            }
        }
        items.into_iter().filter_map(|(path, item)| Some((path, item?))).collect()
    }

    fn subresource(&self, sub: &Subresource) -> Map<String, Value> {
        let path = format!("{}{}/{{name}}/{}", self.root(), self.collection(), sub.name);
        if sub.kind.ends_with("Options") {
            return self.connection(sub, path);
        }
        let is_log = sub.name == "log";
        let schema = if sub.kind == self.resource.kind && sub.group == self.resource.group {
            Some(self.entry.schema_name())
        } else {
            type_of(&sub.group, &sub.version, &sub.kind)
        };
        let verbs = [("get", Verb::Get), ("create", Verb::Create), ("update", Verb::Update), ("patch", Verb::Patch)];
        let mut item = Map::new();
        for (_, verb) in verbs.iter().filter(|(word, _)| sub.verbs.contains(word)) {
            let answer = match schema.as_deref() {
                _ if is_log => Answer::Log,
                Some(schema) => Answer::Schema(schema),
                None => Answer::Text,
            };
            let body = schema.as_deref().and_then(|schema| body_of(*verb, schema));
            let operation = Operation {
                verb: *verb,
                at: (&self.resource.group, &self.resource.version),
                kind: (&sub.group, &sub.version, &sub.kind),
                subject: &format!("{}{}{}", self.scope(), self.resource.kind, title(&sub.name)),
                body: body.as_deref(),
                answer,
                parameters: if is_log { parameters::of_options("PodLogOptions") } else { &[] },
                custom: self.entry.is_custom(),
            };
            item.insert(verb.method().to_owned(), operation.to_json());
        }
        parameters::share(&mut item, self.path_parameters(true));
        Map::from_iter([(path, Value::Object(item))])
    }

    /// The paths of a subresource whose requests are passed on, by all methods that upstream documents.
    fn connection(&self, sub: &Subresource, path: String) -> Map<String, Value> {
        let is_proxy = sub.name == "proxy";
        let methods: &[&'static str] = if is_proxy { &PROXY_METHODS } else { &["get", "post"] };
        let item = |suffix: &str, further: Option<Value>| {
            let mut item = Map::new();
            for method in methods {
                let operation = Operation {
                    verb: Verb::Connect(method),
                    at: (&self.resource.group, &self.resource.version),
                    kind: (&sub.group, &sub.version, &sub.kind),
                    subject: &format!("{}{}{}{suffix}", self.scope(), self.resource.kind, title(&sub.name)),
                    body: None,
                    answer: Answer::Text,
                    parameters: parameters::of_options(&sub.kind),
                    custom: false,
                };
                item.insert((*method).to_owned(), operation.to_json());
            }
            let mut parameters = self.path_parameters(true);
            parameters.extend(further);
            parameters::share(&mut item, parameters);
            Value::Object(item)
        };
        let mut paths = Map::from_iter([(path.clone(), item("", None))]);
        if is_proxy {
            let rest = in_path("path", "the path to ask for");
            paths.insert(format!("{path}/{{path}}"), item("WithPath", Some(rest)));
        }
        paths
    }
}

/// The schema of what is sent with a verb.
fn body_of(verb: Verb, schema: &str) -> Option<String> {
    match verb {
        Verb::Create | Verb::Update => Some(schema.to_owned()),
        Verb::Patch => Some(format!("{META}.Patch")),
        Verb::Delete | Verb::DeleteCollection => Some(format!("{META}.DeleteOptions")),
        Verb::Get | Verb::List | Verb::Watch | Verb::WatchList | Verb::Connect(_) => None,
    }
}

/// The path of the list of resources of a group and version.
pub(super) fn of_list(group: &str, version: &str) -> (String, Value) {
    let tag = super::names::tag(group, version);
    let place: String = tag.split('_').map(title).collect();
    let schema = components::reference(&format!("{META}.APIResourceList"));
    let list = super::general::read(&[&tag], &format!("get{place}APIResources"), "the resources served here", &schema);
    (format!("/{}/", super::path_of(group, version)), json!({"get": list}))
}

fn title(word: &str) -> String {
    super::names::operation_part(word, true)
}
