//! Private keys: RSA, P-256 and P-384, in the forms that `openssl` and kubeadm write.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::Serialize;
use serde_json::json;

use super::PublicKey;
use crate::der;
use crate::file::{FileError, read_if_there, write_private};
use crate::random::SystemRng;

/// Why a signing key could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Its file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such file.
    #[error("there is no key {}", .0.display())]
    None(PathBuf),
    /// The file holds no key of a kind that signs tokens.
    #[error("{} is no RSA (2048 bits and more), P-256 or P-384 private key: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A file of public keys holds something else.
    #[error("{}: {source}", path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: super::KeyError,
    },
    /// No key could be generated.
    #[error("cannot make a key: {0}")]
    Generate(String),
}

enum Private {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

/// A key that signs tokens.
pub struct SigningKey {
    private: Private,
    public: PublicKey,
    random: SystemRandom,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.public.key_id()).finish_non_exhaustive()
    }
}

/// The size of keys that are made here, in bits: kubeadm's.
const RSA_BITS: usize = 2048;

impl SigningKey {
    /// The key in a file, which must be there.
    pub fn load(path: &Path) -> Result<Self, SigningKeyError> {
        let pem = read_if_there(path)?.ok_or_else(|| SigningKeyError::None(path.to_owned()))?;
        Self::from_pem(&pem).map_err(|reason| SigningKeyError::Malformed { path: path.to_owned(), reason })
    }

    /// The key in a file; if there is none, an RSA key is made, which every verifier of tokens understands.
    pub fn load_or_create(path: &Path) -> Result<Self, SigningKeyError> {
        if read_if_there(path)?.is_none() {
            write_private(path, &Self::generate_pem()?)?;
        }
        Self::load(path)
    }

    /// A new RSA key (PKCS #8, PEM).
    pub fn generate_pem() -> Result<String, SigningKeyError> {
        let failed = |err: &dyn std::fmt::Display| SigningKeyError::Generate(err.to_string());
        // `ring` signs with RSA keys and cannot make them.
        let key = rsa::PrivateKey::new(&mut SystemRng::new(), RSA_BITS).map_err(|err| failed(&err))?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|err| failed(&err))?;
        Ok(pem.to_string())
    }

    fn from_pem(pem: &str) -> Result<Self, String> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
            let (kind, content) = section.map_err(|err| err.to_string())?;
            if matches!(kind, SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey | SectionKind::PrivateKey) {
                return Self::from_section(kind, &content);
            }
        }
        Err("no private key in it".to_owned())
    }

    /// A key out of a section of a PEM text.
    pub(super) fn from_section(kind: SectionKind, content: &[u8]) -> Result<Self, String> {
        let random = SystemRandom::new();
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm, identifier: &[u8]| {
            let wrapped = match kind {
                SectionKind::EcPrivateKey => der::pkcs8(identifier, content),
                _ => content.to_vec(),
            };
            EcdsaKeyPair::from_pkcs8(algorithm, &wrapped, &random).map(|pair| {
                let info = der::public_key_info(identifier, pair.public_key().as_ref());
                (Private::Ecdsa(Box::new(pair)), info)
            })
        };
        let rsa = |pair: RsaKeyPair| {
            let info = der::public_key_info(der::RSA, pair.public_key().as_ref());
            (Private::Rsa(Box::new(pair)), info)
        };
        let (private, info) = match kind {
            SectionKind::RsaPrivateKey => RsaKeyPair::from_der(content).map(rsa),
            SectionKind::EcPrivateKey => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, der::P256)
                .or_else(|_| ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, der::P384)),
            _ => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, der::P256)
                .or_else(|_| ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, der::P384))
                .or_else(|_| RsaKeyPair::from_pkcs8(content).map(rsa)),
        }
        .map_err(|err| err.to_string())?;
        let public = PublicKey::from_info(&info).map_err(|err| err.to_string())?;
        Ok(Self { private, public, random })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &impl Serialize) -> String {
        let encode = |value: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(value);
        let header = json!({"alg": self.public.algorithm().to_string(), "kid": self.public.key_id()}).to_string();
        let claims = serde_json::to_vec(claims).expect("claims are strings and numbers");
        let message = format!("{}.{}", encode(header.as_bytes()), encode(&claims));
        let signature = match &self.private {
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &self.random, message.as_bytes(), &mut signature)
                    .expect("the buffer has the key's length");
                signature
            }
            Private::Ecdsa(key) => {
                let signature = key.sign(&self.random, message.as_bytes()).expect("the system has random numbers");
                signature.as_ref().to_vec()
            }
        };
        format!("{message}.{}", encode(&signature))
    }
}
