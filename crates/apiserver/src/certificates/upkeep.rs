//! What keeps certificates and authorities up to date while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Drain, Env, Tasks};
use futures::future::BoxFuture;
use pki::{AuthoritiesFile, AuthoritiesFileError, JoinedAuthorities, Leaf, LeafError, PairFiles, Presenter, Trust};
use tokio::sync::watch;

use crate::server::BuildError;

/// A file of authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}: {source}")]
pub struct AuthoritiesError {
    /// The flag that names it.
    pub flag: &'static str,
    /// What is wrong.
    pub source: AuthoritiesFileError,
}

/// Authorities that change: who trusts them, and what they are, PEM.
pub(crate) type Followed = (Arc<Trust>, watch::Receiver<String>);

type Part = Box<dyn FnOnce(Drain) -> BoxFuture<'static, ()> + Send + Sync>;

/// What is to be kept, from when it is loaded until the server runs.
pub(crate) struct Upkeep {
    parts: Vec<(&'static str, Part)>,
    env: Env,
}

impl Upkeep {
    pub(super) fn new(env: &Env) -> Self {
        Self { parts: Vec::new(), env: env.clone() }
    }

    fn keep<F>(&mut self, name: &'static str, part: impl FnOnce(Drain) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.parts.push((name, Box::new(|drain| Box::pin(part(drain)))));
    }

    /// Works until `drain`.
    pub(crate) fn spawn(self, tasks: &mut Tasks, drain: &Drain) {
        for (name, part) in self.parts {
            tasks.spawn(name, part(drain.clone()));
        }
    }

    pub(super) fn authorities(&mut self, authorities: &pki::Authorities) {
        for authority in authorities.all() {
            let authority = authority.clone();
            self.keep("certificate authority", |drain| authority.run(drain));
        }
    }

    pub(super) fn leaf(&mut self, leaf: &Arc<Leaf>) {
        let leaf = leaf.clone();
        self.keep("certificate", |drain| leaf.run(drain));
    }

    /// What is presented: a certificate in files, or one that is issued here.
    pub(super) fn presenter(
        &mut self,
        files: Option<&(PathBuf, PathBuf)>,
        issued: impl FnOnce() -> Result<Leaf, LeafError>,
    ) -> Result<Arc<Presenter>, BuildError> {
        let Some((certificate, key)) = files else {
            let leaf = Arc::new(issued()?);
            self.leaf(&leaf);
            return Ok(leaf.presenter());
        };
        let (pair, env) = (PairFiles::read(certificate, key)?, self.env.clone());
        let presenter = pair.presenter();
        self.keep("certificate in files", |drain| pair.run(env, drain));
        Ok(presenter)
    }

    /// The authorities in a file that a flag names.
    pub(crate) fn file(&mut self, (flag, path): (&'static str, &Path)) -> Result<Followed, AuthoritiesError> {
        let file = AuthoritiesFile::read(path).map_err(|source| AuthoritiesError { flag, source })?;
        let (followed, env) = ((file.trust(), file.subscribe()), self.env.clone());
        self.keep("file of authorities", |drain| file.run(env, drain));
        Ok(followed)
    }

    /// Some authorities and behind them those of others, one of them in the file that a flag names.
    pub(crate) fn joined(
        &mut self,
        (flag, path): (&'static str, &Path),
        parts: [watch::Receiver<String>; 2],
    ) -> Result<Followed, AuthoritiesError> {
        let of_file = |source| AuthoritiesFileError::Trust { path: path.to_owned(), source };
        let all = JoinedAuthorities::new(parts.into());
        let all = all.map_err(|source| AuthoritiesError { flag, source: of_file(source) })?;
        let followed = (all.trust(), all.subscribe());
        self.keep("authorities", |drain| all.run(drain));
        Ok(followed)
    }
}
