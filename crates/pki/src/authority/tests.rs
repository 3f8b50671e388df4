//! Tests of authorities and of the certificates they issue.

use std::time::Duration;

use base::Env;
use jiff::Timestamp;

use super::*;
use crate::Usage;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn env() -> Env {
    Env::simulated(Timestamp::from_second(1_790_000_000).expect("a timestamp"), 1)
}

fn request() -> IssueRequest {
    IssueRequest {
        common_name: "kube-apiserver".to_owned(),
        organizations: vec!["system:masters".to_owned(), "second".to_owned()],
        dns_names: vec!["kubernetes.default.svc".to_owned()],
        ips: vec!["10.43.0.1".parse().expect("an address"), "::1".parse().expect("an address")],
        usage: Usage::Server,
        validity: 90 * DAY,
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_is_made_once_and_loaded_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Authority::load_or_create(dir.path(), "ca", &env()).expect("made");
    let again = Authority::load_or_create(dir.path(), "ca", &env()).expect("loaded");
    assert_eq!(first.certificate_pem(), again.certificate_pem());

    let pair = again.issue(&request()).expect("issued");
    let is_good = still_good(&pair, &first.certificates()[0], &request(), env().now());
    assert!(is_good, "issued by the loaded one, good for the first");

    std::fs::remove_file(dir.path().join("ca.key")).expect("it exists");
    let err = Authority::load_or_create(dir.path(), "ca", &env()).expect_err("the key is gone");
    assert!(matches!(err, AuthorityError::KeyMissing { .. }), "{err}");
}

#[tokio::test(start_paused = true)]
async fn certificates_are_renewed_when_near_their_end_or_when_asked_for_something_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let env = env();
    let authority = Authority::load_or_create(dir.path(), "ca", &env).expect("made");
    let load =
        |request: &IssueRequest| authority.load_or_issue(dir.path(), "server", request).expect("issued").certificate;
    let first = load(&request());
    assert_eq!(first, load(&request()), "a good certificate is kept");

    env.sleep(61 * DAY).await;
    let renewed = load(&request());
    assert_ne!(first, renewed, "less than a third of 90 days is left");
    assert_eq!(renewed, load(&request()));

    let mut other = request();
    other.dns_names.push("api.example".to_owned());
    let with_name = load(&other);
    assert_ne!(renewed, with_name);
    assert_eq!(with_name, load(&request()), "more names than asked for are fine");

    let stranger = tempfile::tempdir().expect("a directory");
    let stranger = Authority::load_or_create(stranger.path(), "ca", &env).expect("made");
    let kept = stranger.load_or_issue(dir.path(), "server", &request()).expect("issued").certificate;
    assert_ne!(with_name, kept, "another authority replaces it");
}

#[tokio::test(start_paused = true)]
async fn an_expired_authority_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let env = env();
    Authority::load_or_create(dir.path(), "ca", &env).expect("made");
    env.sleep(3651 * DAY).await;
    let err = Authority::load_or_create(dir.path(), "ca", &env).expect_err("it is over");
    assert!(matches!(err, AuthorityError::Expired { .. }), "{err}");
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_trusted_by_those_who_trust_its_predecessor_and_survives_a_crash() {
    let (dir, env) = (tempfile::tempdir().expect("a directory"), env());
    let authority = Authority::load_or_create(dir.path(), "ca", &env).expect("made");
    let (old_pem, lineage) = (authority.certificate_pem(), authority.lineage().to_owned());
    let (old_trust, old_leaf) = (Trust::new(&old_pem).expect("trusted"), authority.issue(&request()).expect("issued"));
    authority.rotate().expect("a successor");
    let new_leaf = authority.issue(&request()).expect("issued");
    check_trusted(&old_trust, &old_leaf, &env, true);
    check_trusted(&old_trust, &new_leaf, &env, true);
    check_trusted(&authority.trust(), &old_leaf, &env, true);
    check_trusted(&authority.trust(), &new_leaf, &env, true);
    let new_pem = authority.certificate_pem();
    assert!(new_pem.ends_with(&old_pem) && new_pem != old_pem);
    assert_eq!(authority.lineage(), lineage);

    let again = Authority::load_or_create(dir.path(), "ca", &env).expect("loaded");
    assert_eq!((again.certificate_pem(), again.lineage()), (new_pem, &*lineage));

    // Killed before the successor's certificate was written, and right after.
    let file = |name: &str| dir.path().join(name);
    let keep = |name: &str| std::fs::read(file(name)).expect("readable");
    let (certificate, key) = (keep("ca.crt"), keep("ca.key"));
    again.rotate().expect("a successor");
    let (next_certificate, next_key) = (keep("ca.crt"), keep("ca.key"));
    let put = |name: &str, content: &[u8]| std::fs::write(file(name), content).expect("writable");
    put("ca.crt", &certificate);
    put("ca.key", &key);
    put("ca.next.key", &next_key);
    let before = Authority::load_or_create(dir.path(), "ca", &env).expect("the old one");
    check_trusted(&old_trust, &before.issue(&request()).expect("issued"), &env, true);
    check_trusted(&before.trust(), &before.issue(&request()).expect("issued"), &env, true);
    put("ca.crt", &next_certificate);
    let after = Authority::load_or_create(dir.path(), "ca", &env).expect("the new one");
    check_trusted(&after.trust(), &after.issue(&request()).expect("issued"), &env, true);
    assert!(!file("ca.next.key").exists() && keep("ca.key") == next_key);
}

#[test]
fn processes_that_change_an_authority_at_once_wait_for_each_other() {
    let (dir, env) = (tempfile::tempdir().expect("a directory"), Env::system());
    let authority = Authority::load_or_create(dir.path(), "ca", &env).expect("made");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (dir, env) = (dir.path(), env.clone());
            scope.spawn(move || {
                let same = Authority::load_or_create(dir, "ca", &env).expect("loaded");
                same.rotate().expect("a successor");
            });
        }
        for _ in 0..50 {
            authority.tend().expect("what is there goes together");
        }
    });
    authority.tend().expect("what is there goes together");
    assert_eq!(authority.certificates().len(), 5, "none was lost");
}

/// Whether a server's certificate is trusted now.
#[track_caller]
fn check_trusted(trust: &Trust, leaf: &KeyPairPem, env: &Env, expected: bool) {
    use rustls::client::danger::ServerCertVerifier;
    use rustls_pki_types::{ServerName, UnixTime};
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(leaf.certificate.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let seconds = u64::try_from(env.now().as_second()).expect("after 1970");
    let name = ServerName::try_from("kubernetes.default.svc").expect("a name");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let verified = trust.verify_server_cert(&chain[0], &chain[1..], &name, &[], now);
    assert_eq!(verified.is_ok(), expected, "{verified:?}");
}
