//! The v2 document of all groups, put together from compressed pieces: a custom resource that comes or changes is one
//! piece among many, and the rest need not be made again.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, PoisonError};

use api::openapi::{self, Members, Part, protobuf};
use api::status::Status;
use bytes::Bytes;

use super::{Content, Document};
use crate::http::gzip::{self, Piece};

/// What one v3 document adds.
pub(super) struct Pieces {
    /// The names of all its definitions.
    names: Vec<String>,
    /// Those that documents before it have added already.
    repeated: HashSet<usize>,
    parameters: Members,
    text: Encoded,
    /// Made when somebody first asks for protobuf.
    message: OnceLock<Encoded>,
}

/// Its paths and definitions in one form.
struct Encoded {
    paths: Option<Piece>,
    definitions: Option<Piece>,
}

/// The compressed text of the document that these v3 documents make, in their order.
pub(super) fn text(documents: &[Arc<Document>]) -> Result<Bytes, Status> {
    let all = pieces(documents)?;
    let frame = openapi::frame(&parameters(&all)).map_err(Status::internal)?;
    let all: Vec<&Encoded> = all.iter().map(|pieces| &pieces.text).collect();
    joined(frame.each_ref().map(String::as_bytes), &all, Some(b","))
}

/// The same as a message in protobuf.
pub(super) fn message(documents: &[Arc<Document>]) -> Result<Bytes, Status> {
    let pieces = pieces(documents)?;
    let all = documents.iter().zip(&pieces).map(|(document, pieces)| pieces.message(document));
    let all: Vec<&Encoded> = all.collect::<Result<_, _>>()?;
    let length = |piece: &Option<Piece>| piece.as_ref().map_or(0, Piece::length);
    let paths = all.iter().map(|each| length(&each.paths)).sum();
    let definitions = all.iter().map(|each| length(&each.definitions)).sum();
    let frame = protobuf::v2_frame(&parameters(&pieces), paths, definitions).map_err(Status::internal)?;
    joined(frame.each_ref().map(Vec::as_slice), &all, None)
}

/// What each of the documents adds to those before it.
fn pieces(documents: &[Arc<Document>]) -> Result<Vec<Arc<Pieces>>, Status> {
    let (mut seen, mut all): (HashSet<String>, _) = (HashSet::new(), Vec::new());
    for document in documents {
        let pieces = document.pieces(&seen)?;
        seen.extend(pieces.names.iter().cloned());
        all.push(pieces);
    }
    Ok(all)
}

fn parameters(all: &[Arc<Pieces>]) -> Members {
    let all = all.iter().flat_map(|pieces| &pieces.parameters);
    all.map(|(name, text)| (name.clone(), text.clone())).collect()
}

fn joined(frame: [&[u8]; 3], all: &[&Encoded], between: Option<&[u8]>) -> Result<Bytes, Status> {
    let piece = |bytes: &[u8]| Piece::new(bytes).map_err(Status::internal);
    let (head, middle, end) = (piece(frame[0])?, piece(frame[1])?, piece(frame[2])?);
    let comma = between.map(piece).transpose()?;
    let mut joined = vec![&head];
    separated(&mut joined, all.iter().filter_map(|each| each.paths.as_ref()), comma.as_ref());
    joined.push(&middle);
    separated(&mut joined, all.iter().filter_map(|each| each.definitions.as_ref()), comma.as_ref());
    joined.push(&end);
    Ok(gzip::join(joined).into())
}

fn separated<'a>(joined: &mut Vec<&'a Piece>, pieces: impl Iterator<Item = &'a Piece>, comma: Option<&'a Piece>) {
    for (number, piece) in pieces.enumerate() {
        joined.extend(comma.filter(|_| number > 0));
        joined.push(piece);
    }
}

/// The places of the names that have been seen.
fn repeated<'a>(names: impl Iterator<Item = &'a String>, seen: &HashSet<String>) -> HashSet<usize> {
    names.enumerate().filter(|(_, name)| seen.contains(*name)).map(|(place, _)| place).collect()
}

impl Document {
    /// What it adds where these definitions are there already.
    fn pieces(&self, seen: &HashSet<String>) -> Result<Arc<Pieces>, Status> {
        let Content::Single(kept) = &self.content else {
            return Err(Status::internal("a merged document is no part of another"));
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| known.repeated == repeated(known.names.iter(), seen)) {
            return Ok(known.clone());
        }
        let made = Arc::new(Pieces::new(self.part()?, seen)?);
        *kept = Some(made.clone());
        Ok(made)
    }

