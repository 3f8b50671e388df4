//! Paths of fields that a schema declares, such as `.spec.ports` or `.labels['app']`: what rules and selectable fields
//! point at.

use thiserror::Error;

use super::schema::Structural;
use crate::field::Path;

/// Whether keys may stand in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// As in `.labels['app']`.
    Allowed,
    /// Fields and dots only.
    Forbidden,
}

/// Why a path is none of a schema.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FieldPathError {
    /// Brackets are not allowed here.
    #[error("array notation is not allowed")]
    Brackets,
    /// Something is missing at the end.
    #[error("unexpected end of JSON path")]
    End,
    /// In brackets there must be a text in single quotes.
    #[error("expected single quoted string but got {0}")]
    Unquoted(String),
    /// There is an escape that is none.
    #[error("invalid string literal: invalid escape char {0}")]
    Escape(String),
    /// A bracket is not closed.
    #[error("expected ] but got {0}")]
    Unclosed(String),
    /// A field does not begin with a dot.
    #[error("expected [ or . but got: {0}")]
    Unexpected(String),
    /// The schema has no such field.
    #[error("does not refer to a valid field")]
    Unknown,
}

/// Where a path leads.
#[derive(Debug)]
pub struct Found<'a> {
    /// The path as error messages write it.
    pub path: Path,
    /// Its first field.
    pub root: String,
    /// What is there.
    pub schema: &'a Structural,
}

/// Follows a path through a schema.
pub fn resolve<'a>(text: &str, schema: &'a Structural, keys: Keys) -> Result<Found<'a>, FieldPathError> {
    let mut found = Found { path: Path::new(""), root: String::new(), schema };
    let mut rest = text;
    while let Some(token) = next(&mut rest) {
        let name = match token {
            "[" if keys == Keys::Forbidden => return Err(FieldPathError::Brackets),
            "[" => {
                let quoted = next(&mut rest).ok_or(FieldPathError::End)?;
                let inner = quoted.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\''));
                let name = unescape(inner.ok_or_else(|| FieldPathError::Unquoted(quoted.to_owned()))?)?;
                match next(&mut rest) {
                    Some("]") => name,
                    Some(other) => return Err(FieldPathError::Unclosed(other.to_owned())),
                    None => return Err(FieldPathError::End),
                }
            }
            "." => next(&mut rest).ok_or(FieldPathError::End)?.to_owned(),
            other => return Err(FieldPathError::Unexpected(other.to_owned())),
        };
        found.enter(&name)?;
    }
    Ok(found)
}

impl Found<'_> {
    fn enter(&mut self, name: &str) -> Result<(), FieldPathError> {
        let is_field = !self.schema.properties.is_empty();
        if self.root.is_empty() {
            self.root = name.to_owned();
        }
        self.path = if is_field { self.path.child(name) } else { self.path.key(name) };
        self.schema = match (is_field, self.schema.field(name)) {
            (true, _) => self.schema.properties.get(name).ok_or(FieldPathError::Unknown)?,
            (false, schema) => schema.ok_or(FieldPathError::Unknown)?,
        };
        Ok(())
    }
}

/// The next of dots, brackets, quoted texts and names.
fn next<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = *rest;
    let length = match text.chars().next()? {
        '.' | '[' | ']' => 1,
        '\'' => {
            let bytes = text.as_bytes();
            let end = (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\');
            end.map_or(text.len(), |end| end + 1)
        }
        _ => text.find(['.', '[', ']']).unwrap_or(text.len()),
    };
    let (token, after) = text.split_at(length);
    *rest = after;
    Some(token)
}

fn unescape(text: &str) -> Result<String, FieldPathError> {
    let mut unescaped = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            unescaped.push(c);
            continue;
        }
        let escape = chars.next();
        unescaped.push(match escape {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(c @ ('\'' | '\\')) => c,
            other => return Err(FieldPathError::Escape(format!("\\{}", other.map(String::from).unwrap_or_default()))),
        });
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Structural {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a.b": {"type": "string"}, "x": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "string"}}}},
        }});
        Structural::parse(&schema).expect("a schema")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let schema = schema();
        assert_eq!(resolve(text, &schema, Keys::Allowed).expect(text).path.to_string(), expected);
    }

    #[track_caller]
    fn check_refused(text: &str, keys: Keys, expected: &str) {
        assert_eq!(resolve(text, &schema(), keys).expect_err(text).to_string(), expected, "{text}");
    }

    #[test]
    fn paths_follow_fields_and_keys() {
        check(".spec", "spec");
        check(".spec.x", "spec.x");
        check(".spec['a.b']", "spec.a.b");
        check(".map.k.y", "map[k].y");
        check(".map['it\\'s'].y", "map[it's].y");
        check("['spec']['x']", "spec.x");
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        check_refused("spec", Keys::Allowed, "expected [ or . but got: spec");
        check_refused(".spec.", Keys::Allowed, "unexpected end of JSON path");
        check_refused(".spec.z", Keys::Allowed, "does not refer to a valid field");
        check_refused(".spec.x.y", Keys::Allowed, "does not refer to a valid field");
        check_refused(".map[k]", Keys::Allowed, "expected single quoted string but got k");
        check_refused(".map['k'", Keys::Allowed, "unexpected end of JSON path");
        check_refused(".map['k'.", Keys::Allowed, "expected ] but got .");
        check_refused(r".map['\y']", Keys::Allowed, r"invalid string literal: invalid escape char \y");
        check_refused(".map['k']", Keys::Forbidden, "array notation is not allowed");
    }
}
