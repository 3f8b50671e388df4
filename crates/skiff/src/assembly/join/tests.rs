//! Machines that join a real server over TLS, and what they are told when they cannot.

use std::net::IpAddr;

use base::Env;
use clap::{Args, FromArgMatches};
use controllers::{Config, ControllerManager, Signer};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use testkit::Cluster;

use super::*;
use crate::assembly::renewal::{ClientRenewal, ServingRenewal};
use crate::commands::token;
use crate::options::user::TokenCreate;

/// A server with its controllers. Its clock is the machine's, as TLS reads that.
struct Server {
    cluster: Cluster,
}

impl Server {
    async fn start() -> Self {
        let mut cluster = Cluster::start_in(Env::system()).await;
        let config = Config { signer: Some(Signer::new(&cluster.authorities())), ..Config::default() };
        let client = cluster.client_of("system:kube-controller-manager", &[]);
        let manager = ControllerManager::build(config, client, cluster.accounts(), cluster.informers.clone());
        let drain = cluster.drain();
        cluster.tasks.spawn_fallible("controllers", manager.expect("a valid configuration").run(drain));
        Self { cluster }
    }

    /// Makes a token with `skiff token create`; what it prints as the token.
    async fn token(&self, arguments: &[&str], env: &Env) -> String {
        let command = TokenCreate::augment_args(clap::Command::new("create").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).expect("right arguments");
        let options = TokenCreate::from_arg_matches(&matches).expect("right arguments");
        let line = eventually("the cluster's own objects", async || {
            token::create(&self.cluster.client, &options, env).await.ok()
        });
        let line = line.await;
        let rest = line.strip_prefix("skiff agent --server https://").expect("a line to join with");
        rest.split_once(" --token ").expect("with a token").1.to_owned()
    }

    /// Waits until the cluster's information is signed by a token.
    async fn signed(&self, id: &str) {
        let maps: Api<ConfigMap> = Api::namespaced(self.cluster.client.clone(), "kube-public");
        let entry = format!("jws-kubeconfig-{id}");
        eventually("a signature", async || {
            maps.get("cluster-info").await.ok()?.data?.contains_key(&entry).then_some(())
        })
        .await;
    }

    async fn check_refused(&self, token: &str, parts: &[&str]) {
        check_refused(&self.cluster.url(), token, &Env::system(), true, parts).await;
    }
}

/// A client as the node that has joined.
async fn node_client(joined: &Joined) -> kube::Client {
    let source = client::Source::Kubeconfig(joined.kubeconfig.clone());
    client::connect(source, "kubelet", &Env::system()).await.expect("a client")
}

/// What a condition gives in time.
async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    let found = testkit::poll_async(Duration::from_secs(60), condition).await;
    found.unwrap_or_else(|| panic!("never came: {what}"))
}

