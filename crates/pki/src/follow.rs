//! Following files that others replace: authorities to trust, certificates to present.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env, FileWatch};
use futures::future::select_all;
use tokio::sync::watch;

use crate::file::{FileError, read_if_there};
use crate::issue::KeyPairPem;
use crate::presenter::{Presenter, PresenterError};
use crate::trust::Trust;

/// How often files are read whose changes cannot be seen.
const UNSEEN: Duration = Duration::from_secs(60);

/// Calls `changed` now and whenever one of the files may say something else, until `drain`.
async fn follow(paths: &[PathBuf], env: &Env, drain: Drain, mut changed: impl FnMut()) {
    let mut watches: Vec<FileWatch> = paths.iter().filter_map(|path| FileWatch::new(path).ok()).collect();
    let all_seen = watches.len() == paths.len();
    loop {
        // At the start as well: the files may have changed before they were watched.
        changed();
        let failed = async {
            if watches.is_empty() {
                std::future::pending::<()>().await;
            }
            let (seen, index, _) = select_all(watches.iter_mut().map(|watch| Box::pin(watch.changed()))).await;
            if let Err(err) = seen {
                tracing::warn!(path = %paths[index].display(), %err, "changes of a file cannot be seen");
                env.sleep(UNSEEN).await;
            }
        };
        let woken = async {
            tokio::select! {
                () = failed => {}
                () = env.sleep(UNSEEN), if !all_seen => {}
            }
        };
        if drain.until(woken).await.is_none() {
            return;
        }
    }
}

/// The text of a file that others replace.
pub struct FollowedFile {
    path: PathBuf,
    text: watch::Sender<String>,
}

impl FollowedFile {
    /// Reads it; it must be there.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = read(path)?;
        Ok(Self { path: path.to_owned(), text: watch::Sender::new(text) })
    }

    /// What it says, and tells when that changes.
    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.text.subscribe()
    }

    /// Reads it again whenever it changes, until `drain`.
    pub async fn run(self, env: Env, drain: Drain) {
        let Self { path, text } = self;
        let changed = || match read(&path) {
            Ok(found) => {
                text.send_if_modified(|kept| std::mem::replace(kept, found.clone()) != found);
            }
            Err(err) => tracing::warn!(%err, "a file that changed is kept as it was"),
        };
        follow(std::slice::from_ref(&path), &env, drain, changed).await;
    }
}

fn read(path: &Path) -> Result<String, FileError> {
    let missing = || FileError::Read { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() };
    read_if_there(path)?.ok_or_else(missing)
}

impl Trust {
    /// Trusts whichever authorities a text names, until `drain`, and tells of each text that is taken.
    pub async fn follow(
        self: Arc<Self>,
        mut authorities: watch::Receiver<String>,
        drain: Drain,
        tell: impl Fn(String),
    ) {
        while let Some(Ok(())) = drain.until(authorities.changed()).await {
            let pem = authorities.borrow_and_update().clone();
            match self.set(&pem) {
                Ok(()) => tell(pem),
                Err(err) => tracing::warn!(%err, "authorities stay as they were"),
            }
        }
        drain.drained().await;
    }
}

/// A certificate and its key in files that others replace.
pub struct PairFiles {
    certificate: PathBuf,
    key: PathBuf,
    presenter: Arc<Presenter>,
}

/// Files whose certificate cannot be presented.
#[derive(Debug, thiserror::Error)]
pub enum PairFilesError {
    /// They cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// What they hold cannot be used.
    #[error("{} cannot be presented: {source}", path.display())]
    Presenter {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: PresenterError,
    },
}

impl PairFiles {
    /// Reads them.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, PairFilesError> {
        let pair = KeyPairPem { certificate: read(certificate)?, key: read(key)? };
        let presenter = Presenter::new(&pair)
            .map_err(|source| PairFilesError::Presenter { path: certificate.to_owned(), source })?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), presenter: Arc::new(presenter) })
    }

    /// Presents the certificate in TLS, whichever it is then.
    pub fn presenter(&self) -> Arc<Presenter> {
        self.presenter.clone()
    }

    /// Reads them again whenever they change, until `drain`.
    pub async fn run(self, env: Env, drain: Drain) {
        let Self { certificate, key, presenter } = self;
        let changed = || {
            let taken = Self::read(&certificate, &key).map(|found| presenter.take(&found.presenter));
            // Between the writes of both files they do not fit: the second one brings this here again.
            if let Err(err) = taken {
                tracing::warn!(%err, "certificate stays as it was");
            }
        };
        follow(&[certificate.clone(), key.clone()], &env, drain, changed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_private;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_file_is_read_again_when_it_was_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.crt");
        assert!(FollowedFile::read(&path).is_err(), "it must be there");
        write_private(&path, "one").expect("writable");
        let file = FollowedFile::read(&path).expect("readable");
        let mut text = file.subscribe();
        let (trigger, drain) = base::drain();
        let following = tokio::spawn(file.run(Env::system(), drain));
        for said in ["two", "three"] {
            write_private(&path, said).expect("writable");
            tokio::time::timeout(DEADLINE, text.changed()).await.expect("it is seen").expect("it is followed");
            assert_eq!(*text.borrow_and_update(), said);
        }
        trigger.drain();
        tokio::time::timeout(DEADLINE, following).await.expect("it ends").expect("well");
    }
}
