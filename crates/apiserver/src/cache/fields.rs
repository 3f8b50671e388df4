//! The fields by which objects of a resource can be selected, and reading them out of a document without building it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use api::kinds::{Resource, Text};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::texts::Texts;

/// Selectable fields besides `metadata.name` and `metadata.namespace`, by storage group and plural.
const SELECTABLE: &[((&str, &str), &[&str])] = &[
    (
        ("", "pods"),
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    (
        ("", "events"),
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (("", "namespaces"), &["status.phase"]),
    (("", "nodes"), &["spec.unschedulable"]),
    (("", "replicationcontrollers"), &["status.replicas"]),
    (("", "secrets"), &["type"]),
    (("", "services"), &["spec.clusterIP", "spec.type"]),
    (("apps", "replicasets"), &["status.replicas"]),
    (("batch", "jobs"), &["status.successful"]),
    (("certificates.k8s.io", "certificatesigningrequests"), &["spec.signerName"]),
    (("resource.k8s.io", "resourceslices"), &["spec.nodeName", "spec.driver"]),
];

type Table = HashMap<(&'static str, &'static str), Arc<[Text]>>;

/// The selectable fields of a resource besides name and namespace.
pub(crate) fn selectable(resource: &Resource) -> Arc<[Text]> {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        let row = |(key, fields): &((&'static str, &'static str), &'static [&'static str])| {
            (*key, fields.iter().map(|field| Text::Borrowed(field)).collect())
        };
        SELECTABLE.iter().map(row).collect()
    });
    static NONE: LazyLock<Arc<[Text]>> = LazyLock::new(|| Arc::new([]));
    match &resource.custom {
        Some(custom) => custom.version().selectable.clone(),
        None => TABLE.get(&(&*resource.storage_group, &*resource.plural)).unwrap_or(&NONE).clone(),
    }
}

/// Selectable fields with their values.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// The paths, shared by all objects of the resource.
    paths: Arc<[Text]>,
    values: Texts,
}

impl Values {
    /// The value at a path.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.paths.iter().position(|each| each == path).map(|index| self.values.get(index))
    }
}

/// The values of the selectable fields; one that is missing has the value that its absence means.
pub(super) fn extract(resource: &Resource, document: &[u8]) -> Result<Values, serde_json::Error> {
    let paths = match &resource.custom {
        Some(custom) => custom.definition.selectable.clone(),
        None => selectable(resource),
    };
    if paths.is_empty() {
        return Ok(Values { paths, values: Texts::default() });
    }
    // Where an event comes from is the component in its source, or what reports it.
    let lookups: Vec<&str> =
        paths.iter().map(|path| if path == "source" { "source.component" } else { path }).collect();
    let mut found: Vec<Option<Box<str>>> = vec![None; paths.len()];
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    At { prefix: "", paths: &lookups, found: &mut found }.deserialize(&mut deserializer)?;
    let values =
        paths.iter().zip(&found).map(|(path, value)| value.as_deref().unwrap_or_else(|| absent(path))).collect();
    Ok(Values { paths, values })
}

fn absent(path: &str) -> &'static str {
    match path {
        "spec.hostNetwork" | "spec.unschedulable" => "false",
        "status.replicas" | "status.successful" => "0",
        _ => "",
    }
}

/// Visits the value at one path of the document.
struct At<'a> {
    prefix: &'a str,
    paths: &'a [&'a str],
    found: &'a mut Vec<Option<Box<str>>>,
}

impl At<'_> {
    fn set(self, text: &str) {
        if let Some(index) = self.paths.iter().position(|path| *path == self.prefix) {
            self.found[index] = Some(text.into());
        }
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.set(text);
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.set(if flag { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.set(&number.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.set(&number.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            let path = if self.prefix.is_empty() { key } else { format!("{}.{key}", self.prefix) };
            let leads_on = self.paths.iter().any(|wanted| {
                wanted.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if leads_on {
                members.next_value_seed(At { prefix: &path, paths: self.paths, found: self.found })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
