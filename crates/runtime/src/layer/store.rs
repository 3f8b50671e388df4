//! Where unpacked layers lie.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::apply::{ApplyError, apply};
use super::decompress::Decompressed;
use crate::disk::{self, DiskError};
use crate::image::Digest;
use crate::overlay;

/// The digits of a chain's digest that name its directory: short, for old kernels take all paths of a mount in one page.
const ID_DIGITS: usize = 24;

/// A layer on top of certain others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LayerId(String);

/// The unpacked layers under one directory.
#[derive(Clone, Debug)]
pub(crate) struct LayerStore {
    dir: PathBuf,
}

impl LayerStore {
    /// Opens the store and drops what was left unfinished.
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        disk::create_dir(dir)?;
        for name in disk::list_dirs(dir)? {
            if name.ends_with(".new") {
                disk::remove_dir(&dir.join(name))?;
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The root of an unpacked layer.
    pub(crate) fn root(&self, id: &LayerId) -> PathBuf {
        self.dir.join(&id.0).join("fs")
    }

    /// Unpacks the archive `blob`, whose plain content has the digest `diff_id`, on top of `lower` (lowest first).
    ///
    /// Does nothing if that was done before. Blocks.
    pub(crate) fn unpack(&self, lower: &[LayerId], diff_id: &Digest, blob: File) -> Result<LayerId, ApplyError> {
        let chain = lower.last().map_or_else(String::new, |last| format!("{} ", last.0));
        let id = LayerId(Digest::of(format!("{chain}{diff_id}").as_bytes()).hex()[..ID_DIGITS].to_owned());
        let done = self.dir.join(&id.0);
        if done.exists() {
            return Ok(id);
        }
        // Two pulls may bring the same layer at the same time; the one that is done first wins.
        let new = tempfile::Builder::new()
            .prefix(&format!("{}-", id.0))
            .suffix(".new")
            .tempdir_in(&self.dir)
            .map_err(DiskError::io("create in", &self.dir))?;
        let (upper, work) = (new.path().join("fs"), new.path().join("work"));
        fs::create_dir(&upper).map_err(DiskError::io("create", &upper))?;
        fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(DiskError::io("change", &upper))?;
        let mut plain = Hashed { source: Decompressed::new(blob).map_err(ApplyError::Source)?, hasher: Sha256::new() };
        if lower.is_empty() {
            let root = File::open(&upper).map_err(DiskError::io("open", &upper))?;
            apply(root.as_fd(), &mut plain)?;
        } else {
            fs::create_dir(&work).map_err(DiskError::io("create", &work))?;
            let roots: Vec<PathBuf> = lower.iter().rev().map(|id| self.root(id)).collect();
            let mount = overlay::Overlay { lower: roots, upper: upper.clone(), work: work.clone() };
            let merged = mount.temporary(&new.path().join("merged"))?;
            apply(merged.root(), &mut plain)?;
            drop(merged);
            disk::remove_dir(&work)?;
        }
        // The archive's end may be followed by padding that belongs to the digest.
        io::copy(&mut plain, &mut io::sink()).map_err(ApplyError::Source)?;
        let actual = Digest::finish(plain.hasher);
        if actual != *diff_id {
            return Err(ApplyError::DiffId(format!("content has digest {actual}, expected {diff_id}")));
        }
        self.publish(new, &done)?;
        Ok(id)
    }

    fn publish(&self, new: tempfile::TempDir, done: &Path) -> Result<(), ApplyError> {
        let dir = File::open(new.path()).map_err(DiskError::io("open", new.path()))?;
        // The whole file system: thousands of small files one by one take far longer.
        rustix::fs::syncfs(&dir).map_err(|err| DiskError::io("sync", new.path())(err.into()))?;
        match fs::rename(new.path(), done) {
            Ok(()) => {
                // What had this name is in its place now.
                let _ = new.keep();
                disk::sync_parent(done)?;
            }
            Err(_) if done.exists() => {}
            Err(err) => return Err(DiskError::io("rename to", done)(err).into()),
        }
        Ok(())
    }

    /// Removes every layer that is not in `used`.
    pub(crate) fn retain(&self, used: &BTreeSet<LayerId>) -> Result<(), DiskError> {
        for name in disk::list_dirs(&self.dir)? {
            if !used.contains(&LayerId(name.clone())) {
                disk::remove_dir(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// The directory of all layers.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Passes a stream on and computes its digest.
struct Hashed<R> {
    source: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
