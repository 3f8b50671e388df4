//! Field selectors.

use std::borrow::Cow;
use std::fmt;

use super::SelectorError;

/// One comparison of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// The path of the field, such as `spec.nodeName`.
    pub field: String,
    /// The value to compare with.
    pub value: String,
    /// Whether the field must have the value, or must not.
    pub equal: bool,
}

/// A conjunction of comparisons; without any it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Matches everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the text of a `fieldSelector` parameter. Which fields exist is the caller's business.
    ///
    /// # Errors
    /// If a part is no comparison or is escaped wrongly.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        let mut parts = split(text);
        // The first that is wrong in this order is told of.
        parts.sort_unstable();
        for part in parts {
            if part.is_empty() {
                continue;
            }
            let unknown = || SelectorError::FieldTerm { selector: text.to_owned(), term: part.to_owned() };
            let (field, operator, value) = compare(part).ok_or_else(unknown)?;
            terms.push(FieldTerm { field: field.to_owned(), value: unescape(value)?, equal: operator != "!=" });
        }
        Ok(Self { terms })
    }

    /// A selector for one exact value.
    #[must_use]
    pub fn exact(field: &str, value: &str) -> Self {
        Self { terms: vec![FieldTerm { field: field.to_owned(), value: value.to_owned(), equal: true }] }
    }

    /// Whether the fields that `lookup` finds meet every comparison; an absent field compares as empty.
    #[must_use]
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms.iter().all(|term| (lookup(&term.field).unwrap_or_default() == term.value.as_str()) == term.equal)
    }

    /// The value that a field must have, if the selector asks for exactly one.
    #[must_use]
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// The comparisons.
    #[must_use]
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether this matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl FromIterator<FieldTerm> for FieldSelector {
    fn from_iter<I: IntoIterator<Item = FieldTerm>>(terms: I) -> Self {
        Self { terms: terms.into_iter().collect() }
    }
}

/// The canonical text.
impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

/// The parts between commas that no backslash protects.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (position, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn compare(part: &str) -> Option<(&str, &'static str, &str)> {
    for (position, _) in part.char_indices() {
        let rest = &part[position..];
        if let Some(operator) = ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator)) {
            return Some((&part[..position], operator, &rest[operator.len()..]));
        }
    }
    None
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(c) => return Err(SelectorError::FieldEscape(format!("\\{c}"))),
                None => return Err(SelectorError::FieldEscape("\\".to_owned())),
            },
            ',' | '=' => return Err(SelectorError::FieldRune(c)),
            c => plain.push(c),
        }
    }
    Ok(plain)
}
