//! From admitted requests to answers.

mod apply;
pub(crate) mod paths;
pub(crate) mod resources;
mod reviews;
mod subresources;
