//! Finding out who makes a request: client certificates, service account tokens and the join token.

use std::sync::Arc;

use api::status::Status;
use base::Env;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity::{AUTHENTICATED, Identity, Peer};

/// What a service account token is checked against beyond its signature.
pub(crate) trait BoundObjects {
    /// The UID of the named object of a resource, if there is one.
    fn uid_of(&self, group: &str, plural: &str, namespace: Option<&str>, name: &str) -> Option<String>;
}

/// Turns credentials into identities.
pub(crate) struct Authenticator {
    clients: Arc<dyn ClientCertVerifier>,
    key: Arc<pki::ServiceAccountKey>,
    issuer: String,
    audiences: Vec<String>,
    join_token: Option<pki::JoinToken>,
    env: Env,
}

/// The users and groups of a machine that joins.
const BOOTSTRAP_USER: &str = "system:node-bootstrapper";
const BOOTSTRAP_GROUP: &str = "system:bootstrappers";

impl Authenticator {
    pub(crate) fn new(
        ca: &CertificateDer<'static>,
        key: Arc<pki::ServiceAccountKey>,
        config: &crate::Config,
        env: Env,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|err| rustls::Error::General(err.to_string()))?;
        Ok(Self {
            clients,
            key,
            issuer: config.service_account_issuer.clone(),
            audiences: config.audiences(),
            join_token: config.join_token.clone(),
            env,
        })
    }

    /// The identity behind a request; `None` if it shows no credentials, an error if what it shows is not good.
    pub(crate) fn authenticate(
        &self,
        peer: Option<&Peer>,
        headers: &HeaderMap,
        objects: &dyn BoundObjects,
    ) -> Result<Option<Identity>, Status> {
        let certificates = match peer {
            Some(Peer::InProcess(identity)) => return Ok(Some(identity.clone())),
            Some(Peer::Tls { certificates }) => certificates.as_slice(),
            None => &[],
        };
        if let [leaf, intermediates @ ..] = certificates {
            return self.certificate(leaf, intermediates).map(Some).ok_or_else(Status::unauthorized);
        }
        let Some(token) = bearer(headers) else { return Ok(None) };
        self.token(token, objects).map(Some).ok_or_else(Status::unauthorized)
    }

    fn certificate(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<Identity> {
        let seconds = u64::try_from(self.env.now().as_second()).ok()?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        if let Err(err) = self.clients.verify_client_cert(leaf, intermediates, now) {
            tracing::warn!(%err, "client certificate refused");
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let subject = parsed.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organizations = subject.iter_organization().filter_map(|organization| organization.as_str().ok());
        let mut groups: Vec<String> = organizations.map(str::to_owned).collect();
        groups.push(AUTHENTICATED.to_owned());
        Some(Identity { user, groups, ..Identity::default() })
    }

    fn token(&self, token: &str, objects: &dyn BoundObjects) -> Option<Identity> {
        if self.join_token.as_ref().is_some_and(|expected| expected.accepts(token)) {
            return Some(Identity::new(BOOTSTRAP_USER, &[BOOTSTRAP_GROUP]));
        }
        match self.service_account(token, &self.audiences, objects) {
            Ok(identity) => Some(identity),
            Err(why) => {
                tracing::debug!(why, "bearer token refused");
                None
            }
        }
    }

    /// The identity in a service account token for one of `audiences`, or why it is not good.
    pub(crate) fn service_account(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn BoundObjects,
    ) -> Result<Identity, &'static str> {
        let now: Timestamp = self.env.now();
        let claims = self.key.verify(token, now).map_err(|err| match err {
            pki::VerifyError::Expired => "token is expired",
            pki::VerifyError::NotYetValid => "token is not valid yet",
            pki::VerifyError::NotAToken | pki::VerifyError::Signature | pki::VerifyError::Claims => "invalid token",
        })?;
        if claims.iss != self.issuer {
            return Err("token has another issuer");
        }
        if !claims.aud.iter().any(|audience| audiences.contains(audience)) {
            return Err("token audiences are invalid for this server");
        }
        let kubernetes = &claims.kubernetes;
        let namespace = Some(kubernetes.namespace.as_str());
        let there = |plural: &str, namespace: Option<&str>, bound: &pki::BoundObject| {
            objects.uid_of("", plural, namespace, &bound.name) == bound.uid
        };
        if !there("serviceaccounts", namespace, &kubernetes.serviceaccount) {
            return Err("service account is gone");
        }
        let mut extra = std::collections::BTreeMap::new();
        let mut note = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        note("credential-id", format!("JTI={}", claims.jti));
        if let Some(pod) = &kubernetes.pod {
            if !there("pods", namespace, pod) {
                return Err("pod of the token is gone");
            }
            note("pod-name", pod.name.clone());
            note("pod-uid", pod.uid.clone().unwrap_or_default());
        }
        if let Some(secret) = &kubernetes.secret
            && !there("secrets", namespace, secret)
        {
            return Err("secret of the token is gone");
        }
        if let Some(node) = &kubernetes.node {
            // A token bound to a pod only mentions the node; one bound to the node ends with it.
            if kubernetes.pod.is_none() && !there("nodes", None, node) {
                return Err("node of the token is gone");
            }
            note("node-name", node.name.clone());
            if let Some(uid) = &node.uid {
                note("node-uid", uid.clone());
            }
        }
        Ok(Identity {
            uid: kubernetes.serviceaccount.uid.clone(),
            extra,
            ..Identity::service_account(&kubernetes.namespace, &kubernetes.serviceaccount.name)
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
