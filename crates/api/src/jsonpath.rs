//! JSONPath as kubectl and printer columns write it: fields, indexes, slices, wildcards, unions, filters and recursive
//! descent.
//!
//! A path is read once and finds values in any number of documents. Fields that are missing find nothing; what cannot
//! be looked into in the way that the path asks for is an error.

mod eval;
mod parse;

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

/// A path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    nodes: Vec<Node>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// What is found does not depend on the document.
    Literal(Value),
    Field(String),
    Slice(Slice),
    Filter(Filter),
    Wildcard,
    Recursive,
    Union(Vec<Vec<Node>>),
}

/// Which items of a list are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    /// Whether it is a single index.
    is_index: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Vec<Node>,
    /// How it is compared with what; without it what there is passes.
    right: Option<(Operator, Vec<Node>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Something is not closed.
    #[error("unterminated {0}")]
    Unterminated(&'static str),
    /// A character has no meaning where it stands.
    #[error("unrecognized character in action: {0:?}")]
    Character(char),
    /// A word has no meaning.
    #[error("unrecognized identifier {0}")]
    Identifier(String),
    /// A number cannot be read.
    #[error("cannot parse number {0}")]
    Number(String),
    /// Brackets hold no index.
    #[error("invalid array index {0}")]
    Index(String),
    /// A filter compares in a way that there is not.
    #[error("unrecognized filter operator {0}")]
    Operator(String),
    /// Two recursive descents follow each other.
    #[error("invalid multiple recursive descent")]
    Recursive,
}

/// Why a path finds nothing in a document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FindError {
    /// Brackets were used on what is no list.
    #[error("{0} is not array or slice")]
    NoList(&'static str),
    /// A list is too short.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// The index that there is not.
        index: i64,
        /// How long the list is.
        length: usize,
    },
    /// A slice ends before it starts.
    #[error("starting index {start} is greater than ending index {end}")]
    Backwards {
        /// Where it starts.
        start: i64,
        /// Where it ends.
        end: i64,
    },
    /// A slice goes nowhere.
    #[error("step must be > 0")]
    Step,
    /// A filter finds several values to compare.
    #[error("can only compare one element at a time")]
    Several,
    /// A filter compares what cannot be compared.
    #[error("incompatible types for comparison")]
    Incomparable,
}

impl JsonPath {
    /// Reads a path, as it stands between braces: `.spec.ports[*].name`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { nodes: parse::nodes(text)? })
    }

    /// What the path finds in a document, in order.
    pub fn find<'a>(&'a self, document: &'a Value) -> Result<Vec<Cow<'a, Value>>, FindError> {
        eval::list(vec![Cow::Borrowed(document)], &self.nodes)
    }
}

/// A value as a path prints it: texts without quotes, objects and lists as JSON.
#[must_use]
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => crate::field::go_float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
