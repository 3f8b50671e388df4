//! Blobs by digest: verified while they are written, durable before they have their name.
//!
//! What a registry has sent of a blob is kept when the connection or this process breaks, and gone on with.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::growth::{Follower, Growth};
use super::{Algorithm, Digest, Hasher};
use crate::disk::{self, DiskError};

/// The ending of the names of blobs that have come in part.
const PARTIAL: &str = ".part";

/// How long a part is kept that nobody goes on with.
const PARTIAL_AGE: Duration = Duration::from_secs(6 * 60 * 60);

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
    /// It was here, but was not what it should be any more; now it is gone.
    #[error("content {0} was damaged and has been removed")]
    Damaged(Digest),
}

/// A blob that comes in pieces.
#[derive(Debug)]
pub(crate) struct Incoming {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    growth: Growth,
}

impl Incoming {
    /// How much is there.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a piece. Blocks.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), ContentError> {
        self.file.write_all(piece).map_err(DiskError::io("write", &self.path))?;
        self.hasher.update(piece);
        self.size += piece.len() as u64;
        self.growth.reached(self.size);
        Ok(())
    }

    /// Reads it while it comes. The end is that of what was accepted.
    pub(crate) fn follow(&self) -> Follower {
        self.growth.follow()
    }
}

/// The blobs under one directory.
#[derive(Clone, Debug)]
pub(crate) struct ContentStore {
    dir: PathBuf,
    incoming: PathBuf,
}

