//! Blobs by digest: verified while they are written, durable before they have their name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::Digest;
use crate::disk::{self, DiskError};

/// Why content could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The source failed.
    #[error("cannot read content: {0}")]
    Source(io::Error),
    /// It is not what was asked for.
    #[error("content has digest {actual}, expected {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// It is larger than was said.
    #[error("content is larger than the {0} bytes that were announced")]
    TooLarge(u64),
    /// It is not here.
    #[error("no content {0}")]
    Absent(Digest),
}

/// The blobs under one directory.
#[derive(Clone, Debug)]
pub(crate) struct ContentStore {
    blobs: PathBuf,
    incoming: PathBuf,
}

impl ContentStore {
    /// Opens the store in `dir` and drops what earlier processes left unfinished.
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        let store = Self { blobs: dir.join("sha256"), incoming: dir.join("incoming") };
        disk::remove_dir(&store.incoming)?;
        disk::create_dir(&store.blobs)?;
        disk::create_dir(&store.incoming)?;
        Ok(store)
    }

    /// The directory of all blobs.
    pub(crate) fn dir(&self) -> &Path {
        &self.blobs
    }

    /// Where the blob is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Whether the blob is here.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The whole blob.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let mut content = Vec::new();
        let path = self.path(digest);
        self.open_blob(digest)?.read_to_end(&mut content).map_err(DiskError::io("read", &path))?;
        Ok(content)
    }

    /// The blob for reading.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Err(ContentError::Absent(digest.clone())),
            Err(err) => Err(DiskError::io("open", &path)(err).into()),
        }
    }

    /// Stores what `source` gives, of at most `limit` bytes: its digest and size.
    pub(crate) fn write(
        &self,
        source: &mut dyn Read,
        expected: Option<&Digest>,
        limit: Option<u64>,
    ) -> Result<(Digest, u64), ContentError> {
        let mut file = NamedTempFile::new_in(&self.incoming).map_err(DiskError::io("create in", &self.incoming))?;
        let mut hasher = Sha256::new();
        let mut size = 0;
        let mut chunk = vec![0; 128 * 1024];
        loop {
            let read = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(ContentError::Source(err)),
            };
            size += read as u64;
            if let Some(limit) = limit.filter(|limit| size > *limit) {
                return Err(ContentError::TooLarge(limit));
            }
            hasher.update(&chunk[..read]);
            file.write_all(&chunk[..read]).map_err(DiskError::io("write", file.path()))?;
        }
        let actual = Digest::finish(hasher);
        if let Some(expected) = expected.filter(|expected| **expected != actual) {
            return Err(ContentError::Mismatch { expected: expected.clone(), actual });
        }
        let path = self.path(&actual);
        if !path.exists() {
            file.as_file().sync_all().map_err(DiskError::io("sync", file.path()))?;
            file.persist(&path).map_err(|err| DiskError::io("rename to", &path)(err.error))?;
            disk::sync_parent(&path)?;
        }
        Ok((actual, size))
    }

    /// Removes every blob that is not in `used`.
    pub(crate) fn retain(&self, used: &BTreeSet<Digest>) -> Result<(), DiskError> {
        let names: BTreeSet<&str> = used.iter().map(Digest::hex).collect();
        let entries = fs::read_dir(&self.blobs).map_err(DiskError::io("list", &self.blobs))?;
        for entry in entries {
            let entry = entry.map_err(DiskError::io("list", &self.blobs))?;
            if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                disk::remove_file(&entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_content_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = ContentStore::open(dir.path()).expect("opened");
        let (digest, size) = store.write(&mut &b"hello"[..], None, None).expect("stored");
        assert_eq!((store.read(&digest).expect("read"), size), (b"hello".to_vec(), 5));
        let other = Digest::of(b"other");
        let mismatch = store.write(&mut &b"hello"[..], Some(&other), None);
        assert!(matches!(mismatch, Err(ContentError::Mismatch { .. })));
        assert!(matches!(store.write(&mut &b"hello"[..], None, Some(4)), Err(ContentError::TooLarge(4))));
        assert!(matches!(store.read(&other), Err(ContentError::Absent(_))));
        assert_eq!(fs::read_dir(dir.path().join("incoming")).expect("listed").count(), 0);
        store.retain(&BTreeSet::new()).expect("collected");
        assert!(!store.contains(&digest));
    }
}
