//! The key that signs service account tokens, and the tokens themselves (JWT, ES256).

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::file::{FileError, read_if_there, write_private};

/// Why the signing key could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountKeyError {
    /// Its file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no EC P-256 key.
    #[error("{} is not an EC P-256 private key: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// No key could be generated.
    #[error("cannot make a service account key: {0}")]
    Generate(rcgen::Error),
}

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is no JWT at all; it may be a token of another kind.
    #[error("not a json web token")]
    NotAToken,
    /// It is not signed by this key.
    #[error("not signed by this cluster's service account key")]
    Signature,
    /// Its claims are not those of a service account token.
    #[error("claims are not those of a service account token")]
    Claims,
    /// Its time has not come.
    #[error("not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("expired")]
    Expired,
}

/// The claims of a service account token, as upstream writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom the token is for.
    pub aud: Vec<String>,
    /// When it ends, in seconds of Unix time.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// Who issued it.
    pub iss: String,
    /// Its identifier.
    pub jti: String,
    /// The account and what the token is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// From when it is valid.
    pub nbf: i64,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

/// The private claims of a service account token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The account's namespace.
    pub namespace: String,
    /// The node of the pod that the token is bound to, or the node that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
    /// The pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The account.
    pub serviceaccount: BoundObject,
    /// After when use of the token is worth a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object named in a token: the token is void when no object has both this name and this UID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

const ALGORITHM: &str = "ES256";

/// The key pair behind service account tokens.
pub struct ServiceAccountKey {
    signing: EcdsaKeyPair,
    public: Vec<u8>,
    public_pem: String,
    key_id: String,
    random: SystemRandom,
}

impl std::fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl ServiceAccountKey {
    /// The key in a file (PKCS #8, PEM), made if there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, ServiceAccountKeyError> {
        let malformed = |reason: String| ServiceAccountKeyError::Malformed { path: path.to_owned(), reason };
        let key = match read_if_there(path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|err| malformed(err.to_string()))?,
            None => {
                let key = KeyPair::generate().map_err(ServiceAccountKeyError::Generate)?;
                write_private(path, &key.serialize_pem())?;
                key
            }
        };
        let random = SystemRandom::new();
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der(), &random)
            .map_err(|err| malformed(err.to_string()))?;
        Ok(Self {
            signing,
            public: key.public_key_raw().to_vec(),
            public_pem: key.public_key_pem(),
            key_id: BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info())),
            random,
        })
    }

    /// The public half, PEM.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The public half as a JSON web key set (RFC 7517), for `/openid/v1/jwks`.
    pub fn json_web_keys(&self) -> serde_json::Value {
        // An uncompressed point: 4, x, y.
        let (x, y) = self.public[1..].split_at(32);
        serde_json::json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": ALGORITHM,
            "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> String {
        let encode = |value: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(value);
        let header = Header { alg: ALGORITHM.to_owned(), kid: self.key_id.clone() };
        let header = serde_json::to_vec(&header).expect("two strings are JSON");
        let claims = serde_json::to_vec(claims).expect("strings and numbers are JSON");
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signing.sign(&self.random, message.as_bytes()).expect("the system has random numbers");
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// Checks signature and times. Issuer, audience and the bound objects are the caller's to check.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, VerifyError> {
        let (message, signature) = token.rsplit_once('.').ok_or(VerifyError::NotAToken)?;
        let (header, claims) = message.split_once('.').ok_or(VerifyError::NotAToken)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::NotAToken);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| VerifyError::NotAToken)?;
        if header.alg != ALGORITHM {
            return Err(VerifyError::Signature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
            .verify(message.as_bytes(), &decode(signature)?)
            .map_err(|_| VerifyError::Signature)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| VerifyError::Claims)?;
        if claims.nbf > now.as_second() {
            return Err(VerifyError::NotYetValid);
        }
        if claims.exp <= now.as_second() {
            return Err(VerifyError::Expired);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let bound = |name: &str| BoundObject { name: name.to_owned(), uid: Some("u".to_owned()) };
        Claims {
            aud: vec!["api".to_owned()],
            exp: 200,
            iat: 100,
            iss: "https://kubernetes.default.svc".to_owned(),
            jti: "id".to_owned(),
            kubernetes: KubernetesClaims {
                namespace: "ns".to_owned(),
                node: None,
                pod: Some(bound("p")),
                secret: None,
                serviceaccount: bound("default"),
                warnafter: None,
            },
            nbf: 100,
            sub: "system:serviceaccount:ns:default".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    #[test]
    fn tokens_are_good_for_their_time_and_their_key_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sa.key");
        let key = ServiceAccountKey::load_or_create(&path).expect("made");
        let token = key.sign(&claims());
        let again = ServiceAccountKey::load_or_create(&path).expect("loaded");
        assert_eq!(again.verify(&token, at(150)), Ok(claims()));
        assert_eq!(again.verify(&token, at(99)), Err(VerifyError::NotYetValid));
        assert_eq!(again.verify(&token, at(200)), Err(VerifyError::Expired));

        let other = ServiceAccountKey::load_or_create(&dir.path().join("other.key")).expect("made");
        assert_eq!(other.verify(&token, at(150)), Err(VerifyError::Signature));
        let mut forged = token.clone().into_bytes();
        let middle = token.find('.').expect("a dot") + 20;
        forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("text");
        assert_eq!(key.verify(&forged, at(150)), Err(VerifyError::Signature));
        assert_eq!(key.verify("abc", at(150)), Err(VerifyError::NotAToken));
    }
}
