//! Patterns of texts, compiled once.

use regex::Regex;

use crate::re2;

/// A regular expression in Go's syntax.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Box<str>,
    compiled: Result<Regex, re2::Error>,
}

impl Pattern {
    /// Compiles a pattern; one that cannot be compiled matches nothing and has an [`error`](Self::error).
    #[must_use]
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: re2::compile(source) }
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why it cannot be compiled, as Go says it.
    #[must_use]
    pub fn error(&self) -> Option<&re2::Error> {
        self.compiled.as_ref().err()
    }

    /// Whether a part of the text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.as_ref().is_ok_and(|pattern| pattern.is_match(text))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
