//! Label selectors and field selectors: parsing, matching, and the texts that clients see when they are wrong.

mod field;
mod label;
mod lexer;

pub use field::{FieldSelector, FieldTerm};
pub use label::{LabelSelector, Operator, Requirement};

/// Why a selector cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text does not follow the grammar.
    #[error("{0}")]
    Syntax(String),
    /// One requirement does not follow the grammar.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// A `meta/v1` LabelSelector has an unknown operator.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// A part of a field selector has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    FieldTerm {
        /// The whole text.
        selector: String,
        /// The part.
        term: String,
    },
    /// A field selector has a backslash before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    FieldEscape(String),
    /// A value of a field selector has a character without the backslash that it needs; upstream gives its number.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    FieldRune(char),
}

#[cfg(test)]
mod tests;
