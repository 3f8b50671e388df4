//! The token with which machines join: who they may become, and how they know that the server is the right one.
//!
//! Its full form is k3s's: `K10<SHA-256 of the CA certificate file>::<server|node>:<secret>` with the secret of the
//! server, `K10<…>::<id>.<secret>` with a bootstrap token. What follows the hash is accepted alone too; a machine that
//! has only the server's secret cannot check the server's CA.

use std::fmt;
use std::path::Path;

use base::Env;
use sha2::{Digest, Sha256};

use crate::bootstrap_token::BootstrapToken;
use crate::file::{FileError, read_if_there, write_private};

/// What a token lets its bearer become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRole {
    /// A further control-plane node.
    Server,
    /// A worker node.
    Node,
}

impl JoinRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Node => "node",
        }
    }
}

/// Why a token was not loaded, made or understood.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// Its file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It starts like a full token but is none.
    #[error("join token is not of the form K10<CA hash>::<id>.<secret> or K10<CA hash>::<server|node>:<secret>")]
    Malformed,
    /// It is empty.
    #[error("join token is empty")]
    Empty,
    /// The server's CA is not the one that the token names.
    #[error("the server's CA certificate has the hash {found}, the join token was made for {expected}")]
    OtherCluster {
        /// What the token names.
        expected: String,
        /// What the server has.
        found: String,
    },
}

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_hash: Option<String>,
    role: JoinRole,
    secret: String,
    /// The same as `secret`, where that is no secret of the server itself.
    bootstrap: Option<BootstrapToken>,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("ca_hash", &self.ca_hash).field("role", &self.role).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// The token kept in a file; if there is none, one with `given` or else a random secret is made and written there.
    /// It names the first certificate of `ca_pem`, which issues now.
    ///
    /// A `given` token (the option `--token`) replaces what the file says.
    pub fn load_or_create(
        path: &Path,
        role: JoinRole,
        ca_pem: &str,
        given: Option<&str>,
        env: &Env,
    ) -> Result<Self, JoinTokenError> {
        let kept = read_if_there(path)?;
        let secret = match (given, &kept) {
            (Some(given), _) => Self::parse(given)?.secret,
            (None, Some(kept)) => Self::parse(kept)?.secret,
            (None, None) => {
                let mut secret = [0; 16];
                env.random().fill(&mut secret);
                hex::encode(secret)
            }
        };
        let token = Self { ca_hash: Some(issuing_hash(ca_pem)), role, secret, bootstrap: None };
        let line = format!("{}\n", token.reveal());
        if kept.as_deref() != Some(line.as_str()) {
            write_private(path, &line)?;
        }
        Ok(token)
    }

    /// Reads a token as a person or a file gives it.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(JoinTokenError::Empty);
        }
        let Some(rest) = text.strip_prefix("K10") else {
            return Ok(Self::of_node(None, text));
        };
        let (hash, rest) = rest.split_once("::").ok_or(JoinTokenError::Malformed)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = is_hash.then(|| hash.to_ascii_lowercase()).ok_or(JoinTokenError::Malformed)?;
        if BootstrapToken::parse(rest).is_some() {
            return Ok(Self::of_node(Some(hash), rest));
        }
        let (role, secret) = rest.split_once(':').ok_or(JoinTokenError::Malformed)?;
        let role = match role {
            "server" => JoinRole::Server,
            "node" => JoinRole::Node,
            _ => return Err(JoinTokenError::Malformed),
        };
        if secret.is_empty() {
            return Err(JoinTokenError::Malformed);
        }
        Ok(Self { ca_hash: Some(hash), role, secret: secret.to_owned(), bootstrap: None })
    }

    /// The token of a worker node that has a bootstrap token of the cluster with this CA.
    pub fn of_bootstrap(token: &BootstrapToken, ca_pem: &str) -> Self {
        Self::of_node(Some(issuing_hash(ca_pem)), &token.reveal())
    }

    fn of_node(ca_hash: Option<String>, secret: &str) -> Self {
        let bootstrap = BootstrapToken::parse(secret);
        Self { ca_hash, role: JoinRole::Node, secret: secret.to_owned(), bootstrap }
    }

    /// The whole token with its secret, for the file, the user and the wire.
    pub fn reveal(&self) -> String {
        match &self.ca_hash {
            Some(hash) if self.bootstrap.is_some() => format!("K10{hash}::{}", self.secret),
            Some(hash) => format!("K10{hash}::{}:{}", self.role.as_str(), self.secret),
            None => self.secret.clone(),
        }
    }

    /// The part that a server knows it by, for the wire.
    pub fn bearer(&self) -> &str {
        &self.secret
    }

    /// The bootstrap token that it is made of, unless it is of the server's own secret.
    pub fn bootstrap(&self) -> Option<&BootstrapToken> {
        self.bootstrap.as_ref()
    }

    /// Whether it says which CA to expect.
    pub fn names_ca(&self) -> bool {
        self.ca_hash.is_some()
    }

    /// Whether a bearer presents this token: the whole of it, as it is now or as it was under an earlier authority, or
    /// its secret.
    pub fn accepts(&self, presented: &str) -> bool {
        let secret = Self::parse(presented).map(|token| token.secret).unwrap_or_default();
        // Digests are compared, so that the time taken says nothing about how much was right.
        Sha256::digest(secret) == Sha256::digest(&self.secret)
    }

    /// Of the authorities that a server shows, those that may be believed: the one that the token names, or all if it
    /// names none. The others are not, because anybody can show that one beside their own.
    pub fn check_ca(&self, ca_pem: &str) -> Result<String, JoinTokenError> {
        let Some(expected) = &self.ca_hash else { return Ok(ca_pem.to_owned()) };
        let found = issuing_hash(ca_pem);
        let named = certificates(ca_pem).into_iter().find(|certificate| ca_hash(certificate) == *expected);
        named.ok_or_else(|| JoinTokenError::OtherCluster { expected: expected.clone(), found })
    }
}

