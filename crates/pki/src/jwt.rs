//! Signed JSON web tokens (RFC 7519) and the keys behind them, over `ring`; signatures on P-521, which that has not, are
//! checked over `p521`.
//!
//! Only public-key algorithms exist here: a token cannot choose `none` or turn a public key into a shared secret.

mod public;
mod signing;

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use public::{KeyError, PublicKey};
pub use signing::{SigningKey, SigningKeyError};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
}

/// Every algorithm with its name.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("ES512", Algorithm::Es512),
];

/// A name that stands for no algorithm known here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a signing algorithm that is supported")]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let found = ALGORITHMS.iter().find(|(name, _)| *name == text);
        found.map(|(_, algorithm)| *algorithm).ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = ALGORITHMS.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

/// A token that was taken apart and not judged.
pub struct Token<'a> {
    /// How it says that it is signed.
    pub algorithm: Algorithm,
    /// Which key it says it is signed with; may be empty.
    pub key_id: String,
    message: &'a str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    /// What must be understood for the token to be understood; nothing of it is here.
    #[serde(default)]
    crit: Vec<String>,
}

/// Takes a token apart; `None` if it is no JWT, or one signed in a way that is not known here.
pub fn parse(token: &str) -> Option<Token<'_>> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    if !header.crit.is_empty() {
        return None;
    }
    let algorithm = header.alg.parse().ok()?;
    Some(Token { algorithm, key_id: header.kid, message, claims: decode(claims)?, signature: decode(signature)? })
}

impl Token<'_> {
    /// The claims, whether or not the signature is good.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.claims)
    }

    /// Whether one of the keys made the signature. With a key's identifier in its head, only keys of that identifier
    /// are tried.
    pub fn is_signed_by<'k>(&self, keys: impl IntoIterator<Item = &'k PublicKey>) -> bool {
        keys.into_iter().any(|key| {
            let is_meant = self.key_id.is_empty() || key.key_id().is_empty() || key.key_id() == self.key_id;
            is_meant && key.verify(self.algorithm, self.message.as_bytes(), &self.signature)
        })
    }
}
