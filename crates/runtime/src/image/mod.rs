//! Images: where their content lies, what they are called, and how they get here.
//!
//! `content` keeps blobs by digest, [`ImageStore`] the records that give them meaning; `import` reads archives, `pull`
//! talks to registries, [`archive`] makes an image of a directory.

pub mod archive;
mod content;
mod digest;
mod import;
mod platform;
mod pull;
mod reference;
mod store;

pub(crate) use content::ContentStore;
pub(crate) use digest::Digest;
pub(crate) use import::import;
pub(crate) use pull::{PullError, Puller};
pub(crate) use reference::Reference;
pub(crate) use store::{Image, ImageStore, ImageStoreError};
