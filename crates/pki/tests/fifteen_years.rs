//! A server and its clients over fifteen years: certificates and authorities come and go, and no request fails.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use skiff_pki::{Authority, IssueRequest, Leaf, Presenter, Trust, Usage};

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const FIFTEEN_YEARS: u64 = 15 * 365;
/// Between two requests, in days.
const STEP: u32 = 30;

fn request(name: &str, usage: Usage) -> IssueRequest {
    IssueRequest {
        common_name: name.to_owned(),
        organizations: Vec::new(),
        dns_names: vec!["localhost".to_owned()],
        ips: Vec::new(),
        usage,
        validity: YEAR,
    }
}

fn server(presenter: Arc<Presenter>, clients: Arc<dyn ClientCertVerifier>, env: &Env) -> Arc<ServerConfig> {
    let config = skiff_pki::tls_server(rustls::crypto::ring::default_provider(), rustls::DEFAULT_VERSIONS, env)
        .expect("versions")
        .with_client_cert_verifier(clients);
    Arc::new(config.with_cert_resolver(presenter))
}

fn client(presenter: Arc<Presenter>, servers: Arc<dyn ServerCertVerifier>, env: &Env) -> Arc<ClientConfig> {
    let config = skiff_pki::tls_client(env).expect("versions").dangerous().with_custom_certificate_verifier(servers);
    let mut config = config.with_client_cert_resolver(presenter);
    // Every request shows its certificate anew.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// One connection and one request over it, in memory.
fn exchange(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Result<Vec<u8>, String> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).map_err(|err| err.to_string())?;
    let mut server = ServerConnection::new(server.clone()).map_err(|err| err.to_string())?;
    client.writer().write_all(b"request").map_err(|err| err.to_string())?;
    let mut received = Vec::new();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).map_err(|err| err.to_string())?;
        }
        let mut left = &wire[..];
        while !left.is_empty() {
            server.read_tls(&mut left).map_err(|err| err.to_string())?;
            server.process_new_packets().map_err(|err| format!("server: {err}"))?;
        }
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = server.reader().read(&mut buffer) {
            received.extend_from_slice(&buffer[..length]);
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).map_err(|err| err.to_string())?;
        }
        let mut left = &wire[..];
        while !left.is_empty() {
            client.read_tls(&mut left).map_err(|err| err.to_string())?;
            client.process_new_packets().map_err(|err| format!("client: {err}"))?;
        }
    }
    Ok(received)
}

#[tokio::test(start_paused = true)]
async fn no_request_fails_in_fifteen_years_and_over_changes_of_the_authority() {
    let env = Env::simulated(Timestamp::from_second(1_790_000_000).expect("a time"), 1);
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Arc::new(Authority::load_or_create(dir.path(), "ca", &env).expect("an authority"));
    let leaf = |name: &str, usage| {
        let leaf = Leaf::load_or_issue(&authority, dir.path(), name, request(name, usage), &env);
        Arc::new(leaf.expect("a certificate"))
    };
    let (serving, own) = (leaf("server", Usage::Server), leaf("client", Usage::Client));
    let (trigger, drain) = base::drain();
    let mut tasks = base::Tasks::new();
    tasks.spawn("authority", authority.clone().run(drain.clone()));
    tasks.spawn("serving", serving.clone().run(drain.clone()));
    tasks.spawn("client", own.clone().run(drain.clone()));

    let server = server(serving.presenter(), authority.trust(), &env);
    let follower = client(own.presenter(), authority.trust(), &env);
    // Somebody who was told of the authority once a year, as those are who log in anew.
    let told = Arc::new(Trust::new(&authority.certificate_pem()).expect("trusted"));
    let yearly = client(own.presenter(), told.clone(), &env);
    let (mut certificates, mut authorities) = (0, 0);
    let mut seen = (serving.current(), authority.certificate_pem());
    for day in (0..FIFTEEN_YEARS).step_by(STEP as usize) {
        env.sleep(DAY * STEP).await;
        for (who, client) in [("follower", &follower), ("yearly", &yearly)] {
            assert_eq!(exchange(&server, client).as_deref(), Ok(&b"request"[..]), "{who} on day {day}");
        }
        if day % 360 == 0 {
            told.set(&authority.certificate_pem()).expect("trusted");
        }
        // A person rotates the authority as well.
        if day == 990 {
            let same = Authority::load_or_create(dir.path(), "ca", &env).expect("another process");
            same.rotate().expect("a successor");
        }
        certificates += usize::from(!Arc::ptr_eq(&seen.0, &serving.current()));
        authorities += usize::from(seen.1 != authority.certificate_pem());
        seen = (serving.current(), authority.certificate_pem());
    }
    assert!((20..=30).contains(&certificates), "a certificate every eight months: {certificates}");
    assert!((2..=4).contains(&authorities), "one by hand, one in time, and those that ended: {authorities}");

    // The first certificate of all has ended long ago.
    let stranger = tempfile::tempdir().expect("a directory");
    let stranger = Authority::load_or_create(stranger.path(), "ca", &env).expect("an authority");
    let foreign = client(own.presenter(), stranger.trust(), &env);
    assert!(exchange(&server, &foreign).is_err(), "another authority is not trusted");
    trigger.drain();
    let failures = tasks.shutdown(DAY).await;
    assert!(failures.is_empty(), "{failures:?}");
}
