//! Reading the fields by which objects can be selected out of a document without building it, together with what else
//! is indexed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::kinds::{Resource, Text};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::selectable::selectable;
use super::texts::{Labels, Texts};

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

/// What the cache knows of an object without building it.
pub(super) struct Indexed {
    pub(super) uid: Box<str>,
    pub(super) labels: Labels,
    /// The values of the selectable fields; one that is missing has the value that its absence means.
    pub(super) fields: Values,
}

/// Reads a document once for all that is indexed.
pub(super) fn index(resource: &Resource, document: &[u8]) -> Result<Indexed, serde_json::Error> {
    let paths = match &resource.custom {
        Some(custom) => custom.definition.selectable.clone(),
        None => selectable(resource),
    };
    // Where an event comes from is the component in its source, or what reports it.
    let lookups = paths.iter().map(|path| if path == "source" { "source.component" } else { path });
    let mut found = Found { paths: lookups.collect(), values: vec![None; paths.len()], ..Found::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    At { path: &mut String::new(), found: &mut found }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    let values = paths.iter().zip(&found.values);
    let values = values.map(|(path, value)| value.as_deref().unwrap_or_else(|| absent(path))).collect();
    Ok(Indexed { uid: found.uid, labels: Labels::new(&found.labels), fields: Values { paths, values } })
}

fn absent(path: &str) -> &'static str {
    match path {
        "spec.hostNetwork" | "spec.unschedulable" => "false",
        "status.replicas" | "status.successful" => "0",
        _ => "",
    }
}

/// What was found in a document.
#[derive(Default)]
struct Found<'a> {
    uid: Box<str>,
    labels: BTreeMap<String, String>,
    /// The paths of the selectable fields.
    paths: Vec<&'a str>,
    values: Vec<Option<Box<str>>>,
}

const METADATA: &str = "metadata";
const UID: &str = "metadata.uid";
const LABELS: &str = "metadata.labels";

impl Found<'_> {
    /// Whether anything at a path, or below it, is wanted.
    fn leads_on(&self, path: &str) -> bool {
        let is_above =
            |wanted: &str| wanted.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        matches!(path, METADATA | UID | LABELS) || self.paths.iter().any(|wanted| is_above(wanted))
    }

    fn set(&mut self, path: &str, text: &str) {
        if path == UID {
            self.uid = text.into();
        }
        if let Some(index) = self.paths.iter().position(|wanted| *wanted == path) {
            self.values[index] = Some(text.into());
        }
    }
}

/// Visits the value at one path of the document.
struct At<'a, 'b> {
    path: &'a mut String,
    found: &'a mut Found<'b>,
}

impl<'de> DeserializeSeed<'de> for At<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.found.set(self.path, text);
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.found.set(self.path, if flag { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.found.set(self.path, &number.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.found.set(self.path, &number.to_string());
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
        if self.path == LABELS {
            while let Some((key, value)) = members.next_entry()? {
                self.found.labels.insert(key, value);
            }
            return Ok(());
        }
        let length = self.path.len();
        while let Some(is_simple) = members.next_key_seed(Key(self.path))? {
            if is_simple && self.found.leads_on(self.path) {
                members.next_value_seed(At { path: self.path, found: self.found })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }
}

/// Appends a key to a path; answers whether the path is then the only one of this form.
struct Key<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(key);
        // A key `metadata.uid` beside `metadata` is not the uid.
        Ok(!key.contains('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, uid: &str, label: Option<&str>, phase: &str) {
        let pods = api::kinds::find("", "v1", "pods").expect("pods are built in");
        let found = index(pods, document.as_bytes()).expect("it is JSON");
        let seen = (&*found.uid, found.labels.get("app"), found.fields.get("status.phase"));
        assert_eq!(seen, (uid, label, Some(phase)), "{document}");
        assert_eq!(found.fields.get("spec.hostNetwork"), Some("false"));
    }

    #[test]
    fn a_document_is_read_once_for_all_that_is_indexed() {
        check(
            r#"{"metadata":{"uid":"u","labels":{"app":"web","a.b/c":""}},"status":{"phase":"Running"}}"#,
            "u",
            Some("web"),
            "Running",
        );
        check(r#"{"metadata":{"labels":null},"status":null}"#, "", None, "");
        // What only looks like a path is none.
        check(
            r#"{"metadata":{"uid":"u"},"metadata.uid":"v","metadata.labels":{"app":"x"},"status.phase":"y"}"#,
            "u",
            None,
            "",
        );
        check(r#"{"metadata":{"annotations":{"uid":"v","labels":"w"}},"spec":{"metadata":{"uid":"v"}}}"#, "", None, "");
        let pods = api::kinds::find("", "v1", "pods").expect("pods are built in");
        for broken in ["", "{", r#"{"metadata":{"labels":{"a":1}}}"#, "{} {}"] {
            assert!(index(pods, broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
