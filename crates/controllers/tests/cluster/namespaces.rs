//! What namespaces get, and how they end.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};

use crate::support::{TestCluster, fresh};

#[tokio::test(start_paused = true)]
async fn a_namespace_gets_its_account_and_certificate_and_ends_with_all_it_has() {
    let test = TestCluster::start(&["n1"]).await;
    let namespaces: Api<Namespace> = test.api_all();
    namespaces.create(&PostParams::default(), &fresh(testkit::namespace("team"))).await.expect("created");
    let client = &test.cluster.client;
    let accounts: &Api<ServiceAccount> = &Api::namespaced(client.clone(), "team");
    let maps: &Api<ConfigMap> = &Api::namespaced(client.clone(), "team");
    test.eventually("service account", || async move { accounts.get_opt("default").await.expect("readable") }).await;
    let map = test
        .eventually("certificate", || async move { maps.get_opt("kube-root-ca.crt").await.expect("readable") })
        .await;
    assert_eq!(map.data.expect("it has data")["ca.crt"], "certificate");

    accounts.delete("default", &DeleteParams::default()).await.expect("deleted");
    test.eventually("service account again", || async move { accounts.get_opt("default").await.expect("readable") })
        .await;

    let pods: &Api<Pod> = &Api::namespaced(client.clone(), "team");
    let pod = fresh(testkit::pod("team/p").container("c", "image"));
    pods.create(&PostParams::default(), &pod).await.expect("created");
    test.eventually("pod runs", || async move {
        pods.get("p").await.ok().filter(|pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some()))
    })
    .await;

    namespaces.delete("team", &DeleteParams::default()).await.expect("deleted");
    let namespaces = &namespaces;
    test.eventually("namespace ends", || async move {
        namespaces.get_opt("team").await.expect("readable").is_none().then_some(())
    })
    .await;
}