/// Why a machine cannot join.
async fn check_refused(server: &str, token: &str, env: &Env, is_final: bool, parts: &[&str]) {
    let token = JoinToken::parse(token).expect("a token");
    let refused = try_join(server, &token, "n2", env).await.map(drop).expect_err("it cannot join");
    let message = format!("{refused:#}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let failure = refused.downcast_ref::<JoinFailure>().unwrap_or_else(|| panic!("untyped: {message}"));
    assert_eq!(failure.is_final(), is_final, "{message}");
}

#[tokio::test]
async fn a_printed_token_makes_a_machine_a_node() {
    let server = Server::start().await;
    let (url, env) = (server.cluster.url(), Env::system());
    let token = server.token(&[], &env).await;
    let dir = tempfile::tempdir().expect("a directory");
    let client = node_client(&join(dir.path(), &url, &token, "n2", &env).await.expect("it joins")).await;
    let node = testkit::node("n2").with(|node| node.metadata.uid = None).build();
    Api::all(client).create(&PostParams::default(), &node).await.expect("it is the node");

    // Without the hash of the authority the server proves that it knows the token.
    let (_, bare) = token.split_once("::").expect("a hash and a token");
    server.signed(&bare[..6]).await;
    let alone = JoinToken::parse(bare).expect("a token");
    try_join(&url, &alone, "n3", &env).await.expect("it joins");
    let listed = token::list(&server.cluster.client, &env).await.expect("a table");
    assert!(listed.contains(bare) && listed.contains("23h"), "{listed}");
}

#[tokio::test]
async fn a_nodes_credentials_are_renewed_and_follow_the_authority() {
    let server = Server::start().await;
    let (url, env) = (server.cluster.url(), Env::system());
    let token = server.token(&[], &env).await;
    let dir = tempfile::tempdir().expect("a directory");
    let joined = join(dir.path(), &url, &token, "n2", &env).await.expect("it joins");
    let client = node_client(&joined).await;
    let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
    let files = || [&joined.kubeconfig, &joined.ca_file].map(|path| read(path));
    // It knows whose clients it may believe, also if it joined before there was an authority of clients alone.
    let clients = server.cluster.authorities().client.certificate_pem();
    assert_eq!(read(&joined.client_ca_file), clients);
    std::fs::remove_file(&joined.client_ca_file).expect("it is there");
    join(dir.path(), &url, &token, "n2", &env).await.expect("it has joined");
    assert_eq!(read(&joined.client_ca_file), read(&joined.ca_file));

    let [first, authorities] = files();
    let mut early = ClientRenewal::new(client.clone(), &joined, &env).expect("credentials");
    early.tend().await.expect("nothing to do");
    assert_eq!(files(), [first.clone(), authorities.clone()]);
    assert_eq!(read(&joined.client_ca_file), clients);
    // Eleven months on, as far as the node can tell.
    let later = Env::simulated(env.now() + SignedDuration::from_hours(24 * 335), 1);
    let mut late = ClientRenewal::new(client.clone(), &joined, &later).expect("credentials");
    late.tend().await.expect("renewed");
    assert!(files()[0] != first && files()[1] == authorities);

    // The files follow the authority, and the token of then is still that of this cluster.
    server.cluster.authorities().server.rotate().expect("a successor");
    eventually("the successor", async || {
        early.tend().await.expect("answered");
        (files()[1].matches("BEGIN").count() == 2).then_some(())
    })
    .await;
    let node = testkit::node("n2").with(|node| node.metadata.uid = None).build();
    Api::all(client).create(&PostParams::default(), &node).await.expect("it is the node");
    join(dir.path(), &url, &token, "n2", &env).await.expect("it has joined");
}

/// Approves the request for a serving certificate that nobody has decided on yet.
async fn approve_serving(server: &Server) {
    let requests: Api<CertificateSigningRequest> = Api::all(server.cluster.client.clone());
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}});
    eventually("a request for a serving certificate", async || {
        let all = requests.list(&ListParams::default()).await.ok()?;
        let is_open = |request: &&CertificateSigningRequest| {
            let status = request.status.as_ref();
            request.spec.signer_name == Ask::SERVING.signer && status.is_none_or(|status| status.conditions.is_none())
        };
        let name = all.items.iter().find(is_open)?.metadata.name.clone()?;
        requests.patch_approval(&name, &PatchParams::default(), &Patch::Merge(&approval)).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_kubelets_serving_certificate_is_approved_kept_and_renewed() {
    let server = Server::start().await;
    let (url, env) = (server.cluster.url(), Env::system());
    let token = server.token(&[], &env).await;
    let dir = tempfile::tempdir().expect("a directory");
    let client = node_client(&join(dir.path(), &url, &token, "n2", &env).await.expect("it joins")).await;
    let file = dir.path().join("kubelet-serving.crt");
    let start = |env: &Env| {
        let mut parts = Parts::new();
        let ips = [IpAddr::from([127, 0, 0, 1])];
        ServingRenewal::start(&mut parts, client.clone(), dir.path(), ("n2", &ips), env).expect("a certificate");
        parts
    };
    let certificate = async |than: &str| {
        eventually("a certificate", async || std::fs::read_to_string(&file).ok().filter(|kept| kept != than)).await
    };

    // Until somebody has approved it, the node has one of its own.
    let running = start(&env);
    assert!(dir.path().join("kubelet.crt").exists() && !file.exists());
    approve_serving(&server).await;
    let first = certificate("").await;
    let shown = pki::inspect(&first).expect("a certificate").remove(0);
    let servers = pki::inspect(&server.cluster.authorities().server.certificate_pem()).expect("an authority").remove(0);
    assert_eq!((shown.common_name.as_str(), &shown.issuer), ("system:node:n2", &servers.common_name));
    assert!(shown.is_server && !shown.is_client);
    drop(running);

    // A kubelet that starts again has it still, and eleven months on asks for another.
    drop(start(&env));
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), first);
    let _running = start(&Env::simulated(env.now() + SignedDuration::from_hours(24 * 335), 1));
    approve_serving(&server).await;
    certificate(&first).await;
}

#[tokio::test]
async fn a_wrong_token_is_told_from_one_that_has_ended() {
    let server = Server::start().await;
    let env = Env::system();
    let good = server.token(&["aaaaaa.0123456789abcdef"], &env).await;
    server.signed("aaaaaa").await;
    let (hash, _) = good.split_once("::").expect("a hash and a token");
    let with_hash = |token: &str| format!("{hash}::{token}");
    server.check_refused(&with_hash("aaaaaa.0123456789abcdee"), &["another secret for the token aaaaaa"]).await;
    server.check_refused("aaaaaa.0123456789abcdee", &["cannot prove that it knows the token aaaaaa"]).await;
    server.check_refused(&with_hash("node:guess"), &["does not accept the token", "skiff token"]).await;
    let elsewhere = format!("K10{}::aaaaaa.0123456789abcdef", "ab".repeat(32));
    server.check_refused(&elsewhere, &["is not the server that the token was made for", "skiff token create"]).await;

    let signing = server.token(&["bbbbbb.0123456789abcdef", "--usages=signing"], &env).await;
    server.signed("bbbbbb").await;
    server.check_refused(&signing, &["without the usage authentication", "skiff token create"]).await;

    let yesterday = Env::simulated(Env::system().now() - SignedDuration::from_hours(24), 1);
    let expired = server.token(&["--ttl=1h"], &yesterday).await;
    server.check_refused(&expired, &["expired or was deleted", "skiff token create"]).await;

    token::delete(&server.cluster.client, &good).await.expect("deleted");
    // A signature outlives its token for a moment.
    eventually("the token is unknown", async || {
        let token = JoinToken::parse(&good).expect("a token");
        let refused = try_join(&server.cluster.url(), &token, "n2", &env).await.map(drop).expect_err("refused");
        matches!(refused.downcast_ref(), Some(JoinFailure::UnknownToken { .. })).then_some(())
    })
    .await;
    let again = token::delete(&server.cluster.client, "aaaaaa").await.map_err(|err| err.to_string());
    assert_eq!(again, Err("there is no token aaaaaa; see `skiff token list`".to_owned()));
}

