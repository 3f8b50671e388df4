//! The key that a pod asks a certificate for, and the proof that whoever asks has it: it has signed the pod's UID.

use k8s_openapi::ByteString;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use p521::ecdsa::{DerSignature, VerifyingKey};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::field::{FieldError, Path};
use crate::validation::check;

const MAX_KEY: usize = 10 * 1024;
const MAX_PROOF: usize = 10 * 1024;

const ED25519: &str = "1.3.101.112";

/// What checks a signature.
enum Verifier {
    Ring(&'static dyn VerificationAlgorithm),
    /// ECDSA on P-521 with SHA-256, of which `ring` has nothing.
    P521,
}

impl Verifier {
    fn is_signed(&self, key: &[u8], message: &[u8], proof: &[u8]) -> bool {
        match self {
            Self::Ring(algorithm) => UnparsedPublicKey::new(*algorithm, key).verify(message, proof).is_ok(),
            Self::P521 => {
                let (Ok(key), Ok(proof)) = (VerifyingKey::from_sec1_bytes(key), DerSignature::try_from(proof)) else {
                    return false;
                };
                key.verify_prehash(&Sha256::digest(message), &proof).is_ok()
            }
        }
    }
}

/// Judges a key and the signature of the pod's UID by it. `path` is that of what asks.
pub(super) fn check(key: &ByteString, proof: &ByteString, uid: &str, path: &Path) -> Result<(), FieldError> {
    let (key_path, proof_path) = (path.child("pkixPublicKey"), path.child("proofOfPossession"));
    if key.0.len() > MAX_KEY {
        return Err(FieldError::too_long(&key_path, MAX_KEY));
    }
    if proof.0.len() > MAX_PROOF {
        return Err(FieldError::too_long(&proof_path, MAX_PROOF));
    }
    let unreadable = || FieldError::invalid(&key_path, check::json(key), "must be a valid PKIX-serialized public key");
    let (_, info) =
        SubjectPublicKeyInfo::from_der(&key.0).ok().filter(|(rest, _)| rest.is_empty()).ok_or_else(unreadable)?;
    let verifier = verifier(&info, key, &key_path)?.ok_or_else(unreadable)?;
    if verifier.is_signed(&info.subject_public_key.data, uid.as_bytes(), &proof.0) {
        return Ok(());
    }
    Err(FieldError::invalid_omitted(&proof_path, "could not verify proof-of-possession signature"))
}

/// How signatures of a key are checked; nothing if it is not what it says.
fn verifier(info: &SubjectPublicKeyInfo<'_>, key: &ByteString, path: &Path) -> Result<Option<Verifier>, FieldError> {
    if info.algorithm.algorithm.to_id_string() == ED25519 {
        return Ok(Some(Verifier::Ring(&signature::ED25519)));
    }
    match info.parsed() {
        Ok(PublicKey::EC(point)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => Ok(Some(Verifier::Ring(&signature::ECDSA_P256_SHA256_ASN1))),
                Some("1.3.132.0.34") => Ok(Some(Verifier::Ring(&signature::ECDSA_P384_SHA256_ASN1))),
                Some("1.3.132.0.35") => {
                    Ok(VerifyingKey::from_sec1_bytes(point.data()).is_ok().then_some(Verifier::P521))
                }
                // Upstream can read this one, and does not take it. Its words name two of the three that it takes.
                Some("1.3.132.0.33") => {
                    let why = "elliptic public keys must use curve P256 or P384";
                    Err(FieldError::invalid(path, "curve P-224", why))
                }
                _ => Ok(None),
            }
        }
        Ok(PublicKey::RSA(rsa)) => {
            let bits = rsa.key_size();
            if ![3072, 4096].contains(&bits) {
                let why = "RSA keys must have modulus size 3072 or 4096";
                return Err(FieldError::invalid(path, format!("{bits}-bit modulus"), why));
            }
            Ok(Some(Verifier::Ring(&signature::RSA_PSS_2048_8192_SHA256)))
        }
        Ok(_) => {
            let why = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";
            Err(FieldError::invalid(path, check::json(key), why))
        }
        Err(_) => Ok(None),
    }
}
