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
use crate::trust::{Trust, TrustError};

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

/// A file of authorities that others replace. What is none leaves them as they were.
pub struct AuthoritiesFile {
    file: FollowedFile,
    trust: Arc<Trust>,
    taken: watch::Sender<String>,
}

/// A file whose authorities cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesFileError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has no authorities in it.
    #[error("{} holds none: {source}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TrustError,
    },
}

impl AuthoritiesFile {
    /// Reads it; it must be there.
    pub fn read(path: &Path) -> Result<Self, AuthoritiesFileError> {
        let file = FollowedFile::read(path)?;
        let text = file.text.borrow().clone();
        let trust =
            Trust::new(&text).map_err(|source| AuthoritiesFileError::Trust { path: path.to_owned(), source })?;
        Ok(Self { file, trust: Arc::new(trust), taken: watch::Sender::new(text) })
    }

    /// Who trusts them, whichever they are then.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.clone()
    }

    /// What it says, PEM, and tells when others are trusted.
    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.taken.subscribe()
    }

    /// Follows it until `drain`.
    pub async fn run(self, env: Env, drain: Drain) {
        let Self { file, trust, taken } = self;
        let mut texts = file.subscribe();
        let take = async {
            while texts.changed().await.is_ok() {
                let text = texts.borrow_and_update().clone();
                match trust.set(&text) {
                    Ok(()) => drop(taken.send_replace(text)),
                    Err(err) => tracing::warn!(%err, "authorities stay as they were"),
                }
            }
        };
        // The end of the file's task ends what it says.
        tokio::join!(file.run(env, drain), take);
    }
}

/// The authorities that several texts name together, first those of the first.
pub struct JoinedAuthorities {
    parts: Vec<watch::Receiver<String>>,
    trust: Arc<Trust>,
    text: watch::Sender<String>,
}

impl JoinedAuthorities {
    /// What the texts say now.
    pub fn new(parts: Vec<watch::Receiver<String>>) -> Result<Self, TrustError> {
        let text = joined(&parts);
        Ok(Self { parts, trust: Arc::new(Trust::new(&text)?), text: watch::Sender::new(text) })
    }

    /// Who trusts them all, whichever they are then.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.clone()
    }

    /// What they say together, and tells when that changes.
    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.text.subscribe()
    }

    /// Follows them until `drain`.
    pub async fn run(self, drain: Drain) {
        let Self { mut parts, trust, text } = self;
        loop {
            for part in &mut parts {
                part.mark_unchanged();
            }
            let now = joined(&parts);
            match trust.set(&now) {
                Ok(()) => drop(text.send_if_modified(|kept| std::mem::replace(kept, now.clone()) != now)),
                Err(err) => tracing::warn!(%err, "authorities stay as they were"),
            }
            let changed = select_all(parts.iter_mut().map(|part| Box::pin(part.changed())));
            if !matches!(drain.until(changed).await, Some((Ok(()), ..))) {
                return drain.drained().await;
            }
        }
    }
}

fn joined(parts: &[watch::Receiver<String>]) -> String {
    parts.iter().map(|part| format!("{}\n", part.borrow().trim_end())).collect()
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
