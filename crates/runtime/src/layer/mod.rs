//! Layers, unpacked once each and stacked by overlayfs.
//!
//! A layer is unpacked on top of those below it: into a directory that overlayfs shows merged with them, so that
//! whiteouts, links to lower files and directories that the archive does not mention come out as they should.

mod ahead;
mod apply;
mod bounds;
mod decompress;
mod entries;
mod store;
mod tree;
mod verify;

pub(crate) use apply::ApplyError;
pub(crate) use decompress::Decompressed;
pub(crate) use store::{LayerId, LayerStore};
pub(crate) use tree::{clean as clean_path, open_dir};
