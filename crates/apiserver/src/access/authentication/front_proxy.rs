//! A front proxy, which says in headers who asks: believed by its certificate and by nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use base::Env;
use http::HeaderMap;
use http::header::HeaderName;

use super::x509::ClientCertificates;
use crate::access::identity::{Identity, unescape_key};
use crate::access::shown::Verified;

/// The flags `--requestheader-*`.
#[derive(Clone, Debug)]
pub struct RequestHeaders {
    /// `--requestheader-client-ca-file`: the authority of front proxies, taken up again whenever it changes; without it,
    /// the cluster's own.
    pub client_ca_file: Option<PathBuf>,
    /// `--requestheader-allowed-names`: the common names of front proxies; empty allows all of the authority.
    pub allowed_names: Vec<String>,
    /// `--requestheader-username-headers`.
    pub username_headers: Vec<String>,
    /// `--requestheader-uid-headers`.
    pub uid_headers: Vec<String>,
    /// `--requestheader-group-headers`.
    pub group_headers: Vec<String>,
    /// `--requestheader-extra-headers-prefix`.
    pub extra_headers_prefixes: Vec<String>,
}

impl Default for RequestHeaders {
    /// kubeadm's values.
    fn default() -> Self {
        let one = |text: &str| vec![text.to_owned()];
        Self {
            client_ca_file: None,
            allowed_names: one(crate::aggregation::FRONT_PROXY),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_headers_prefixes: one("X-Remote-Extra-"),
        }
    }
}

impl RequestHeaders {
    /// With the names of headers as requests have them.
    fn lower(&self) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self {
            client_ca_file: self.client_ca_file.clone(),
            allowed_names: self.allowed_names.clone(),
            username_headers: lower(&self.username_headers),
            uid_headers: lower(&self.uid_headers),
            group_headers: lower(&self.group_headers),
            extra_headers_prefixes: lower(&self.extra_headers_prefixes),
        }
    }

    fn says_who(&self, header: &str) -> bool {
        [&self.username_headers, &self.uid_headers, &self.group_headers]
            .iter()
            .any(|names| names.iter().any(|name| name == header))
            || self.extra_headers_prefixes.iter().any(|prefix| header.starts_with(prefix))
    }
}

/// Believes front proxies.
pub(super) struct FrontProxies {
    /// Whose certificates they have.
    pub(super) certificates: ClientCertificates,
    headers: RequestHeaders,
    /// What is always taken out, whatever this server believes: what stands behind it may believe these.
    standard: RequestHeaders,
}

impl FrontProxies {
    pub(super) fn new(authorities: Arc<pki::Trust>, headers: &RequestHeaders, env: Env) -> Self {
        let certificates = ClientCertificates::new(authorities, env);
        Self { certificates, headers: headers.lower(), standard: RequestHeaders::default().lower() }
    }

    pub(super) fn authenticate(&self, verified: &Verified, headers: &HeaderMap) -> Result<Option<Identity>, String> {
        let name = &verified.identity.user;
        let allowed = &self.headers.allowed_names;
        if !allowed.is_empty() && !allowed.iter().any(|each| each == name) {
            return Err(format!("x509: subject with cn={name} is not in the allowed list"));
        }
        let all = |header: &String| {
            let values = headers.get_all(header.as_str()).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect::<Vec<_>>()
        };
        let first = |names: &[String]| names.iter().flat_map(all).find(|value| !value.is_empty());
        let Some(user) = first(&self.headers.username_headers) else { return Ok(None) };
        let mut identity = Identity {
            user,
            groups: self.headers.group_headers.iter().flat_map(all).collect(),
            uid: first(&self.headers.uid_headers),
            ..Identity::default()
        };
        for header in headers.keys().map(|header| header.as_str().to_owned()) {
            let mut prefixes = self.headers.extra_headers_prefixes.iter();
            if let Some(key) = prefixes.find_map(|prefix| header.strip_prefix(prefix)) {
                identity.extra.entry(unescape_key(key)).or_default().extend(all(&header));
            }
        }
        Ok(Some(identity))
    }

    /// Takes the headers out.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        let says_who =
            |name: &HeaderName| self.headers.says_who(name.as_str()) || self.standard.says_who(name.as_str());
        let names: Vec<HeaderName> = headers.keys().filter(|name| says_who(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}
