//! The three kinds of patches that a PATCH request may carry besides server-side apply.

pub mod json;
pub mod merge;
pub mod strategic;

use crate::status::{Details, Status, reason};

/// The answer to a JSON patch that is well formed but cannot be applied; upstream tells no more.
fn unprocessable() -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::custom(422, reason::INVALID, message, Some(Details::default()))
}

#[cfg(test)]
mod tests;
