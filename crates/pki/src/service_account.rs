//! Service account tokens, and the keys that sign and check them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::file::read_if_there;
use crate::jwt::{self, Algorithm, PublicKey, SigningKey, SigningKeyError};

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is no JWT of this issuer; it may be a token of another kind.
    #[error("not a token of this issuer")]
    NotOurs,
    /// It is not signed by any of the keys.
    #[error("failed to verify signature")]
    Signature,
    /// Its claims are not those of a service account token.
    #[error("claims are not those of a service account token")]
    Claims,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("service account token has expired")]
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

/// Who issues tokens that are kept in secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// The claims of a token that a secret of type `kubernetes.io/service-account-token` holds: it ends with its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyClaims {
    /// [`LEGACY_ISSUER`].
    pub iss: String,
    /// The account's namespace.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// The secret that holds the token.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    /// The account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    /// The account's UID.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub account_uid: String,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

impl LegacyClaims {
    /// The claims of an account's token in a secret.
    pub fn new(namespace: &str, account: &str, account_uid: &str, secret: &str) -> Self {
        Self {
            iss: LEGACY_ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            account_uid: account_uid.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{account}"),
        }
    }
}

/// A token whose signature and times are good. Audience and the bound objects are the caller's to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedToken {
    /// One that was asked for by a TokenRequest.
    Bound(Box<Claims>),
    /// One that a secret holds.
    Legacy(LegacyClaims),
}

/// The key that signs tokens, and all keys whose signatures are good.
#[derive(Debug)]
pub struct ServiceAccountKeys {
    signing: SigningKey,
    public: Vec<PublicKey>,
}

impl ServiceAccountKeys {
    /// Tokens are signed by `signing`; signatures of it and of `others` are good. For a rotation the old key's public
    /// half is named among the others until its last token has ended.
    pub fn new(signing: SigningKey, others: Vec<PublicKey>) -> Self {
        let mut public = vec![signing.public().clone()];
        for key in others {
            if !public.contains(&key) {
                public.push(key);
            }
        }
        Self { signing, public }
    }

