//! Client certificates: the common name is the user, the organizations are the groups.

use std::sync::Arc;

use base::Env;
use jiff::Timestamp;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::access::identity::{CREDENTIAL_ID, Identity};
use crate::access::shown::{Verdict, Verified};

/// Where a certificate's subject has the UID of its user (upstream's object identifier).
const UID_ATTRIBUTE: &str = "1.3.6.1.4.1.57683.2";

/// Believes the certificates of some authorities.
pub(super) struct ClientCertificates {
    trust: Arc<pki::Trust>,
    env: Env,
}

impl ClientCertificates {
    pub(super) fn new(trust: Arc<pki::Trust>, env: Env) -> Self {
        Self { trust, env }
    }

    /// Whose a client's certificates are.
    pub(super) fn verify(&self, certificates: &[CertificateDer<'static>]) -> Verdict {
        let [leaf, intermediates @ ..] = certificates else { return Ok(None) };
        let now = pki::Clock::now(&self.env);
        self.trust.verify_client_cert(leaf, intermediates, now).map_err(|err| err.to_string())?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|err| err.to_string())?;
        let subject = parsed.subject();
        let organizations = subject.iter_organization().filter_map(|organization| organization.as_str().ok());
        let mut uids =
            subject.iter_attributes().filter(|attribute| attribute.attr_type().to_id_string() == UID_ATTRIBUTE);
        let uid = uids.next().and_then(|attribute| attribute.as_str().ok()).map(str::to_owned);
        if uids.next().is_some() {
            return Err("expected 1 UID, but found multiple".to_owned());
        }
        let mut identity = Identity {
            user: subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned(),
            groups: organizations.map(str::to_owned).collect(),
            uid,
            ..Identity::default()
        };
        let hash: String = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect();
        identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hash}")]);
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
        Ok(Some(Verified { identity, expires }))
    }
}