#[tokio::test]
async fn a_clock_that_is_a_day_off_is_told() {
    let server = Server::start().await;
    let token = server.token(&[], &Env::system()).await;
    let url = server.cluster.url();
    for (hours, expected) in [(-24, "behind the server's"), (24, "ahead of the server's")] {
        let env = Env::simulated(Env::system().now() + SignedDuration::from_hours(hours), 1);
        check_refused(&url, &token, &env, false, &["this machine's clock is", expected, "set it"]).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let env = Env::system();
    let token = format!("K10{}::aaaaaa.0123456789abcdef", "ab".repeat(32));
    // The port is taken, and nobody listens on it.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let url = format!("https://{}", socket.local_addr().expect("bound"));
    check_refused(&url, &token, &env, false, &["cannot reach", &url, "refused", "check --server"]).await;

    let server = Server::start().await;
    let url = format!("{}/elsewhere", server.cluster.url());
    check_refused(&url, &token, &env, false, &["is no Skiff server", "403", "check --server"]).await;
}

/// A kubeconfig that shows a bootstrap token.
fn bootstrap_kubeconfig(dir: &Path, server: &Server, token: &str) -> PathBuf {
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": server.cluster.url(), "certificate-authority": "ca.crt",
        }}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let file = dir.join("bootstrap.kubeconfig");
    std::fs::write(dir.join("ca.crt"), server.cluster.authorities().server.certificate_pem()).expect("written");
    std::fs::write(&file, config.to_string()).expect("written");
    file
}

/// Writes a kubeconfig whose certificate was good for a year, and has ended.
fn write_ended(kubeconfig: &Path, server: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let past = Env::simulated(Env::system().now() - SignedDuration::from_hours(24 * 400), 1);
    let authority = pki::Authority::load_or_create(dir.path(), "client-ca", &past).expect("an authority");
    let request = pki::IssueRequest {
        common_name: "system:node:n4".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: pki::Usage::Client,
        validity: Duration::from_secs(365 * 24 * 3600),
    };
    let client = authority.issue(&request).expect("a certificate");
    let ended = pki::kubeconfig::Kubeconfig {
        server,
        certificate_authority: &authority.certificate_pem(),
        name: "skiff",
        client: &client,
    };
    ended.write(kubeconfig).expect("written");
}

#[tokio::test]
async fn a_bootstrap_kubeconfig_makes_a_kubelets_own() {
    let server = Server::start().await;
    let env = Env::system();
    let token = server.token(&["cccccc.0123456789abcdef"], &env).await;
    let (_, bare) = token.split_once("::").expect("a hash and a token");
    let dir = tempfile::tempdir().expect("a directory");
    let (given, kubeconfig) = (bootstrap_kubeconfig(dir.path(), &server, bare), dir.path().join("kubelet/kubeconfig"));
    bootstrap(&given, &kubeconfig, "n4", &env).await.expect("it gets a certificate");
    let source = client::Source::Kubeconfig(kubeconfig.clone());
    let client = client::connect(source, "kubelet", &Env::system()).await.expect("a client");
    let node = testkit::node("n4").with(|node| node.metadata.uid = None).build();
    Api::all(client.clone()).create(&PostParams::default(), &node).await.expect("it is the node");

    // One whose certificate is good stays; one whose certificate has ended is made anew.
    let read = || std::fs::read_to_string(&kubeconfig).expect("readable");
    let first = read();
    bootstrap(&given, &kubeconfig, "n4", &env).await.expect("there is one");
    assert_eq!(read(), first);
    write_ended(&kubeconfig, &server.cluster.url());
    let ended = read();
    bootstrap(&given, &kubeconfig, "n4", &env).await.expect("it gets another one");
    let second = read();
    assert!(second != ended && second != first, "{second}");
    // Before that the kubelet renews it itself.
    let soon = Env::simulated(env.now() + SignedDuration::from_hours(24 * 335), 1);
    ClientRenewal::alone(client, &kubeconfig, &soon).expect("credentials").tend().await.expect("renewed");
    assert_ne!(read(), second);
    // What somebody else wrote is his.
    std::fs::copy(&given, &kubeconfig).expect("written");
    std::fs::copy(dir.path().join("ca.crt"), dir.path().join("kubelet/ca.crt")).expect("written");
    let his = read();
    bootstrap(&given, &kubeconfig, "n4", &env).await.expect("it is left alone");
    assert_eq!(read(), his);
}
