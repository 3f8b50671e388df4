//! From admitted requests to answers.

mod apply;
mod components;
mod documents;
pub(crate) mod paths;
pub(crate) mod resources;
mod reviews;
mod subresources;
