//! A certificate authority kept in a directory, and its successors.
//!
//! In its last third an authority makes a successor, which issues from then on. Nobody has to be told in time: the old
//! one stays trusted until it ends, and it signs the new one's key, so that whoever trusts only the old one can check
//! what the new one issues, by the certificate that comes along. Processes that share the directory make one successor
//! between them: the first takes a lock, the others find what it made.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{Drain, Env, FileWatch};
use jiff::{SignedDuration, Timestamp};
use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::file::{FileError, read_if_there, remove_if_there, write_private};
use crate::issue::{IssueError, IssueRequest, KeyPairPem, Usage, authority_params, issue};
use crate::leaf::{key_info, not_after, still_good};
use crate::trust::{Trust, TrustError};

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The longest wait before the clock is looked at again: machines sleep, and clocks are set.
const LONGEST_SLEEP: Duration = Duration::from_secs(12 * 3600);

/// Why an authority or one of its certificates could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a certificate without its key: making a new authority would cut off all who trust the old one.
    #[error("{} has no key: {} is missing", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate's file.
        certificate: PathBuf,
        /// The missing file.
        key: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{} is not a certificate or key of an authority: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The authority's own certificate is over.
    #[error("{} expired at {expired}", path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When.
        expired: Timestamp,
    },
    /// The authority's key or certificate could not be made.
    #[error("cannot make authority {name:?}: {source}")]
    Generate {
        /// The authority's name.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The certificates cannot be trusted by TLS.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A certificate authority: its certificate, and the key that issues others.
pub struct Authority {
    dir: PathBuf,
    name: String,
    /// For which usage alone it issues, if it does.
    usage: Option<Usage>,
    current: ArcSwap<Generation>,
    /// The certificates of the current generation.
    trusted: watch::Sender<String>,
    trust: Arc<Trust>,
    lineage: String,
    env: Env,
}

/// What an authority is until its successor takes its place.
pub(crate) struct Generation {
    issuer: Issuer<'static, KeyPair>,
    /// The issuing certificate, and behind it the earlier ones that are still trusted.
    certificates: Vec<CertificateDer<'static>>,
    pem: String,
    /// The issuing certificate as its predecessor signed it, for those who only trust that one; that one as its own
    /// predecessor signed it, and so on.
    cross_pem: String,
    /// When its successor is made.
    successor_due: Timestamp,
    /// When the files say something else without anybody having changed them: a certificate ends.
    ends: Timestamp,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority in `<dir>/<name>.crt` and `<dir>/<name>.key`, made (EC P-256, ten years) if there is none. One in its
    /// last third makes its successor.
    pub fn load_or_create(dir: &Path, name: &str, env: &Env) -> Result<Self, AuthorityError> {
        Self::load_or(Files::new(dir, name), dir, env, |files| files.create(env))
    }

    /// The same for one that issues for one usage alone. Its predecessors vouch for no other; it is made as the successor
    /// of another one, if that is named and there: of what that has issued, nothing is lost.
    pub(crate) fn load_or_succeed(
        dir: &Path,
        (name, usage): (&str, Usage),
        before: Option<&str>,
        env: &Env,
    ) -> Result<Self, AuthorityError> {
        let files = Files { usage: Some(usage), ..Files::new(dir, name) };
        Self::load_or(files, dir, env, |files| {
            let Some(before) = before else { return files.create(env) };
            let earlier = Files::new(dir, before);
            let _lock = earlier.lock()?;
            match earlier.load(env)? {
                Some(earlier) => files.succeed(&earlier, env),
                None => files.create(env),
            }
        })
    }

    fn load_or(
        files: Files,
        dir: &Path,
        env: &Env,
        make: impl FnOnce(&Files) -> Result<Generation, AuthorityError>,
    ) -> Result<Self, AuthorityError> {
        let lock = files.lock()?;
        let generation = match files.load(env)? {
            Some(generation) if generation.is_due(env.now()) => files.succeed(&generation, env)?,
            Some(generation) => generation,
            None => make(&files)?,
        };
        drop(lock);
        let trust = Arc::new(Trust::new(&generation.pem)?);
        let lineage = files.lineage()?;
        let trusted = watch::Sender::new(generation.pem.clone());
        let (dir, current) = (dir.to_owned(), ArcSwap::from_pointee(generation));
        let (name, usage) = (files.name, files.usage);
        Ok(Self { dir, name, usage, current, trusted, trust, lineage, env: env.clone() })
    }

    fn files(&self) -> Files {
        Files { usage: self.usage, ..Files::new(&self.dir, &self.name) }
    }

    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// What its files are called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells when a successor issues: what [`Authority::certificate_pem`] says then.
    pub fn subscribe(&self) -> watch::Receiver<String> {
        self.trusted.subscribe()
    }

    /// What stays the same over all successors: the SHA-256 of the first certificate's file, in hexadecimal.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// The certificates that are trusted, PEM: the issuing one first. They may be shown to anyone.
    pub fn certificate_pem(&self) -> String {
        self.generation().pem.clone()
    }

    /// The same, DER.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.generation().certificates.clone()
    }

    /// Who trusts this authority and all its successors.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.clone()
    }

    /// Issues a certificate for a new key.
    pub fn issue(&self, request: &IssueRequest) -> Result<KeyPairPem, IssueError> {
        let generation = self.generation();
        let pair = issue(&generation.issuer, request, &self.env)?;
        Ok(KeyPairPem { certificate: generation.with_chain(pair.certificate), key: pair.key })
    }

    /// The certificate in `<dir>/<name>.crt` and its key in `<dir>/<name>.key`, issued anew if they are missing, say
    /// something other than `request`, come from another authority, or have less than a third of their time left.
    pub fn load_or_issue(&self, dir: &Path, name: &str, request: &IssueRequest) -> Result<KeyPairPem, AuthorityError> {
        let files = Files::new(dir, name);
        if let (Some(certificate), Some(key)) = (read_if_there(&files.certificate)?, read_if_there(&files.key)?) {
            let pair = KeyPairPem { certificate, key };
            if still_good(&pair, &self.generation().certificates[0], request, self.env.now()) {
                return Ok(pair);
            }
        }
        let pair = self.issue(request)?;
        write_private(&files.key, &pair.key)?;
        write_private(&files.certificate, &pair.certificate)?;
        Ok(pair)
    }

    /// Makes a successor now.
    pub fn rotate(&self) -> Result<(), AuthorityError> {
        let files = self.files();
        let _lock = files.lock()?;
        // Another process may have made one that is not known here.
        let generation = match files.load(&self.env)? {
            Some(before) => files.succeed(&before, &self.env)?,
            None => files.create(&self.env)?,
        };
        self.take(generation)
    }

    fn take(&self, generation: Generation) -> Result<(), AuthorityError> {
        self.trust.set(&generation.pem)?;
        let pem = generation.pem.clone();
        self.current.store(Arc::new(generation));
        self.trusted.send_replace(pem);
        Ok(())
    }

    /// Takes what another process has made of the files, and makes a successor in time.
    fn tend(&self) -> Result<(), AuthorityError> {
        let files = self.files();
        let _lock = files.lock()?;
        let Some(mut found) = files.load(&self.env)? else { return Ok(()) };
        if found.is_due(self.env.now()) {
            tracing::info!(authority = self.name, "certificate authority is in its last third and makes its successor");
            found = files.succeed(&found, &self.env)?;
        }
        if found.pem != self.generation().pem {
            self.take(found)?;
        }
        Ok(())
    }

    /// Makes a successor in time, and takes one that another process has made, until `drain`.
    pub async fn run(self: Arc<Self>, drain: Drain) {
        let mut watch = FileWatch::new(&Files::new(&self.dir, &self.name).certificate).ok();
        // The files may have changed before they were watched.
        let mut woken = Woken::Due;
        loop {
            let tended = if woken == Woken::Due { self.tend() } else { Ok(()) };
            let generation = self.generation();
            let due = if tended.is_ok() { generation.successor_due.min(generation.ends) } else { Timestamp::MIN };
            if let Err(err) = tended {
                tracing::error!(authority = self.name, %err, "certificate authority cannot be renewed");
            }
            match drain.until(wake(&self.env, due, &mut watch, std::future::pending())).await {
                Some(next) => woken = next,
                None => return,
            }
        }
    }
}

