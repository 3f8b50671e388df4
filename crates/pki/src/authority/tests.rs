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
    assert!(first.still_good(&pair.certificate, &pair.key, &request()), "issued by the loaded one, good for the first");

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
