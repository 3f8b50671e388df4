//! The same API through a function call and by HTTPS.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use skiff_client::{ConnectError, Informers, Source, connect};
use testkit::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_leads_to_the_same_api_as_the_function_call() {
    let cluster = Cluster::start_in(base::Env::system()).await;
    let here: Api<Namespace> = Api::all(cluster.client.clone());
    let client = connect(Source::Kubeconfig(cluster.kubeconfig()), "test").await.expect("a client");
    let informers = Informers::new(client.clone(), cluster.env.clone());
    let namespaces = informers.of::<Namespace>();
    let (_trigger, drain) = base::drain();
    let running = tokio::spawn({
        let informers = informers.clone();
        async move { informers.run(drain).await }
    });
    let mut events = namespaces.subscribe();
    let first = tokio::time::timeout(std::time::Duration::from_secs(30), events.next()).await.expect("an event");
    assert!(!first.is_deleted() && !running.is_finished());
    namespaces.synced().await;
    let there = Api::<Namespace>::all(client).list(&ListParams::default()).await.expect("listed");
    assert_eq!(there.items, here.list(&ListParams::default()).await.expect("listed").items);
}

#[tokio::test]
async fn an_unreadable_kubeconfig_is_named() {
    let err = connect(Source::Kubeconfig(PathBuf::from("/nowhere/kubeconfig")), "test").await.err().expect("an error");
    assert!(matches!(&err, ConnectError::Read { .. }));
    assert_eq!(err.to_string(), "cannot read kubeconfig /nowhere/kubeconfig");
}
