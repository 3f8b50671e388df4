//! A certificate that is issued anew long before it ends, and taken at once by whoever presents it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Drain, Env, FileWatch};
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::{Authority, AuthorityError, Files, Woken, wake};
use crate::issue::{IssueRequest, KeyPairPem};
use crate::presenter::{Presenter, PresenterError};

/// Why there is no certificate to present.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// It could not be issued.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// TLS does not take it.
    #[error(transparent)]
    Presenter(#[from] PresenterError),
}

/// A certificate with its key in `<dir>/<name>.crt` and `.key`, issued by an authority of this process.
pub struct Leaf {
    authority: Arc<Authority>,
    dir: PathBuf,
    name: String,
    request: IssueRequest,
    current: watch::Sender<Arc<KeyPairPem>>,
    presenter: Arc<Presenter>,
    env: Env,
}

impl Leaf {
    /// The certificate that is there if it is still good, or a new one.
    pub fn load_or_issue(
        authority: &Arc<Authority>,
        dir: &Path,
        name: &str,
        request: IssueRequest,
        env: &Env,
    ) -> Result<Self, LeafError> {
        let pair = authority.load_or_issue(dir, name, &request)?;
        let presenter = Arc::new(Presenter::new(&pair)?);
        let (dir, name, authority) = (dir.to_owned(), name.to_owned(), authority.clone());
        let current = watch::Sender::new(Arc::new(pair));
        Ok(Self { authority, dir, name, request, current, presenter, env: env.clone() })
    }

    /// Presents the certificate in TLS, whichever it is then.
    pub fn presenter(&self) -> Arc<Presenter> {
        self.presenter.clone()
    }

    /// The certificate now.
    pub fn current(&self) -> Arc<KeyPairPem> {
        self.current.borrow().clone()
    }

    /// Tells when there is another.
    pub fn subscribe(&self) -> watch::Receiver<Arc<KeyPairPem>> {
        self.current.subscribe()
    }

    /// Issues it anew when its last third begins, when its authority has a successor, and when its files are gone or
    /// changed, until `drain`.
    pub async fn run(self: Arc<Self>, drain: Drain) {
        let mut watch = FileWatch::new(&Files::new(&self.dir, &self.name).certificate).ok();
        let mut successors = self.authority.subscribe();
        // The files may have changed before they were watched.
        let mut woken = Woken::Due;
        loop {
            let renewed = if woken == Woken::Due { self.renew() } else { Ok(()) };
            let due = if renewed.is_ok() { self.due() } else { Timestamp::MIN };
            if let Err(err) = renewed {
                tracing::error!(certificate = self.name, %err, "certificate cannot be renewed");
            }
            let told = async {
                // Without its authority nobody tells of successors any more.
                if successors.changed().await.is_err() {
                    std::future::pending().await
                }
            };
            match drain.until(wake(&self.env, due, &mut watch, told)).await {
                Some(next) => woken = next,
                None => return,
            }
        }
    }

    /// When it should be issued anew.
    fn due(&self) -> Timestamp {
        let pair = self.current();
        let end = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).ok().and_then(|der| not_after(&der));
        let third = SignedDuration::try_from(self.request.validity / 3).unwrap_or(SignedDuration::MAX);
        end.and_then(|end| end.checked_sub(third).ok()).unwrap_or(Timestamp::MIN)
    }

    fn renew(&self) -> Result<(), LeafError> {
        let pair = self.authority.load_or_issue(&self.dir, &self.name, &self.request)?;
        let before = self.current();
        if pair.certificate != before.certificate || pair.key != before.key {
            self.presenter.set(&pair)?;
            self.current.send_replace(Arc::new(pair));
            tracing::info!(certificate = self.name, "certificate was issued anew");
        }
        Ok(())
    }
}

/// Whether a certificate says what is asked for, comes from the authority, fits its key and has a third of its time left.
pub(crate) fn still_good(
    pair: &KeyPairPem,
    authority: &CertificateDer<'_>,
    request: &IssueRequest,
    now: Timestamp,
) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pair.certificate.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
    let Ok(key) = KeyPair::from_pem(&pair.key) else { return false };
    let left = not_after(&der).unwrap_or(Timestamp::MIN).duration_since(now);
    let third = SignedDuration::try_from(request.validity / 3).unwrap_or(SignedDuration::MAX);
    left > third
        && certificate.public_key().raw == key_info(&key)
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
        && says(&certificate, request)
}

/// The key's SubjectPublicKeyInfo, as certificates hold it.
pub(crate) fn key_info(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

/// When a certificate ends.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// Whether the certificate has the subject and the names that are asked for.
fn says(certificate: &X509Certificate<'_>, request: &IssueRequest) -> bool {
    let subject = certificate.subject();
    let common_names: Vec<&str> = subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let mut organizations: Vec<&str> = subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
    organizations.sort_unstable();
    let mut asked: Vec<&str> = request.organizations.iter().map(String::as_str).collect();
    asked.sort_unstable();
    if common_names != [request.common_name.as_str()] || organizations != asked {
        return false;
    }
    let Ok(names) = certificate.subject_alternative_name() else { return false };
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let has_host = |host: &String| names.iter().any(|name| matches!(name, GeneralName::DNSName(dns) if dns == host));
    let has_ip = |ip: &std::net::IpAddr| {
        let octets = match ip {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        names.iter().any(|name| matches!(name, GeneralName::IPAddress(bytes) if *bytes == octets))
    };
    request.dns_names.iter().all(has_host) && request.ips.iter().all(has_ip)
}