/// The certificates of a PEM text, the text of each.
fn certificates(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let texts = pem.split_inclusive(END).map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| format!("{text}\n")).collect()
}

/// The hash of the first certificate, which issues now.
fn issuing_hash(ca_pem: &str) -> String {
    certificates(ca_pem).first().map(|issuing| ca_hash(issuing)).unwrap_or_default()
}

fn ca_hash(ca_pem: &str) -> String {
    hex::encode(Sha256::digest(ca_pem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(text: &str, expected: Result<(JoinRole, &str), &str>) {
        match (JoinToken::parse(text), expected) {
            (Ok(token), Ok((role, secret))) => assert_eq!((token.role, token.secret.as_str()), (role, secret)),
            (Err(err), Err(text)) => assert!(err.to_string().contains(text), "{err}"),
            (result, expected) => panic!("{result:?} is not {expected:?}"),
        }
    }

    #[test]
    fn tokens_are_read_in_both_forms() {
        let hash = "ab".repeat(32);
        check_parse("  secret\n", Ok((JoinRole::Node, "secret")));
        check_parse(&format!("K10{hash}::server:s3:cret"), Ok((JoinRole::Server, "s3:cret")));
        check_parse(&format!("K10{hash}::node:x"), Ok((JoinRole::Node, "x")));
        check_parse(&format!("K10{hash}::king:x"), Err("not of the form"));
        check_parse("abcdef.0123456789abcdef", Ok((JoinRole::Node, "abcdef.0123456789abcdef")));
        check_parse(&format!("K10{hash}::abcdef.0123456789abcdef"), Ok((JoinRole::Node, "abcdef.0123456789abcdef")));
        check_parse(&format!("K10{hash}::abcdef.0123"), Err("not of the form"));
        check_parse("K10abc::node:x", Err("not of the form"));
        check_parse("K10", Err("not of the form"));
        check_parse(" ", Err("empty"));
    }

    #[test]
    fn a_bootstrap_token_is_told_with_the_hash_and_shown_without() {
        let bootstrap = BootstrapToken::parse("abcdef.0123456789abcdef").expect("a token");
        let token = JoinToken::of_bootstrap(&bootstrap, "ca");
        let parsed = JoinToken::parse(&token.reveal()).expect("its own form");
        assert_eq!((&parsed, parsed.bootstrap()), (&token, Some(&bootstrap)));
        assert_eq!(parsed.bearer(), "abcdef.0123456789abcdef");
        assert!(parsed.names_ca() && parsed.check_ca("ca").is_ok() && parsed.check_ca("another").is_err());
    }

    #[test]
    fn a_made_token_is_kept_and_knows_its_cluster() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        let env = Env::system();
        let pem = |name: &str| format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n");
        let (ca, next) = (pem("ca"), pem("next"));
        let load = |given| JoinToken::load_or_create(&path, JoinRole::Server, &ca, given, &env).expect("made");
        let token = load(None);
        assert_eq!(load(None), token);
        assert!(token.accepts(&token.reveal()) && token.accepts(&token.secret));
        assert!(!token.accepts("") && !token.accepts("other"));
        assert_eq!(token.check_ca(&ca).expect("its own"), ca);
        assert!(matches!(token.check_ca(&next), Err(JoinTokenError::OtherCluster { .. })));
        assert_eq!(
            token.check_ca(&format!("{next}{ca}")).expect("its own is there"),
            ca,
            "and nobody else is believed"
        );

        let bundle = format!("{next}{ca}");
        let followed = JoinToken::load_or_create(&path, JoinRole::Server, &bundle, None, &env).expect("made");
        assert_eq!(followed.check_ca(&bundle).expect("the successor"), next);
        assert!(followed.accepts(&token.reveal()), "a token that was handed out before is still good");

        assert!(load(Some("mine")).accepts("mine"));
        assert!(load(None).accepts("mine"), "a given token is kept");
        assert!(!format!("{token:?}").contains(&token.secret), "no secrets in logs");
    }
}
