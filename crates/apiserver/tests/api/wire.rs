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
