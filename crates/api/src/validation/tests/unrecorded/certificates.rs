//! What pods ask of signers, and what those issue.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::{check_create, check_status};

/// The key in its SubjectPublicKeyInfo: what comes before the bits of a key of this type and length.
fn public(prefix: &[u8], key: &[u8]) -> String {
    BASE64_STANDARD.encode([prefix, key].concat())
}

const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn request(key: &str, proof: &[u8]) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "PodCertificateRequest", "spec": {
        "signerName": "example.com/s", "podName": "p", "podUID": "u", "serviceAccountName": "s",
        "serviceAccountUID": "v", "nodeName": "n", "nodeUID": "w", "pkixPublicKey": key,
        "proofOfPossession": BASE64_STANDARD.encode(proof)}})
}

fn signed() -> Value {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    request(&public(&ED25519, pair.public_key().as_ref()), pair.sign(b"u").as_ref())
}

#[test]
fn pods_prove_that_they_have_the_key() {
    check_create(signed(), &[]);
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).expect("a key");
    let key = public(&P256, pair.public_key().as_ref());
    check_create(request(&key, pair.sign(&random, b"u").expect("signed").as_ref()), &[]);
    check_create(
        request(&key, pair.sign(&random, b"other").expect("signed").as_ref()),
        &["spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature"],
    );
    check_create(
        request("AAAA", b""),
        &["spec.pkixPublicKey: Invalid value: \"AAAA\": must be a valid PKIX-serialized public key"],
    );
    let mut other = signed();
    other["spec"]["maxExpirationSeconds"] = 60.into();
    other["spec"]["nodeUID"] = "".into();
    other["spec"]["unverifiedUserAnnotations"] = json!({"plain": "x"});
    check_create(
        other,
        &[
            "spec.unverifiedUserAnnotations: Invalid value: \"plain\": must be prefixed with a domain",
            "spec.nodeUID: Invalid value: \"\": must not be empty",
            "spec.maxExpirationSeconds: Invalid value: 60: must be in the range [3600, 7862400]",
        ],
    );
    check_status(signed(), json!({"conditions": [condition("Denied", "True")]}), &[]);
    check_status(
        signed(),
        json!({"conditions": [condition("Denied", "False"), condition("Failed", "True"), condition("Odd", "True")]}),
        &[
            "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions[1].type: Invalid value: \"Failed\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
            "status.conditions[2].type: Unsupported value: \"Odd\": supported values: \"Denied\", \"Failed\", \"Issued\"",
        ],
    );
    check_status(
        signed(),
        json!({"conditions": [condition("Issued", "True")], "certificateChain": "none"}),
        &[
            "status.certificateChain: Invalid value: \"none\": issued certificate chain must contain at least one certificate",
        ],
    );
    check_status(
        signed(),
        json!({"certificateChain": "none"}),
        &["status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\""],
    );
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2024-01-01T00:00:00Z"})
}

/// A key on P-521 as OpenSSL writes it, and its signature of `u` with SHA-256.
const P521: &str = "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBMxOOYYbAy8bjSxK9OOhugXzwlmb2Q89BUZRfUi/lDV2aMDE2XcT4WQs02vFo8MR3zAjndgTNbP\
    FZk+tkHzNS9eQAMBTKv7y+gyXaMjZgUmWmfuGvSkXpM09Jg67+D9sxY6vVfbPQHThT6F9Yd3sp6Zc72EIQgy60lp9jqfaWNzgMZYw=";
const P521_PROOF: &str = "MIGIAkIBtyLz+IdE2uqR3iWZfmYwi4a1FL73eSveJQsFef7maXY7SmitUerQBCGH64jINt4CShx/Cr2F4HNjPUikkpnGN78CQgFpKL6s6TJKXk\
    W4YhxCtOzWNUcJ7qoqv7CnHWI8mO8wYMcSe8ZbXAMXMV5l0k1dCD+2xEa4Pn/pI3AFrk75ZG+ltA==";
/// Keys on curves that are not taken.
const P224: &str =
    "ME4wEAYHKoZIzj0CAQYFK4EEACEDOgAEr0KEzPHxFA09ZQGFmF44wUd4WucEpuWmIYWKWZmIA27pWVcRas+GZ33JdjngmT0WZEO2VSPl5CE=";
const P256K1: &str = "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEQ2BZQL2SLiQI14sGVTktqC0IXVoK81z8RiF5eRiSJcRiitJDjxXau3OU/EzlgHOjBSEW568IB0LDho\
    u7nNwd9Q==";

#[test]
fn keys_are_on_the_curves_that_upstream_takes() {
    let proof = BASE64_STANDARD.decode(P521_PROOF).expect("it is encoded");
    check_create(request(P521, &proof), &[]);
    let unproven = "spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature";
    check_create(request(P521, &proof[1..]), &[unproven]);
    let mut other = request(P521, &proof);
    other["spec"]["podUID"] = "v".into();
    check_create(other, &[unproven]);
    check_create(
        request(P224, &proof),
        &["spec.pkixPublicKey: Invalid value: \"curve P-224\": elliptic public keys must use curve P256 or P384"],
    );
    let unreadable =
        |key: &str| format!("spec.pkixPublicKey: Invalid value: \"{key}\": must be a valid PKIX-serialized public key");
    check_create(request(P256K1, &proof), &[&unreadable(P256K1)]);
    // The last byte of a point belongs to it.
    let mut key = BASE64_STANDARD.decode(P521).expect("it is encoded");
    *key.last_mut().expect("it is long") ^= 1;
    let key = BASE64_STANDARD.encode(key);
    check_create(request(&key, &proof), &[&unreadable(&key)]);
}

