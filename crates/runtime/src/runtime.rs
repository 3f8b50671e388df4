//! The component: build, then run until drained.

use std::io;
use std::path::PathBuf;

use base::Drain;
use tokio::net::UnixListener;

use crate::config::{Config, Paths};

/// Why the runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A directory could not be made.
    #[error("cannot create directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is taken or refused.
    #[error(transparent)]
    Bind(#[from] cri::BindError),
}

/// Why the runtime ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] cri::ServeError),
}

/// The container runtime of one installation.
#[derive(Debug)]
pub struct Runtime {
    listener: UnixListener,
}

impl Runtime {
    /// Adopts what runs, and listens on the socket; calls are answered once [`Runtime::run`] is called.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let paths = Paths::new(&config.instance);
        for path in [paths.data(), paths.run()] {
            std::fs::create_dir_all(path).map_err(|source| BuildError::Directory { path: path.to_owned(), source })?;
        }
        let listener = cri::bind(&config.socket)?;
        Ok(Self { listener })
    }

    /// Serves until `drain` fires. Containers keep running.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        drain.drained().await;
        drop(self.listener);
        Ok(())
    }
}