    /// The public keys in PEM files.
    pub fn read_public(files: &[PathBuf]) -> Result<Vec<PublicKey>, SigningKeyError> {
        let read = |path: &Path| {
            let pem = read_if_there(path)?.ok_or_else(|| SigningKeyError::None(path.to_owned()))?;
            PublicKey::from_pem(&pem).map_err(|source| SigningKeyError::Public { path: path.to_owned(), source })
        };
        Ok(files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The public keys as a JSON web key set (RFC 7517), for `/openid/v1/jwks`.
    pub fn json_web_keys(&self) -> Value {
        json!({"keys": self.public.iter().map(PublicKey::to_jwk).collect::<Vec<_>>()})
    }

    /// The algorithms that the keys sign with.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for algorithm in self.public.iter().map(PublicKey::algorithm) {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// A token that was asked for.
    pub fn sign(&self, claims: &Claims) -> String {
        self.signing.sign(claims)
    }

    /// A token for a secret.
    pub fn sign_legacy(&self, claims: &LegacyClaims) -> String {
        self.signing.sign(claims)
    }

    /// Checks issuer, signature and times.
    pub fn verify(&self, token: &str, issuers: &[String], now: Timestamp) -> Result<VerifiedToken, VerifyError> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        let token = jwt::parse(token).ok_or(VerifyError::NotOurs)?;
        let Issuer { iss } = token.claims().map_err(|_| VerifyError::NotOurs)?;
        let is_legacy = iss == LEGACY_ISSUER;
        if !is_legacy && !issuers.contains(&iss) {
            return Err(VerifyError::NotOurs);
        }
        if !token.is_signed_by(&self.public) {
            return Err(VerifyError::Signature);
        }
        if is_legacy {
            return token.claims().map(VerifiedToken::Legacy).map_err(|_| VerifyError::Claims);
        }
        let claims: Claims = token.claims().map_err(|_| VerifyError::Claims)?;
        if claims.nbf > now.as_second() {
            return Err(VerifyError::NotYetValid);
        }
        if claims.exp <= now.as_second() {
            return Err(VerifyError::Expired);
        }
        Ok(VerifiedToken::Bound(Box::new(claims)))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    const ISSUER: &str = "https://kubernetes.default.svc";

    /// Keys as `openssl` writes them: P-256 (SEC 1), P-384 (PKCS #8), and the public half of P-521.
    const P256: &str = "-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIMDdDFHS7om4/2zxKQphvM7yY3Baj1CLhDRx0i8YQMCAoAoGCCqGSM49
AwEHoUQDQgAECKe7xqo8xYxrLd2I3f7jfLpjCNIWrNRYsrL5e3YNLHBwgS2iNv+I
8YHKNusC8nMGwof2/sogWt/CXUtZz74lqg==
-----END EC PRIVATE KEY-----
";
    const P384: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBO7CWmAQ7K6LGmWTdS
acJUH5R9OCP3KYssqo5QYtc+xs/wMzPjtl1fGIpid7cxQiChZANiAASYbsOd2RnJ
GUAlA6QDp+330QPWHQYiz1uMQ5oWdFP4hWI1ars89YfvjPLCxsHj4UrfFHJ4ZL78
KkUKZnqZh+qvXeuI9U8rTDvZPj/5faJNFh25IvVvoGMoegyhmDRTOAU=
-----END PRIVATE KEY-----
";

    const P521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAD2QscFJyjMZtxzEdhvMOUan1OXOL
tqt9wmh67UjsjxvXhN0VlTdsRMfm8xMrKZmqRB2JncsI5Hwi2F4M6vTwRs4AS5A8
86ydBIIui6rpuTy/9vFCniM0xMORTAe2n1bD6BTiCB23JNhf4YqOzkgZ8Do6Y5f8
7hhXyPchF7rxaiEV0bU=
-----END PUBLIC KEY-----
";
    /// What `openssl` has signed with it.
    const SIGNED: &str = "eyJhbGciOiAiRVM1MTIifQ.eyJzdWIiOiJqYW5lIn0.ABE9Nrd4ILWEh2IYV22HsRWVtIqD3h6ai0OCcvxqS9VpWhn4lWDGNCv0Cre-\
        P2Vq6HAKjQeo_fMeyIs10dz57-JkARxoTa6jIz-6hd7jKa6ZAp3h-0fnk8FAa6bqWNZPVFRg9D8IGxIe7_YCrxDq2ykLL4GZa8diJPUZpvA-IjVTj\
        J3q";

    #[test]
    fn what_others_sign_on_p521_is_checked() {
        let key = PublicKey::from_pem(P521).expect("a key").remove(0);
        let shown = PublicKey::from_jwk(&key.to_jwk()).expect("a key for signatures");
        assert_eq!(shown, key);
        let signed = crate::jwt::parse(SIGNED).expect("a token");
        assert!(signed.algorithm == Algorithm::Es512 && signed.is_signed_by([&shown]));
        let forged = SIGNED.replace("eyJzdWIiOiJqYW5lIn0", "eyJzdWIiOiJKYW5lIn0");
        assert!(!crate::jwt::parse(&forged).expect("a token").is_signed_by([&shown]));
    }

    fn claims() -> Claims {
        let bound = |name: &str| BoundObject { name: name.to_owned(), uid: Some("u".to_owned()) };
        Claims {
            aud: vec!["api".to_owned()],
            exp: 200,
            iat: 100,
            iss: ISSUER.to_owned(),
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

    fn key(dir: &tempfile::TempDir, name: &str, pem: Option<&str>) -> SigningKey {
        let path = dir.path().join(name);
        if let Some(pem) = pem {
            crate::write_private(&path, pem).expect("written");
        }
        SigningKey::load_or_create(&path).expect("a key")
    }

    #[track_caller]
    fn check(keys: &ServiceAccountKeys, token: &str, second: i64, expected: Result<(), VerifyError>) {
        let at = Timestamp::from_second(second).expect("a time");
        let expected = expected.map(|()| VerifiedToken::Bound(Box::new(claims())));
        assert_eq!(keys.verify(token, &[ISSUER.to_owned()], at), expected);
    }

    #[test]
    fn tokens_are_good_for_their_time_their_issuer_and_their_key_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let alone = |name: &str, pem: Option<&str>| ServiceAccountKeys::new(key(&dir, name, pem), Vec::new());
        let made = alone("made", None);
        for (name, pem, algorithm) in [
            ("made", None, Algorithm::Rs256),
            ("p256", Some(P256), Algorithm::Es256),
            ("p384", Some(P384), Algorithm::Es384),
        ] {
            let keys = alone(name, pem);
            assert_eq!(keys.algorithms(), [algorithm]);
            let token = keys.sign(&claims());
            let again = ServiceAccountKeys::new(SigningKey::load(&dir.path().join(name)).expect("kept"), Vec::new());
            check(&again, &token, 150, Ok(()));
            check(&again, &token, 99, Err(VerifyError::NotYetValid));
            check(&again, &token, 200, Err(VerifyError::Expired));
            let mut forged = token.clone().into_bytes();
            let middle = token.find('.').expect("a dot") + 20;
            forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
            let forged =
                keys.verify(std::str::from_utf8(&forged).expect("text"), &[ISSUER.to_owned()], Timestamp::UNIX_EPOCH);
            assert!(matches!(forged, Err(VerifyError::Signature | VerifyError::NotOurs)), "{forged:?}");
            if algorithm != Algorithm::Rs256 {
                check(&made, &token, 150, Err(VerifyError::Signature));
            }
            assert_eq!(
                keys.verify(&token, &["https://other".to_owned()], Timestamp::UNIX_EPOCH),
                Err(VerifyError::NotOurs)
            );
        }
        check(&made, "abc", 150, Err(VerifyError::NotOurs));
    }

    #[test]
    fn a_head_chooses_no_weaker_algorithm() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = ServiceAccountKeys::new(key(&dir, "made", None), Vec::new());
        let token = keys.sign(&claims());
        let body = token.split('.').nth(1).expect("claims");
        for alg in ["none", "HS256", "ES256"] {
            let head = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
            let refused = keys.verify(&format!("{head}.{body}."), &[ISSUER.to_owned()], Timestamp::UNIX_EPOCH);
            assert!(matches!(refused, Err(VerifyError::Signature | VerifyError::NotOurs)), "{alg} {refused:?}");
        }
    }

    #[test]
    fn a_rotated_key_is_still_believed_and_published() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = ServiceAccountKeys::new(key(&dir, "old", Some(P256)), Vec::new());
        let public = ServiceAccountKeys::read_public(&[dir.path().join("old")]).expect("its public half");
        let new = ServiceAccountKeys::new(key(&dir, "new", None), public);
        check(&new, &old.sign(&claims()), 150, Ok(()));
        check(&new, &new.sign(&claims()), 150, Ok(()));
        let published = new.json_web_keys();
        let published = published["keys"].as_array().expect("keys");
        assert_eq!(published.iter().map(|key| &key["kty"]).collect::<Vec<_>>(), ["RSA", "EC"]);
        let read: Vec<_> = published.iter().filter_map(PublicKey::from_jwk).collect();
        assert!(jwt::parse(&old.sign(&claims())).expect("a token").is_signed_by(&read));
        assert_eq!(published[1], old.json_web_keys()["keys"][0]);
    }

    #[test]
    fn tokens_of_secrets_have_an_issuer_of_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = ServiceAccountKeys::new(key(&dir, "p384", Some(P384)), Vec::new());
        let claims = LegacyClaims::new("ns", "default", "u", "default-token");
        let verified = keys.verify(&keys.sign_legacy(&claims), &[], Timestamp::UNIX_EPOCH);
        assert_eq!(verified, Ok(VerifiedToken::Legacy(claims)));
    }
}
