//! From admitted requests to answers.

mod apply;
mod documents;
pub(crate) mod paths;
pub(crate) mod resources;
mod reviews;
mod subresources;
