//! The little DER that keys need, and PEM around it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;

/// Algorithm identifiers, whole: rsaEncryption; ecPublicKey on P-256, P-384 and P-521; Ed25519.
pub(crate) const RSA: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
pub(crate) const P256: &[u8] =
    &[0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(crate) const P384: &[u8] = &[0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
pub(crate) const P521: &[u8] = &[0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x23];
pub(crate) const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];

fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if let Ok(short @ 0..=127) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
        let bytes = &bytes[start..];
        out.push(0x80 | u8::try_from(bytes.len()).expect("a length has at most eight bytes"));
        out.extend_from_slice(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A public key with its algorithm (SubjectPublicKeyInfo).
pub(crate) fn public_key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[algorithm, &value(BIT_STRING, &[&[0], key])])
}

/// A private key of an elliptic curve (SEC 1) as PKCS #8.
pub(crate) fn pkcs8(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&[2, 1, 0], algorithm, &octet_string(key)])
}

/// A number without the zeros in front of it.
pub(crate) fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..]
}

/// A private key of an elliptic curve (SEC 1) with its public half.
pub(crate) fn ec_private_key(key: &[u8], point: &[u8]) -> Vec<u8> {
    const PUBLIC: u8 = 0xa1;
    let public = value(PUBLIC, &[&value(BIT_STRING, &[&[0], point])]);
    value(SEQUENCE, &[&[2, 1, 1], &octet_string(key), &public])
}

/// Bytes as they are.
pub(crate) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    value(OCTET_STRING, &[bytes])
}

/// A section of a PEM text.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
