//! The API across TLS, with the client that Rust programs use.

use crate::support::Cluster;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ListParams, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub async fn client(kubeconfig: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.expect("a configuration")).expect("a client")
}

#[tokio::test]
async fn a_client_with_a_certificate_reads_writes_and_watches() {
    let cluster = Cluster::start().await;
    let client = client(&cluster.kubeconfig("admin", &["system:masters"])).await;
    let version = client.apiserver_version().await.expect("a version");
    assert_eq!(version.minor, "35");

    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let object = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("a".to_owned()), ..Default::default() },
        ..Default::default()
    };
    let before = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("a version");
    api.create(&PostParams::default(), &object).await.expect("created");
    let mut events = std::pin::pin!(api.watch(&WatchParams::default(), &before).await.expect("a watch"));
    use futures::TryStreamExt;
    let event = events.try_next().await.expect("no error").expect("an event");
    assert!(matches!(event, kube::api::WatchEvent::Added(added) if added.metadata.name.as_deref() == Some("a")));
}

#[tokio::test]
async fn identities_are_checked_on_the_wire() {
    let cluster = Cluster::start().await;
    let nobody = client(&cluster.kubeconfig("nobody", &["some"])).await;
    let namespaces: Api<Namespace> = Api::all(nobody);
    let refused = namespaces.list(&ListParams::default()).await.expect_err("not allowed");
    assert!(refused.to_string().contains("cannot list resource"), "{refused}");

    let stranger = client(&cluster.foreign_kubeconfig()).await;
    let refused = Api::<Namespace>::all(stranger).list(&ListParams::default()).await.expect_err("not authenticated");
    assert!(refused.to_string().contains("Unauthorized"), "{refused}");
}

#[tokio::test]
async fn requests_have_an_audit_id_which_the_client_may_choose() {
    let cluster = Cluster::start().await;
    let id_of = |headers: &'static [(&'static str, &'static str)]| {
        let cluster = &cluster;
        async move {
            let answer = cluster.fetch("/api/v1/namespaces/nowhere", headers).await;
            answer.headers()["audit-id"].to_str().expect("text").to_owned()
        }
    };
    assert_eq!(id_of(&[("audit-id", "chosen")]).await, "chosen");
    let (first, second) = (id_of(&[]).await, id_of(&[]).await);
    assert!(first.len() == 36 && first != second, "{first} {second}");
}

#[tokio::test]
async fn requests_take_no_longer_than_their_timeout() {
    let cluster = Cluster::start_with(|config| config.request_timeout = std::time::Duration::from_secs(3600)).await;
    cluster.get("/api/v1/namespaces?timeout=never").await.expect(400);
    cluster.get("/api/v1/namespaces?timeout=1h").await.expect(200);
    // The body never comes.
    let late = cluster.pending("POST", "/api/v1/namespaces?timeout=10ms").await.expect(504);
    assert_eq!(late["message"], "Timeout: request did not complete within the allotted timeout");
}
