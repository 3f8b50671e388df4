//! What can go wrong with an expression.

use crate::types::Type;

/// Why an expression could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The text is no expression, or its types do not fit. The message shows every mistake.
    #[error("compilation failed: {0}")]
    Invalid(String),
    /// The expression evaluates to another type than its use needs.
    #[error("must evaluate to {expected} but got {actual}")]
    ResultType {
        /// The type that is needed.
        expected: String,
        /// The type that it has.
        actual: String,
    },
    /// The selector of a device evaluates to no boolean.
    #[error("must evaluate to bool or the unknown type, not {actual}")]
    NoSelector {
        /// The type that it has.
        actual: String,
    },
}

/// Why an expression could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No operator or function takes values of such types.
    #[error("no such overload")]
    NoSuchOverload,
    /// A map or object has no such key or field.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// A variable was declared but not bound.
    #[error("no such attribute(s): {0}")]
    NoSuchAttribute(String),
    /// The evaluation cost more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimitExceeded,
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

impl EvalError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn conversion(from: &str, to: &Type) -> Self {
        Self::Failed(format!("type conversion error from '{from}' to '{}'", to.name()))
    }

    pub(crate) fn int_overflow() -> Self {
        Self::failed("integer overflow")
    }

    pub(crate) fn uint_overflow() -> Self {
        Self::failed("unsigned integer overflow")
    }
}
