//! The little DER that public keys need.

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;

/// Algorithm identifiers, whole: rsaEncryption; ecPublicKey on P-256 and P-384.
pub(super) const RSA: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
pub(super) const P256: &[u8] =
    &[0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(super) const P384: &[u8] = &[0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];

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
pub(super) fn public_key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[algorithm, &value(BIT_STRING, &[&[0], key])])
}

/// A private key of an elliptic curve (SEC 1) as PKCS #8.
pub(super) fn pkcs8(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&[2, 1, 0], algorithm, &value(OCTET_STRING, &[key])])
}

/// A number without the zeros in front of it.
pub(super) fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..]
}
