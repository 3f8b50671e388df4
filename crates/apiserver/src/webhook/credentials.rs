//! What a server is shown by which it knows this one: a certificate in the handshake, a header in requests.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::HeaderValue;

/// A client certificate and its key, PEM.
pub(crate) type ClientCertificate = (String, String);

/// What is shown beside a certificate.
#[derive(Clone)]
pub(crate) enum Shown {
    Nothing,
    Header(HeaderValue),
    /// A token in a file, which may change.
    TokenFile(PathBuf),
}

impl Shown {
    /// The value of the header `Authorization`, if there is one to send.
    pub(crate) async fn header(&self) -> io::Result<Option<HeaderValue>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Header(value) => Ok(Some(value.clone())),
            Self::TokenFile(path) => {
                let token = tokio::fs::read_to_string(path).await?;
                let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
                value.map(Some).map_err(io::Error::other)
            }
        }
    }
}

/// All that a server is shown.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    pub(crate) shown: Shown,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// As whom servers are asked: each host as the user that is named after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    users: Vec<(String, Credentials)>,
    /// The one for all that have none of their own.
    default: Option<usize>,
}

impl Users {
    /// The users of a kubeconfig by name, and the name of its current one.
    pub(crate) fn new(users: Vec<(String, Credentials)>, current: Option<&str>) -> Self {
        let index = |name: &str| users.iter().position(|(known, _)| known == name);
        let default = index("*").or_else(|| index(current?));
        Self { users, default }
    }

    /// The user for a host: the one of its name, then one of a name that begins with `*.` for some of its first parts.
    /// Names with the port go before those without, which are for the usual port alone.
    pub(super) fn find(&self, host: &str, port: u16) -> Option<&Credentials> {
        let with_port = self.named(&format!("{host}:{port}"));
        let found = with_port.or_else(|| self.named(host).filter(|_| port == 443)).or(self.default);
        found.map(|index| &self.users[index].1)
    }

    fn named(&self, target: &str) -> Option<usize> {
        let index = |name: &str| self.users.iter().position(|(known, _)| known == name);
        let dots = target.match_indices('.').map(|(at, _)| at);
        index(target).or_else(|| dots.into_iter().find_map(|at| index(&format!("*{}", &target[at..]))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which user of some names is for a host.
    #[track_caller]
    fn check(names: &[&str], current: Option<&str>, host: &str, port: u16, expected: Option<&str>) {
        let user = |name: &&str| {
            let shown = Shown::Header(HeaderValue::from_str(name).expect("a header"));
            ((*name).to_owned(), Credentials { certificate: None, shown })
        };
        let users = Users::new(names.iter().map(user).collect(), current);
        let found = users.find(host, port).map(|found| match &found.shown {
            Shown::Header(value) => value.to_str().expect("text").to_owned(),
            _ => "something else".to_owned(),
        });
        assert_eq!(found.as_deref(), expected, "{host}:{port}");
    }

    #[test]
    fn users_are_named_after_hosts() {
        check(&["hooks.example.com"], None, "hooks.example.com", 443, Some("hooks.example.com"));
        check(&["hooks.example.com"], None, "hooks.example.com", 8443, None);
        check(&["hooks.example.com:8443"], None, "hooks.example.com", 8443, Some("hooks.example.com:8443"));
        let names = ["*.example.com", "hooks.example.com", "hooks.example.com:443"];
        check(&names, None, "hooks.example.com", 443, Some("hooks.example.com:443"));
        check(&names, None, "other.example.com", 443, Some("*.example.com"));
        check(&names, None, "example.com", 443, None);
        check(&["*.com", "*.example.com"], None, "a.b.example.com", 443, Some("*.example.com"));
        check(&["*.svc:8443"], None, "hooks.default.svc", 8443, Some("*.svc:8443"));
        check(&["hooks.default.svc"], None, "hooks.default.svc", 443, Some("hooks.default.svc"));
    }

    #[test]
    fn others_are_asked_as_the_default_user() {
        check(&["a", "*"], Some("a"), "hooks.example.com", 8443, Some("*"));
        check(&["a", "b"], Some("b"), "hooks.example.com", 443, Some("b"));
        check(&["a", "b"], Some("c"), "hooks.example.com", 443, None);
        check(&["a"], None, "hooks.example.com", 443, None);
    }
}
