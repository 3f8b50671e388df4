//! From admitted requests to answers.

pub(crate) mod paths;
pub(crate) mod resources;
mod reviews;
mod subresources;