    fn part(&self) -> Result<Part, Status> {
        Part::new(self.document()?).map_err(Status::internal)
    }
}

impl Pieces {
    fn new(part: Part, seen: &HashSet<String>) -> Result<Self, Status> {
        let names: Vec<String> = part.definitions.keys().cloned().collect();
        let repeated = repeated(names.iter(), seen);
        let new = part.definitions.iter().filter(|(name, _)| !seen.contains(*name));
        let text = Encoded {
            paths: compressed(members(part.paths.iter().map(|(name, text)| (name, text.get())))?.as_bytes())?,
            definitions: compressed(members(new.map(|(name, text)| (name, text.get())))?.as_bytes())?,
        };
        Ok(Self { names, repeated, parameters: part.parameters, text, message: OnceLock::new() })
    }

    /// The message of what a document adds; these are its pieces.
    fn message(&self, document: &Document) -> Result<&Encoded, Status> {
        if let Some(made) = self.message.get() {
            return Ok(made);
        }
        let part = document.part()?;
        let definitions = part.definitions.iter().enumerate();
        let new = definitions.filter(|(place, _)| !self.repeated.contains(place));
        let new = new.map(|(_, (name, text))| (name, text.get()));
        let made = Encoded {
            paths: compressed(&protobuf::v2_paths(&part.paths).map_err(Status::internal)?)?,
            definitions: compressed(&protobuf::v2_definitions(new).map_err(Status::internal)?)?,
        };
        Ok(self.message.get_or_init(|| made))
    }
}

/// A piece of some bytes; nothing where there are none.
fn compressed(bytes: &[u8]) -> Result<Option<Piece>, Status> {
    (!bytes.is_empty()).then(|| Piece::new(bytes)).transpose().map_err(Status::internal)
}

/// The text of the members of an object.
fn members<'a>(members: impl Iterator<Item = (&'a String, &'a str)>) -> Result<String, Status> {
    let mut text = String::new();
    for (name, value) in members {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).map_err(Status::internal)?);
        text.push(':');
        text.push_str(value);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn document(path: &str, schemas: &Value) -> Arc<Document> {
        let text = json!({"paths": {path: {}}, "components": {"schemas": schemas}}).to_string();
        Arc::new(Document::new(&text, Timestamp::UNIX_EPOCH).expect("memory"))
    }

    #[track_caller]
    fn check(documents: &[&Arc<Document>], expected: Value) {
        let documents: Vec<Arc<Document>> = documents.iter().map(|document| Arc::clone(document)).collect();
        let plain = |compressed: Bytes| gzip::decompressed(&compressed).expect("a file of gzip");
        let found = plain(text(&documents).expect("a document"));
        let found: Value = serde_json::from_slice(&found).expect("JSON");
        let paths: Vec<&String> = found["paths"].as_object().expect("paths").keys().collect();
        assert_eq!(json!({"paths": paths, "definitions": found["definitions"]}), expected);
        // The message is that of the whole text.
        let of = |field: &str| -> Members { serde_json::from_value(found[field].clone()).expect("an object") };
        let paths = protobuf::v2_paths(&of("paths")).expect("JSON");
        let definitions = of("definitions");
        let definitions = definitions.iter().map(|(name, text)| (name, text.get()));
        let definitions = protobuf::v2_definitions(definitions).expect("JSON");
        let [before, between, behind] =
            protobuf::v2_frame(&of("parameters"), paths.len(), definitions.len()).expect("JSON");
        let whole = [before, paths, between, definitions, behind].concat();
        assert!(plain(message(&documents).expect("a message")) == whole);
    }

    #[test]
    fn the_first_to_define_a_name_counts_whoever_comes_and_goes() {
        let (a, b) = (document("/a", &json!({"X": {"type": "string"}})), document("/b", &json!({"X": {}, "Y": {}})));
        let both = json!({"paths": ["/a", "/b"], "definitions": {"X": {"type": "string"}, "Y": {}}});
        check(&[&a, &b], both.clone());
        check(&[&b], json!({"paths": ["/b"], "definitions": {"X": {}, "Y": {}}}));
        check(&[&a, &b], both);
        let changed = document("/c", &json!({}));
        check(&[&b, &changed], json!({"paths": ["/b", "/c"], "definitions": {"X": {}, "Y": {}}}));
        check(&[], json!({"paths": [], "definitions": {}}));
    }
}