/// Why somebody who waits for a time or a file was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There is something to do.
    Due,
    /// Only to look at the clock again.
    Early,
}

/// Waits until `due`, until a file may have changed or until `told` ends; at least [`RETRY`], so that what fails again
/// and again does so slowly, and at most [`LONGEST_SLEEP`].
pub(crate) async fn wake(
    env: &Env,
    due: Timestamp,
    watch: &mut Option<FileWatch>,
    told: impl Future<Output = ()>,
) -> Woken {
    let left = Duration::try_from(due.duration_since(env.now())).unwrap_or_default();
    let is_followed = watch.is_some();
    tokio::select! {
        () = env.sleep(left.clamp(RETRY, LONGEST_SLEEP)) => {
            // A file that nobody watches is looked at each time.
            if is_followed && due > env.now() { Woken::Early } else { Woken::Due }
        }
        () = changed(watch) => Woken::Due,
        () = told => Woken::Due,
    }
}

/// The shortest wait between two attempts.
const RETRY: Duration = Duration::from_secs(60);

/// Waits until a file may have changed; for ever where that cannot be seen.
async fn changed(watch: &mut Option<FileWatch>) {
    if let Some(following) = watch {
        match following.changed().await {
            Ok(()) => return,
            Err(err) => tracing::warn!(%err, "changes of a file are no longer seen"),
        }
        *watch = None;
    }
    std::future::pending().await
}

