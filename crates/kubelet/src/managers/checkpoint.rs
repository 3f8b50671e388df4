//! The files in which managers keep what they have given, in upstream's form: a kubelet that starts anew reads what
//! the one before has written, whichever of the two programs that was.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

/// What a file holds.
pub trait Content: Serialize + DeserializeOwned + Send + 'static {
    /// The content as text, of which the checksum is: Go's way to print it, without the checksum itself.
    fn printed(&self) -> String;

    /// The field for the checksum.
    fn checksum(&mut self) -> &mut u32;
}

/// A state file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no state file.
    #[error("{} is no state file: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It was changed by somebody else, or written in part.
    #[error("{} is corrupt: its checksum does not match", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One state file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: Arc<Path>,
    turn: Arc<Mutex<()>>,
}

impl Checkpoint {
    /// A file, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: Arc::from(path), turn: Arc::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was written last, if anything was.
    pub fn read<T: Content>(&self) -> Result<Option<T>, CheckpointError> {
        let path = || self.path.to_path_buf();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Read { path: path(), source }),
        };
        let parsed = serde_json::from_slice::<T>(&bytes);
        let mut content = parsed.map_err(|source| CheckpointError::Parse { path: path(), source })?;
        let expected = fnv1a(&content.printed());
        if *content.checksum() == expected {
            Ok(Some(content))
        } else {
            Err(CheckpointError::Checksum { path: path() })
        }
    }

    /// Writes what `content` says once it is this call's turn: the last one that returns has written the newest.
    pub async fn keep<T: Content>(&self, content: impl FnOnce() -> T) -> Result<(), CheckpointError> {
        let _turn = self.turn.lock().await;
        let (file, content) = (self.clone(), content());
        let written = tokio::task::spawn_blocking(move || file.write(content)).await;
        written.unwrap_or_else(|err| {
            Err(CheckpointError::Write { path: self.path.to_path_buf(), source: io::Error::other(err) })
        })
    }

    /// Writes the whole file or nothing.
    pub fn write<T: Content>(&self, mut content: T) -> Result<(), CheckpointError> {
        *content.checksum() = fnv1a(&content.printed());
        let draft = self.path.with_extension("new");
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&serde_json::to_vec(&content)?)?;
            file.sync_all()?;
            fs::rename(&draft, &self.path)
        };
        write().map_err(|source| CheckpointError::Write { path: self.path.to_path_buf(), source })
    }
}

/// The FNV-1a hash of 32 bits.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
