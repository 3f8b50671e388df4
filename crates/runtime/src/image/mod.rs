//! Images: where their content lies, what they are called, and how they get here.
//!
//! `content` keeps blobs by digest, [`ImageStore`] the records that give them meaning; `import` reads archives, `pull`
//! brings images from registries, to which [`registry`] speaks; [`archive`] makes an image of a directory.

pub mod archive;
mod check;
mod content;
mod digest;
mod export;
mod fetch;
mod growth;
mod import;
mod manifest;
mod platform;
mod preload;
mod progress;
mod pull;
mod push;
mod reference;
mod registry;
mod store;
mod untag;

pub(crate) use check::Health;
pub(crate) use content::ContentStore;
pub(crate) use digest::{Algorithm, Digest, Hasher};
pub(crate) use export::export;
pub(crate) use import::import;
pub(crate) use manifest::ManifestError;
pub(crate) use preload::Preloads;
pub use progress::ImageEvent;
pub(crate) use progress::Progress;
pub(crate) use pull::{PullError, Puller};
pub(crate) use push::push;
pub(crate) use reference::Reference;
pub(crate) use registry::{Patience, Settings};
pub(crate) use store::{Image, ImageStore, ImageStoreError};
pub(crate) use untag::UntagError;
