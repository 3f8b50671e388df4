//! Public keys: out of PEM files and JSON web key sets.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{Signature, VerifyingKey};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Algorithm, SigningKey};
use crate::der;

/// Why a key is not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM.
    #[error("not PEM: {0}")]
    Pem(String),
    /// There is no key in it.
    #[error("holds no RSA, P-256, P-384 or P-521 key")]
    None,
    /// A part of it is not what it says.
    #[error("holds a key that cannot be read: {0}")]
    Malformed(String),
}

/// The numbers of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Numbers {
    /// Modulus and exponent, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Points of P-256, P-384 and P-521: 4, x, y.
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
}

/// A key that checks signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    numbers: Numbers,
    key_id: String,
}

impl PublicKey {
    /// The keys in a PEM text: public keys, certificates and the public halves of private keys.
    pub fn from_pem(pem: &str) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
            let (kind, content) = section.map_err(|err| KeyError::Pem(err.to_string()))?;
            let malformed = |err: String| KeyError::Malformed(err);
            match kind {
                SectionKind::PublicKey => keys.push(Self::from_info(&content)?),
                SectionKind::Certificate => {
                    let (_, certificate) =
                        X509Certificate::from_der(&content).map_err(|err| malformed(err.to_string()))?;
                    keys.push(Self::from_info(certificate.public_key().raw)?);
                }
                SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey | SectionKind::PrivateKey => {
                    let key = SigningKey::from_section(kind, &content).map_err(malformed)?;
                    keys.push(key.public().clone());
                }
                _ => {}
            }
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(keys) }
    }

    /// A key out of its SubjectPublicKeyInfo. Its identifier is upstream's: the SHA-256 hash of that.
    pub(super) fn from_info(info: &[u8]) -> Result<Self, KeyError> {
        let malformed = |err: String| KeyError::Malformed(err);
        let (_, parsed) = SubjectPublicKeyInfo::from_der(info).map_err(|err| malformed(err.to_string()))?;
        let key = parsed.parsed().map_err(|err| malformed(err.to_string()))?;
        let numbers = match key {
            Parsed::RSA(rsa) => Numbers::Rsa {
                modulus: der::without_zeros(rsa.modulus).to_vec(),
                exponent: der::without_zeros(rsa.exponent).to_vec(),
            },
            Parsed::EC(point) if point.data().len() == 65 => Numbers::P256(point.data().to_vec()),
            Parsed::EC(point) if point.data().len() == 97 => Numbers::P384(point.data().to_vec()),
            Parsed::EC(point) if point.data().len() == 133 => Numbers::P521(point.data().to_vec()),
            _ => return Err(KeyError::None),
        };
        let key_id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(info));
        Ok(Self { numbers, key_id })
    }

    /// A key of a JSON web key set (RFC 7517); `None` for one that is not for signatures or of a kind not known here.
    pub fn from_jwk(key: &Value) -> Option<Self> {
        let text = |field: &str| key.get(field).and_then(Value::as_str);
        if text("use").is_some_and(|r#use| r#use != "sig") {
            return None;
        }
        let number = |field: &str| BASE64_URL_SAFE_NO_PAD.decode(text(field)?.trim_end_matches('=')).ok();
        let point = |size: usize| {
            let (x, y) = (number("x")?, number("y")?);
            (x.len() == size && y.len() == size).then(|| [&[4], x.as_slice(), &y].concat())
        };
        let numbers = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (modulus, exponent) = (number("n")?, number("e")?);
                Numbers::Rsa {
                    modulus: der::without_zeros(&modulus).to_vec(),
                    exponent: der::without_zeros(&exponent).to_vec(),
                }
            }
            ("EC", Some("P-256")) => Numbers::P256(point(32)?),
            ("EC", Some("P-384")) => Numbers::P384(point(48)?),
            ("EC", Some("P-521")) => Numbers::P521(point(66)?),
            _ => return None,
        };
        Some(Self { numbers, key_id: text("kid").unwrap_or_default().to_owned() })
    }

    /// The key as a member of a JSON web key set.
    pub fn to_jwk(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let algorithm = self.algorithm().to_string();
        let curve = |name: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({
                "use": "sig", "kty": "EC", "kid": self.key_id, "crv": name, "alg": algorithm,
                "x": encode(x), "y": encode(y),
            })
        };
        match &self.numbers {
            Numbers::Rsa { modulus, exponent } => json!({
                "use": "sig", "kty": "RSA", "kid": self.key_id, "alg": algorithm,
                "n": encode(modulus), "e": encode(exponent),
            }),
            Numbers::P256(point) => curve("P-256", point),
            Numbers::P384(point) => curve("P-384", point),
            Numbers::P521(point) => curve("P-521", point),
        }
    }

    /// Its identifier; may be empty.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// With which algorithm this cluster signs with a key of this kind.
    pub fn algorithm(&self) -> Algorithm {
        match self.numbers {
            Numbers::Rsa { .. } => Algorithm::Rs256,
            Numbers::P256(_) => Algorithm::Es256,
            Numbers::P384(_) => Algorithm::Es384,
            Numbers::P521(_) => Algorithm::Es512,
        }
    }

    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let rsa = |parameters: &'static signature::RsaParameters| match &self.numbers {
            Numbers::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature).is_ok()
            }
            Numbers::P256(_) | Numbers::P384(_) | Numbers::P521(_) => false,
        };
        let point = |parameters: &'static signature::EcdsaVerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(parameters, point).verify(message, signature).is_ok()
        };
        match (algorithm, &self.numbers) {
            (Algorithm::Rs256, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::Rs384, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::Rs512, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::Ps256, _) => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (Algorithm::Ps384, _) => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (Algorithm::Ps512, _) => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (Algorithm::Es256, Numbers::P256(key)) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Algorithm::Es384, Numbers::P384(key)) => point(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Algorithm::Es512, Numbers::P521(key)) => is_by_p521(key, message, signature),
            (Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512, _) => false,
        }
    }
}

fn is_by_p521(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(point), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify(message, &signature).is_ok()
}
