//! The kubelet's access against a real API server.

use std::net::IpAddr;

use axum::http::Method;
use base::Instance;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, PostParams};
use pki::{IssueRequest, Presenter, Usage};
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use testkit::Cluster;

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

struct Node {
    cluster: Cluster,
    access: Access,
}

impl Node {
    async fn start() -> Self {
        let cluster = Cluster::start_in(Env::system()).await;
        let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
        let first = async || bindings.get("skiff:kubelet-api-admin").await.ok();
        testkit::poll_async(DEADLINE, first).await.expect("the first roles");
        let authority = cluster.authorities().client;
        let own = authority.issue(&request("system:node:n1", &["system:nodes"], Usage::Server)).expect("issued");
        let config = Config::new(
            "n1",
            vec![IpAddr::from([127, 0, 0, 1])],
            Instance::new("/nowhere", "/nowhere"),
            Arc::new(Presenter::new(&own).expect("a certificate with its key")),
            authority.trust(),
        );
        let client = cluster.client_of("system:node:n1", &["system:nodes"]);
        let access = Access::new(&config, client, cluster.env.clone());
        Self { cluster, access }
    }

    /// The certificate of somebody.
    fn shown(&self, user: &str, groups: &[&str]) -> Shown {
        let pair = self.cluster.authorities().client.issue(&request(user, groups, Usage::Client)).expect("issued");
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        Shown::new(&chain.expect("PEM"))
    }

    async fn ask(&self, shown: &Shown, token: Option<&str>, method: &Method, path: &str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
        }
        self.access.admit(shown, &headers, &Attributes::of(method, path)).await
    }

    /// Lets a user do something with nodes.
    async fn grant(&self, name: &str, subject: serde_json::Value, subresource: &str) {
        let role = json!({
            "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": [format!("nodes/{subresource}")], "verbs": ["get"]}],
        });
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        });
        let role: ClusterRole = serde_json::from_value(role).expect("a role");
        let binding: ClusterRoleBinding = serde_json::from_value(binding).expect("a binding");
        let client = &self.cluster.client;
        Api::all(client.clone()).create(&PostParams::default(), &role).await.expect("created");
        Api::all(client.clone()).create(&PostParams::default(), &binding).await.expect("created");
    }
}

fn request(user: &str, groups: &[&str], usage: Usage) -> IssueRequest {
    IssueRequest {
        common_name: user.to_owned(),
        organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage,
        validity: Duration::from_secs(3600),
    }
}

fn user(name: &str) -> serde_json::Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_clusters_authority_may_what_their_owners_may() {
    let node = Node::start().await;
    let api_server = node.shown("kube-apiserver-kubelet-client", &[]);
    assert_eq!(node.ask(&api_server, None, &Method::GET, "/containerLogs/default/web/a").await, Ok(()));
    assert_eq!(node.ask(&api_server, None, &Method::POST, "/exec/default/web/a").await, Ok(()));
    let admin = node.shown("admin", &["system:masters"]);
    assert_eq!(node.ask(&admin, None, &Method::GET, "/pods").await, Ok(()));

    node.grant("watcher", user("jane"), "pods").await;
    let jane = node.shown("jane", &[]);
    assert_eq!(node.ask(&jane, None, &Method::GET, "/pods").await, Ok(()));
    let refused = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[proxy])\n";
    let logs = node.ask(&jane, None, &Method::GET, "/containerLogs/default/web/a").await;
    assert_eq!(logs, Err(Refusal::Forbidden(refused.to_owned())));
    let refused = "Forbidden (user=jane, verb=create, resource=nodes, subresource(s)=[pods proxy])\n";
    let posted = node.ask(&jane, None, &Method::POST, "/pods").await;
    assert_eq!(posted, Err(Refusal::Forbidden(refused.to_owned())));

    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = pki::Authority::load_or_create(elsewhere.path(), "ca", &Env::system()).expect("an authority");
    let pair = other.issue(&request("admin", &["system:masters"], Usage::Client)).expect("issued");
    let foreign = Shown::new(&[CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")]);
    for nobody in [foreign, Shown::new(&[])] {
        assert_eq!(node.ask(&nobody, None, &Method::GET, "/healthz").await, Err(Refusal::Unauthorized));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_shown_to_the_api_server() {
    let node = Node::start().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(node.cluster.client.clone(), "default");
    let account = ServiceAccount {
        metadata: kube::api::ObjectMeta { name: Some("prom".to_owned()), ..Default::default() },
        ..Default::default()
    };
    let made = async || accounts.create(&PostParams::default(), &account).await.ok();
    testkit::poll_async(DEADLINE, made).await.expect("an account");
    let asked = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let token = accounts.create_token_request("prom", &PostParams::default(), &asked).await.expect("a token");
    let token = token.status.expect("a token").token;

    let nobody = Shown::new(&[]);
    let metrics = async || node.ask(&nobody, Some(&token), &Method::GET, "/metrics/resource").await;
    let refused =
        "Forbidden (user=system:serviceaccount:default:prom, verb=get, resource=nodes, subresource(s)=[metrics])\n";
    assert_eq!(metrics().await, Err(Refusal::Forbidden(refused.to_owned())));
    let wrong = node.ask(&nobody, Some("wrong"), &Method::GET, "/metrics/resource").await;
    assert_eq!(wrong, Err(Refusal::Unauthorized));

    let subject = json!({"kind": "ServiceAccount", "namespace": "default", "name": "prom"});
    node.grant("metrics", subject.clone(), "metrics").await;
    assert!(matches!(metrics().await, Err(Refusal::Forbidden(_))), "a refusal is kept for a while");
    // The same right on another subresource, which nobody has asked for yet.
    node.grant("stats", subject, "stats").await;
    let stats = async || node.ask(&nobody, Some(&token), &Method::GET, "/stats/summary").await;
    assert_eq!(stats().await, Ok(()));

    accounts.delete("prom", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(stats().await, Ok(()), "what was found out is believed for a while");
}
