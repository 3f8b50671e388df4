//! What objects use of the resources that quotas limit: for admission, which refuses what is too much, and for the
//! controller, which counts what is there.

pub mod amounts;
mod evaluator;
mod scopes;

use serde_json::Value;

pub use amounts::Amounts;
pub use evaluator::Evaluator;
pub use scopes::{ScopeTerm, contain, is_best_effort};

/// Names the storage class of a claim from before there was a field for it.
pub const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The storage class that a claim names, or nothing.
#[must_use]
pub fn storage_class(claim: &Value) -> &str {
    let field = || claim.pointer("/spec/storageClassName").and_then(Value::as_str);
    crate::meta::annotation(claim, STORAGE_CLASS).or_else(field).unwrap_or_default()
}