/// What is wrong with a certificate that lasts so many seconds and begins as many after midnight, and with a status that
/// says of its times what is changed in it.
#[track_caller]
fn check_issued((begin, lasts): (i64, u64), names: &[&str], change: impl FnOnce(&mut Value), expected: &[&str]) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("random numbers");
    let mut params = rcgen::CertificateParams::default();
    let san = |name: &&str| rcgen::SanType::DnsName((*name).try_into().expect("ASCII"));
    params.subject_alt_names = names.iter().map(san).collect();
    let midnight = rcgen::date_time_ymd(2026, 1, 1);
    let shift = std::time::Duration::from_secs(begin.unsigned_abs());
    params.not_before = if begin < 0 { midnight - shift } else { midnight + shift };
    params.not_after = params.not_before + std::time::Duration::from_secs(lasts);
    let at = |seconds: i64| {
        let midnight: jiff::Timestamp = super::NOW.parse().expect("a time");
        crate::meta::format_time(midnight + jiff::SignedDuration::from_secs(begin + seconds))
    };
    let lasts = i64::try_from(lasts).expect("it is short");
    let mut status = json!({
        "conditions": [condition("Issued", "True")],
        "certificateChain": params.self_signed(&key).expect("a certificate").pem(),
        "notBefore": at(0), "notAfter": at(lasts), "beginRefreshAt": at(lasts / 2),
    });
    change(&mut status);
    let mut request = request(&BASE64_STANDARD.encode(rcgen::PublicKeyData::subject_public_key_info(&key)), b"");
    request["spec"]["maxExpirationSeconds"] = 86_400.into();
    check_status(request, status, expected);
}

#[test]
fn certificates_are_what_was_asked_for_and_said_of_them() {
    const HOUR: u64 = 3600;
    let same = |_: &mut Value| {};
    check_issued((0, HOUR), &[], same, &[]);
    check_issued((-299, 24 * HOUR), &["p.example.com"], same, &[]);
    let near = |time: &str| {
        format!(
            "status.notBefore: Invalid value: \"{time}\": must be set to within 5 minutes of kube-apiserver's current time"
        )
    };
    check_issued((-300, HOUR), &[], same, &[&near("2025-12-31T23:55:00Z")]);
    check_issued((300, HOUR), &[], same, &[&near("2026-01-01T00:05:00Z")]);
    check_issued(
        (0, HOUR),
        &[],
        |status| status["notBefore"] = "2026-01-01T00:00:01Z".into(),
        &[
            "status.notBefore: Invalid value: \"2026-01-01T00:00:01Z\": must be set to the NotBefore time encoded in the leaf certificate",
        ],
    );
    check_issued(
        (0, HOUR),
        &[],
        |status| status["notAfter"] = "2026-01-01T02:00:00Z".into(),
        &[
            "status.notAfter: Invalid value: \"2026-01-01T02:00:00Z\": must be set to the NotAfter time encoded in the leaf certificate",
        ],
    );
    let chain = "status.certificateChain: Invalid value:";
    check_issued(
        (0, HOUR - 1),
        &[],
        same,
        &[&format!("{chain} 3599000000000: leaf certificate lifetime must be >= 1 hour")],
    );
    check_issued(
        (0, 24 * HOUR + 1),
        &[],
        same,
        &[&format!("{chain} 86401000000000: leaf certificate lifetime must be <= spec.maxExpirationSeconds (86400)")],
    );
    for (time, why) in [
        ("2026-01-01T00:09:59Z", "must be at least 10 minutes after status.notBefore"),
        ("2026-01-01T00:50:01Z", "must be at least 10 minutes before status.notAfter"),
    ] {
        let refused = format!("status.beginRefreshAt: Invalid value: \"{time}\": {why}");
        check_issued((0, HOUR), &[], |status| status["beginRefreshAt"] = time.into(), &[&refused]);
    }
    check_issued(
        (0, HOUR),
        &[],
        |status| ["notBefore", "notAfter", "beginRefreshAt"].iter().for_each(|field| status[*field] = Value::Null),
        &[
            "status.notBefore: Required value: must be present and consistent with the issued certificate",
            "status.notAfter: Required value: must be present and consistent with the issued certificate",
            "status.beginRefreshAt: Required value: must be present and in the range [notbefore+10min, notafter-10min]",
        ],
    );
    check_issued(
        (0, HOUR),
        &[".a..b"],
        same,
        &[
            &format!("{chain} \".a..b\": leaf certificate's DNSName should not contain '..'"),
            &format!("{chain} \".a..b\": leaf certificate's DNSName should not start or end with '.'"),
        ],
    );
}
