//! The keys that pods get certificates for, each with the proof that whoever asks for the certificate has the key: it
//! has signed the pod's UID.

use p384::ecdsa::signature::hazmat::PrehashSigner;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PSS_SHA256, RsaKeyPair,
};
use rsa::pkcs8::EncodePrivateKey;
use sha2::{Digest, Sha256};

use crate::der;
use crate::random::SystemRng;

/// A new key of a pod.
pub struct PodKey {
    /// The private key, PKCS #8, PEM.
    pub pem: String,
    /// The public key with its algorithm (SubjectPublicKeyInfo), DER.
    pub public: Vec<u8>,
    /// The signature of the pod's UID: by RSA PSS and ECDSA over its SHA-256 digest, by Ed25519 over itself.
    pub proof: Vec<u8>,
}

impl std::fmt::Debug for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A key that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodKeyError {
    /// There are no keys of the type.
    #[error("unknown key type {0:?}")]
    Type(String),
    /// The library could not make it, or not sign with it.
    #[error("cannot make a key of type {key_type}: {reason}")]
    Generate {
        /// The key's type.
        key_type: String,
        /// What the library said.
        reason: String,
    },
}

/// Why a library refused.
type Reason = String;

impl PodKey {
    /// A new key, of a type as `podCertificate` volume sources name them. RSA keys take seconds.
    pub fn generate(key_type: &str, pod_uid: &str) -> Result<Self, PodKeyError> {
        let message = pod_uid.as_bytes();
        let made = match key_type {
            "RSA3072" => rsa(3072, message),
            "RSA4096" => rsa(4096, message),
            "ECDSAP256" => p256(message),
            "ECDSAP384" => p384(message),
            "ECDSAP521" => p521(message),
            "ED25519" => ed25519(message),
            _ => return Err(PodKeyError::Type(key_type.to_owned())),
        };
        made.map_err(|reason| PodKeyError::Generate { key_type: key_type.to_owned(), reason })
    }

    fn new(private: &[u8], public: Vec<u8>, proof: Vec<u8>) -> Self {
        Self { pem: der::pem("PRIVATE KEY", private), public, proof }
    }
}

fn rsa(bits: usize, message: &[u8]) -> Result<PodKey, Reason> {
    let random = SystemRandom::new();
    let key = rsa::PrivateKey::new(&mut SystemRng::new(), bits).map_err(|err| err.to_string())?;
    let private = key.to_pkcs8_der().map_err(|err| err.to_string())?;
    let pair = RsaKeyPair::from_pkcs8(private.as_bytes()).map_err(|err| err.to_string())?;
    let mut proof = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PSS_SHA256, &random, message, &mut proof).map_err(|err| err.to_string())?;
    let public = der::public_key_info(der::RSA, pair.public().as_ref());
    Ok(PodKey::new(private.as_bytes(), public, proof))
}

fn p256(message: &[u8]) -> Result<PodKey, Reason> {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|err| err.to_string())?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).map_err(|err| err.to_string())?;
    let proof = pair.sign(&random, message).map_err(|err| err.to_string())?;
    let public = der::public_key_info(der::P256, pair.public_key().as_ref());
    Ok(PodKey::new(private.as_ref(), public, proof.as_ref().to_vec()))
}

/// `ring` signs with this curve and SHA-384 only.
fn p384(message: &[u8]) -> Result<PodKey, Reason> {
    use p384::ecdsa::{DerSignature, SigningKey};
    let key = scalar::<48, _>(0xff, |bytes| SigningKey::from_slice(bytes).ok())?;
    let proof: DerSignature = key.sign_prehash(&Sha256::digest(message)).map_err(|err| err.to_string())?;
    let point = key.verifying_key().to_sec1_point(false);
    Ok(on_curve(der::P384, &key.to_bytes(), point.as_bytes(), proof.as_bytes()))
}

/// `ring` has not this curve.
fn p521(message: &[u8]) -> Result<PodKey, Reason> {
    use p521::ecdsa::{DerSignature, SigningKey};
    let key = scalar::<66, _>(0x01, |bytes| SigningKey::from_slice(bytes).ok())?;
    let proof: DerSignature = key.sign_prehash(&Sha256::digest(message)).map_err(|err| err.to_string())?;
    let point = key.verifying_key().to_sec1_point(false);
    Ok(on_curve(der::P521, &key.to_bytes(), point.as_bytes(), proof.as_bytes()))
}

/// A random number that is a key. `first` masks the first byte: numbers of so many bytes may be far beyond the curve.
fn scalar<const SIZE: usize, K>(first: u8, key: impl Fn(&[u8]) -> Option<K>) -> Result<K, Reason> {
    let random = SystemRandom::new();
    loop {
        let mut bytes = [0; SIZE];
        random.fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
        bytes[0] &= first;
        // All but very few numbers are below the curve's order.
        if let Some(key) = key(&bytes) {
            return Ok(key);
        }
    }
}

fn on_curve(curve: &[u8], private: &[u8], point: &[u8], proof: &[u8]) -> PodKey {
    let private = der::pkcs8(curve, &der::ec_private_key(private, point));
    PodKey::new(&private, der::public_key_info(curve, point), proof.to_vec())
}

/// `ring` writes such keys with their public half, which older readers of PKCS #8 refuse.
fn ed25519(message: &[u8]) -> Result<PodKey, Reason> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| "the system has no random numbers".to_owned())?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|err| err.to_string())?;
    let private = der::pkcs8(der::ED25519, &der::octet_string(&seed));
    let public = der::public_key_info(der::ED25519, pair.public_key().as_ref());
    Ok(PodKey::new(&private, public, pair.sign(message).as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_no_known_type_is_refused() {
        let refused = PodKey::generate("DSA", "u").expect_err("there is none");
        assert_eq!(refused.to_string(), "unknown key type \"DSA\"");
    }

    /// What the API server takes is tested beside its check of proofs; this is about who reads the private key.
    #[test]
    fn the_private_key_is_that_of_the_public_one() {
        for key_type in ["ECDSAP256", "ECDSAP384", "ED25519"] {
            let key = PodKey::generate(key_type, "uid").expect("made");
            let read = rcgen::KeyPair::from_pem(&key.pem).expect("it is PKCS #8");
            assert_eq!(rcgen::PublicKeyData::subject_public_key_info(&read), key.public, "{key_type}");
        }
    }
}