impl ContentStore {
    /// Opens the store in `dir` and drops what earlier processes left unfinished and nobody can go on with.
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        let store = Self { dir: dir.to_owned(), incoming: dir.join("incoming") };
        for algorithm in Algorithm::ALL {
            disk::create_dir(&store.blobs(algorithm))?;
        }
        disk::create_dir(&store.incoming)?;
        store.drop_unfinished(|name| !name.ends_with(PARTIAL))?;
        Ok(store)
    }

    /// Removes what has not come whole and is too old to be gone on with, or whose name says so.
    fn drop_unfinished(&self, by_name: impl Fn(&str) -> bool) -> Result<(), DiskError> {
        for entry in fs::read_dir(&self.incoming).map_err(DiskError::io("list", &self.incoming))? {
            let entry = entry.map_err(DiskError::io("list", &self.incoming))?;
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > PARTIAL_AGE));
            if old || by_name(&entry.file_name().to_string_lossy()) {
                disk::remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    /// What has come of a blob, to be gone on with. One at a time for each blob. Reads what is there; blocks.
    pub(crate) fn incoming(&self, digest: &Digest) -> Result<Incoming, ContentError> {
        let path = self.part(digest);
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&path);
        let mut file = file.map_err(DiskError::io("open", &path))?;
        let mut hasher = digest.algorithm().hasher();
        let size = io::copy(&mut file, &mut hasher).map_err(DiskError::io("read", &path))?;
        let growth = Growth::new(file.try_clone().map_err(DiskError::io("open", &path))?, size);
        Ok(Incoming { path, file, hasher, size, growth })
    }

    /// Gives a blob that has come whole its name. Blocks.
    pub(crate) fn accept(&self, incoming: Incoming, expected: &Digest) -> Result<(), ContentError> {
        let Incoming { path, file, hasher, growth, .. } = incoming;
        let actual = hasher.finish();
        if actual != *expected {
            disk::remove_file(&path)?;
            return Err(ContentError::Mismatch { expected: expected.clone(), actual });
        }
        file.sync_all().map_err(DiskError::io("sync", &path))?;
        let whole = self.path(expected);
        fs::rename(&path, &whole).map_err(DiskError::io("rename to", &whole))?;
        disk::sync_parent(&whole)?;
        growth.finish();
        Ok(())
    }

    /// Gives up what has come of a blob.
    pub(crate) fn abandon(&self, digest: &Digest) -> Result<(), DiskError> {
        disk::remove_file(&self.part(digest))
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.incoming.join(format!("{}{PARTIAL}", digest.hex()))
    }

    /// The directory of all blobs and of what has come in part.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.dir.join(algorithm.name())
    }

    /// Where the blob is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    /// Whether the blob is here.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The whole blob, checked.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, ContentError> {
        let mut content = Vec::new();
        let path = self.path(digest);
        self.open_blob(digest)?.read_to_end(&mut content).map_err(DiskError::io("read", &path))?;
        if Digest::by(digest.algorithm(), &content) != *digest {
            self.remove(digest)?;
            return Err(ContentError::Damaged(digest.clone()));
        }
        Ok(content)
    }

    /// Reads a blob to see whether it is still what it was; one that is not is removed. Blocks.
    pub(crate) fn check(&self, digest: &Digest) -> Result<(), ContentError> {
        let (path, mut hasher) = (self.path(digest), digest.algorithm().hasher());
        io::copy(&mut self.open_blob(digest)?, &mut hasher).map_err(DiskError::io("read", &path))?;
        if hasher.finish() != *digest {
            self.remove(digest)?;
            return Err(ContentError::Damaged(digest.clone()));
        }
        Ok(())
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
        let mut hasher = expected.map_or(Algorithm::Sha256, Digest::algorithm).hasher();
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
        let actual = hasher.finish();
        if let Some(expected) = expected.filter(|expected| **expected != actual) {
            return Err(ContentError::Mismatch { expected: expected.clone(), actual });
        }
        let path = self.path(&actual);
        file.as_file().sync_all().map_err(DiskError::io("sync", file.path()))?;
        // In place of what has this name, which may have been damaged since.
        file.persist(&path).map_err(|err| DiskError::io("rename to", &path)(err.error))?;
        disk::sync_parent(&path)?;
        Ok((actual, size))
    }

    /// Removes a blob; none there is fine.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), DiskError> {
        disk::remove_file(&self.path(digest))
    }

    /// Removes every blob that is not in `used`, and parts that nobody has gone on with for long.
    pub(crate) fn retain(&self, used: &BTreeSet<Digest>) -> Result<(), DiskError> {
        self.drop_unfinished(|_| false)?;
        let names: BTreeSet<&str> = used.iter().map(Digest::hex).collect();
        for blobs in Algorithm::ALL.map(|algorithm| self.blobs(algorithm)) {
            for entry in fs::read_dir(&blobs).map_err(DiskError::io("list", &blobs))? {
                let entry = entry.map_err(DiskError::io("list", &blobs))?;
                if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                    disk::remove_file(&entry.path())?;
                }
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
        store.check(&digest).expect("it is as it was");
        fs::write(store.path(&digest), "hellO").expect("damaged");
        assert!(matches!(store.check(&digest), Err(ContentError::Damaged(_))));
        assert!(matches!(store.check(&digest), Err(ContentError::Absent(_))));
        store.write(&mut &b"hello"[..], Some(&digest), None).expect("stored again");
        assert_eq!(fs::read_dir(dir.path().join("incoming")).expect("listed").count(), 0);
        store.retain(&BTreeSet::new()).expect("collected");
        assert!(!store.contains(&digest));
    }

    #[test]
    fn what_has_come_is_gone_on_with_after_a_restart() {
        for algorithm in Algorithm::ALL {
            check_restart(algorithm);
        }
    }

    #[track_caller]
    fn check_restart(algorithm: Algorithm) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (whole, digest) = (b"hello, world", Digest::by(algorithm, b"hello, world"));
        let store = ContentStore::open(dir.path()).expect("opened");
        store.incoming(&digest).expect("begun").write(&whole[..5]).expect("written");
        fs::write(dir.path().join("incoming/.tmpX"), "rest").expect("written");
        let store = ContentStore::open(dir.path()).expect("opened again");
        let mut incoming = store.incoming(&digest).expect("gone on with");
        assert_eq!(incoming.size(), 5);
        incoming.write(&whole[5..]).expect("written");
        store.accept(incoming, &digest).expect("it is whole");
        assert_eq!(store.read(&digest).expect("read"), whole);
        store.check(&digest).expect("it is as it was");
        store.retain(&[digest.clone()].into()).expect("collected");
        assert!(store.contains(&digest));
        let other = Digest::of(b"other");
        let mut incoming = store.incoming(&other).expect("begun");
        incoming.write(b"y").expect("written");
        assert!(matches!(store.accept(incoming, &other), Err(ContentError::Mismatch { .. })));
        assert_eq!(fs::read_dir(dir.path().join("incoming")).expect("listed").count(), 0);
    }
}