impl Generation {
    /// Whether it is time for its successor.
    fn is_due(&self, now: Timestamp) -> bool {
        self.successor_due <= now
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// A certificate that it issued, and behind it what those need who only trust its predecessor.
    pub(crate) fn with_chain(&self, certificate: String) -> String {
        certificate + &self.cross_pem
    }
}

/// The files of an authority or of what it issued.
pub(crate) struct Files {
    name: String,
    /// For which usage alone predecessors vouch for the authority.
    usage: Option<Usage>,
    /// The certificate; of an authority, those that it succeeded behind it.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The key of a successor whose certificate is being written.
    next_key: PathBuf,
    /// The certificate as its predecessor signed it, and earlier ones of that kind.
    cross: PathBuf,
    /// What [`Authority::lineage`] says, once there was a successor.
    lineage: PathBuf,
    /// Locked by whoever reads or writes the others.
    lock: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let file = |end: &str| dir.join(format!("{name}{end}"));
        let (certificate, key) = (file(".crt"), file(".key"));
        let (next_key, cross, lineage) = (file(".next.key"), file(".cross.crt"), file(".lineage"));
        let (name, lock) = (name.to_owned(), file(".lock"));
        Self { name, usage: None, certificate, key, next_key, cross, lineage, lock }
    }

    /// What the files hold; `None` if there is no authority yet.
    fn load(&self, env: &Env) -> Result<Option<Generation>, AuthorityError> {
        let malformed = |path: &Path, reason: String| AuthorityError::Malformed { path: path.to_owned(), reason };
        // A key alone is left by a process killed between the two writes; nobody can trust it yet.
        let Some(pem) = read_if_there(&self.certificate)? else { return Ok(None) };
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|err| malformed(&self.certificate, err.to_string()))?;
        let first = certificates.first().ok_or_else(|| malformed(&self.certificate, "it is empty".to_owned()))?;
        let parsed = X509Certificate::from_der(first);
        let (_, parsed) = parsed.map_err(|err| malformed(&self.certificate, err.to_string()))?;
        let key = self.key_of(&parsed)?;
        let expired = not_after(first).unwrap_or(Timestamp::MIN);
        if expired <= env.now() {
            return Err(AuthorityError::Expired { path: self.certificate.clone(), expired });
        }
        let issuer =
            Issuer::from_ca_cert_der(first, key).map_err(|err| malformed(&self.certificate, err.to_string()))?;
        let cross_pem = read_if_there(&self.cross)?.unwrap_or_default();
        let cross_pem = still_valid(&cross_pem, env.now());
        let successor_due = last_third(&parsed);
        let is_valid = |end: &Timestamp| *end > env.now();
        let ends = certificates.iter().filter_map(not_after).filter(is_valid).min().unwrap_or(expired);
        let certificates =
            certificates.into_iter().filter(|der| not_after(der).as_ref().is_some_and(is_valid)).collect();
        let pem = still_valid(&pem, env.now());
        Ok(Some(Generation { issuer, certificates, pem, cross_pem, successor_due, ends }))
    }

    /// The key of a certificate; a change of keys that was interrupted is completed.
    fn key_of(&self, certificate: &X509Certificate<'_>) -> Result<KeyPair, AuthorityError> {
        let malformed = |reason: String| AuthorityError::Malformed { path: self.key.clone(), reason };
        let is_its = |key: &KeyPair| key_info(key) == certificate.public_key().raw;
        let parse = |pem: &str| KeyPair::from_pem(pem).map_err(|err| malformed(err.to_string()));
        let (key, next) = (read_if_there(&self.key)?, read_if_there(&self.next_key)?);
        if let Some(pem) = next {
            let next = parse(&pem)?;
            if is_its(&next) {
                write_private(&self.key, &pem)?;
                remove_if_there(&self.next_key)?;
                return Ok(next);
            }
        }
        let Some(key) = key else {
            return Err(AuthorityError::KeyMissing { certificate: self.certificate.clone(), key: self.key.clone() });
        };
        let key = parse(&key)?;
        if is_its(&key) {
            return Ok(key);
        }
        Err(malformed(format!("it is not the key of {}", self.certificate.display())))
    }

    fn create(&self, env: &Env) -> Result<Generation, AuthorityError> {
        let failed = |source| AuthorityError::Generate { name: self.name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let params = authority_params(&self.common_name(env), TEN_YEARS, env);
        let certificate = params.self_signed(&key).map_err(failed)?;
        write_private(&self.key, &key.serialize_pem())?;
        write_private(&self.certificate, &certificate.pem())?;
        Ok(self.load(env)?.expect("it was just written"))
    }

    /// See [`Authority::lineage`]: a file says it once there has been a successor.
    fn lineage(&self) -> Result<String, FileError> {
        if let Some(kept) = read_if_there(&self.lineage)? {
            return Ok(kept.trim().to_owned());
        }
        Ok(hex::encode(Sha256::digest(read_if_there(&self.certificate)?.unwrap_or_default())))
    }

    fn common_name(&self, env: &Env) -> String {
        format!("skiff-{}@{}", self.name, env.now().as_second())
    }

    /// Keeps other processes from the files while it lives: what they hold goes together.
    fn lock(&self) -> Result<File, FileError> {
        let failed = |source| FileError::Write { path: self.lock.clone(), source };
        if let Some(dir) = self.lock.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let lock = File::create(&self.lock).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }

    /// Makes and writes the successor of a generation.
    fn succeed(&self, before: &Generation, env: &Env) -> Result<Generation, AuthorityError> {
        let failed = |source| AuthorityError::Generate { name: self.name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let name = self.common_name(env);
        let certificate = authority_params(&name, TEN_YEARS, env).self_signed(&key).map_err(failed)?;
        let left = not_after(&before.certificates[0]).unwrap_or(Timestamp::MIN).duration_since(env.now());
        let mut params = authority_params(&name, Duration::try_from(left).unwrap_or_default(), env);
        params.extended_key_usages.extend(self.usage.map(Usage::purpose));
        let cross = params.signed_by(&key, &before.issuer).map_err(failed)?;
        let pem = certificate.pem() + &still_valid(&before.pem, env.now());
        // The certificate is written last: with it the successor is there, and its key is found in either file.
        if self.certificate.exists() {
            write_private(&self.lineage, &self.lineage()?)?;
        }
        write_private(&self.next_key, &key.serialize_pem())?;
        write_private(&self.cross, &(cross.pem() + &before.cross_pem))?;
        write_private(&self.certificate, &pem)?;
        Ok(self.load(env)?.expect("it was just written"))
    }
}

/// The certificates of a PEM text that have not ended, the text of each as it is.
fn still_valid(pem: &str, now: Timestamp) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let is_valid = |text: &&str| {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok();
        der.and_then(|der| not_after(&der)).is_some_and(|end| end > now)
    };
    let texts = pem.split_inclusive(END).map(str::trim_start).filter(is_valid);
    texts.map(|text| format!("{text}\n")).collect()
}

/// When the last third of a certificate's time begins.
fn last_third(certificate: &X509Certificate<'_>) -> Timestamp {
    let validity = certificate.validity();
    let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let end_time = Timestamp::from_second(end).unwrap_or(Timestamp::MAX);
    end_time.saturating_sub(SignedDuration::from_secs((end - start) / 3)).unwrap_or(end_time)
}

#[cfg(test)]
mod tests;
