//! The v2 document of all groups, put together from compressed pieces: a custom resource that comes or changes is one
//! piece among many, and the rest need not be made again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::openapi::{self, Members, Part};
use api::status::Status;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::Document;
use crate::http::gzip::{self, Piece};

/// The pieces of which a document is made, by the keys of the v3 documents that they come from.
#[derive(Default)]
pub(super) struct Merged {
    pieces: BTreeMap<String, Pieces>,
}

/// What one v3 document adds.
struct Pieces {
    /// The hash of that document.
    source: String,
    /// The names of all its definitions.
    names: Vec<String>,
    /// Those that documents before it have added already.
    repeated: Vec<usize>,
    paths: Option<Piece>,
    definitions: Option<Piece>,
    parameters: Members,
}

impl Merged {
    /// The compressed text of the document that these v3 documents make, in their order.
    pub(super) fn text(&mut self, documents: &[(String, Arc<Document>)]) -> Result<Bytes, Status> {
        let keys: HashSet<&str> = documents.iter().map(|(key, _)| key.as_str()).collect();
        self.pieces.retain(|key, _| keys.contains(key.as_str()));
        let mut seen: HashSet<String> = HashSet::new();
        for (key, document) in documents {
            let known = self
                .pieces
                .get(key)
                .filter(|known| known.source == document.hash && known.repeated == repeated(known.names.iter(), &seen));
            if known.is_none() {
                self.pieces.insert(key.clone(), Pieces::new(document, &seen)?);
            }
            seen.extend(self.pieces[key].names.iter().cloned());
        }
        self.joined(documents)
    }

    fn joined(&self, documents: &[(String, Arc<Document>)]) -> Result<Bytes, Status> {
        let all = || documents.iter().map(|(key, _)| &self.pieces[key]);
        let mut parameters = Members::new();
        for pieces in all() {
            parameters.extend(pieces.parameters.iter().map(|(name, text)| (name.clone(), text.clone())));
        }
        let [head, between, end] = openapi::frame(&parameters).map_err(Status::internal)?;
        let piece = |text: &str| Piece::new(text.as_bytes()).map_err(Status::internal);
        let (head, between, end, comma) = (piece(&head)?, piece(&between)?, piece(&end)?, piece(",")?);
        let mut joined = vec![&head];
        separated(&mut joined, all().filter_map(|pieces| pieces.paths.as_ref()), &comma);
        joined.push(&between);
        separated(&mut joined, all().filter_map(|pieces| pieces.definitions.as_ref()), &comma);
        joined.push(&end);
        Ok(gzip::join(joined).into())
    }
}

fn separated<'a>(joined: &mut Vec<&'a Piece>, pieces: impl Iterator<Item = &'a Piece>, comma: &'a Piece) {
    for (number, piece) in pieces.enumerate() {
        if number > 0 {
            joined.push(comma);
        }
        joined.push(piece);
    }
}

/// The places of the names that have been seen.
fn repeated<'a>(names: impl Iterator<Item = &'a String>, seen: &HashSet<String>) -> Vec<usize> {
    names.enumerate().filter(|(_, name)| seen.contains(*name)).map(|(place, _)| place).collect()
}

impl Pieces {
    fn new(document: &Document, seen: &HashSet<String>) -> Result<Self, Status> {
        let part = Part::new(document.document()?).map_err(Status::internal)?;
        let names: Vec<String> = part.definitions.keys().cloned().collect();
        let new = part.definitions.iter().filter(|(name, _)| !seen.contains(*name));
        Ok(Self {
            source: document.hash.clone(),
            repeated: repeated(names.iter(), seen),
            paths: members(part.paths.iter())?,
            definitions: members(new)?,
            parameters: part.parameters,
            names,
        })
    }
}

/// Members of an object, compressed; nothing where there are none.
fn members<'a>(members: impl Iterator<Item = (&'a String, &'a Box<RawValue>)>) -> Result<Option<Piece>, Status> {
    let mut text = String::new();
    for (name, value) in members {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).map_err(Status::internal)?);
        text.push(':');
        text.push_str(value.get());
    }
    let piece = (!text.is_empty()).then(|| Piece::new(text.as_bytes())).transpose();
    piece.map_err(Status::internal)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::openapi::Version;

    fn document(path: &str, schemas: &Value) -> Arc<Document> {
        let text = json!({"paths": {path: {}}, "components": {"schemas": schemas}}).to_string();
        Arc::new(Document::new(Version::V3, &text, Timestamp::UNIX_EPOCH).expect("memory"))
    }

    #[track_caller]
    fn check(merged: &mut Merged, documents: &[(&str, &Arc<Document>)], expected: Value) {
        let documents: Vec<(String, Arc<Document>)> =
            documents.iter().map(|(key, document)| ((*key).to_owned(), (*document).clone())).collect();
        let text = gzip::decompressed(&merged.text(&documents).expect("a document")).expect("a file of gzip");
        let found: Value = serde_json::from_slice(&text).expect("JSON");
        let paths: Vec<&String> = found["paths"].as_object().expect("paths").keys().collect();
        assert_eq!(json!({"paths": paths, "definitions": found["definitions"]}), expected);
    }

    #[test]
    fn the_first_to_define_a_name_counts_whoever_comes_and_goes() {
        let mut merged = Merged::default();
        let (a, b) = (document("/a", &json!({"X": {"type": "string"}})), document("/b", &json!({"X": {}, "Y": {}})));
        let both = json!({"paths": ["/a", "/b"], "definitions": {"X": {"type": "string"}, "Y": {}}});
        check(&mut merged, &[("a", &a), ("b", &b)], both.clone());
        check(&mut merged, &[("b", &b)], json!({"paths": ["/b"], "definitions": {"X": {}, "Y": {}}}));
        check(&mut merged, &[("a", &a), ("b", &b)], both);
        let changed = document("/c", &json!({}));
        check(
            &mut merged,
            &[("a", &changed), ("b", &b)],
            json!({"paths": ["/b", "/c"], "definitions": {"X": {}, "Y": {}}}),
        );
        check(&mut merged, &[], json!({"paths": [], "definitions": {}}));
    }
}
