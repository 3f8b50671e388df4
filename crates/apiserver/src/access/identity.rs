//! Users and groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shown::ShownCertificates;

/// Who makes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// The user's UID, where the source of the identity has one.
    pub uid: Option<String>,
    /// What else the source of the identity says, such as the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Everyone who proved who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";

/// Everyone who did not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who has no credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// The administrators, who may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// How the names of service accounts' users begin.
pub(crate) const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Namespace and name of the account that a user name stands for.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// The extra field that names the credential of a user.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Keys of extra fields may be percent-encoded in headers, because names of headers hold few characters.
pub(crate) fn unescape_key(key: &str) -> String {
    let escaped = format!("k={}", key.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(escaped.as_bytes()).next();
    decoded.map(|(_, key)| key.to_lowercase()).unwrap_or_default()
}

impl Identity {
    /// A user in some groups; `system:authenticated` is added.
    pub fn new(user: impl Into<String>, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        groups.push(AUTHENTICATED.to_owned());
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// A member of `system:masters`, who may do everything.
    pub fn admin() -> Self {
        Self::new("system:admin", &[MASTERS])
    }

    /// This server, where it writes objects of its own.
    pub(crate) fn server() -> Self {
        Self::new("system:apiserver", &[MASTERS])
    }

    /// The account of a namespace, as which pods and controllers act.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let user = format!("{SERVICE_ACCOUNT}{namespace}:{name}");
        Self::new(user, &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")])
    }

    /// Somebody without credentials.
    pub(crate) fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// In the group of those who proved who they are, unless something else is said about that.
    pub(crate) fn authenticated(mut self) -> Self {
        if self.user != ANONYMOUS && !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|each| each == group)
    }
}

/// How a request reached the server. Transports attach it as a request extension, which nothing on the wire can set.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A component of this process, under the identity that the process gave it.
    InProcess(Identity),
    /// A connection with or without client certificates.
    Tls(Arc<ShownCertificates>),
}
