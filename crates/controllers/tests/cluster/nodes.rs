//! Nodes that join, fall silent and are gone.

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use skiff_controllers::{Config, Signer};
use std::time::Duration;

use crate::support::{TestCluster, fresh};

/// Keeps a node's status fresh, as its kubelet would.
async fn heartbeat(test: &TestCluster, name: &str) {
    let nodes: Api<Node> = test.api_all();
    let mut node = nodes.get(name).await.expect("there");
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(test.cluster.env.now());
    for condition in node.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten()) {
        condition.last_heartbeat_time = Some(now.clone());
        if condition.type_ == "Ready" {
            condition.status = "True".to_owned();
        }
    }
    // A conflict with the controller is made good by the next heartbeat.
    let _ = nodes.replace_status(name, &PostParams::default(), &node).await;
}

async fn nodes_of_pods(test: &TestCluster) -> Vec<String> {
    let pods = test.api::<Pod>().list(&ListParams::default()).await.expect("listed").items;
    pods.iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn nodes_get_addresses_of_each_family() {
    let test = TestCluster::start(&["n1", "n2"]).await;
    let nodes: &Api<Node> = &test.api_all();
    let mut given = Vec::new();
    for name in ["n1", "n2"] {
        let spec = test.eventually("addresses", || async move {
            nodes.get(name).await.ok().and_then(|node| node.spec).filter(|spec| spec.pod_cidrs.is_some())
        });
        let spec = spec.await;
        let cidrs = spec.pod_cidrs.unwrap_or_default();
        assert_eq!(spec.pod_cidr.as_ref(), cidrs.first());
        given.push(cidrs);
    }
    given.sort();
    assert_eq!(given, [["10.42.0.0/24", "fd42::/64"], ["10.42.1.0/24", "fd42:0:0:1::/64"]]);
}

#[tokio::test(start_paused = true)]
async fn pods_move_from_a_silent_node_and_end_with_it() {
    let test = TestCluster::start(&["n1", "n2"]).await;
    let nodes: &Api<Node> = &test.api_all();
    for name in ["n1", "n2"] {
        test.eventually("addresses", || async move {
            nodes.get(name).await.ok().filter(|node| node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()))
        })
        .await;
    }
    let made = fresh(testkit::deployment("web").replicas(2));
    test.api::<Deployment>().create(&PostParams::default(), &made).await.expect("created");
    test.until("web", |made: &Deployment| {
        made.status.as_ref().is_some_and(|status| status.available_replicas == Some(2))
    })
    .await;
    assert_eq!(nodes_of_pods(&test).await, ["n1", "n1"]);

    test.kill_node("n1");
    // 40 s of silence, then 300 s that pods tolerate it.
    let began = test.cluster.env.instant();
    loop {
        heartbeat(&test, "n2").await;
        test.cluster.env.sleep(Duration::from_secs(5)).await;
        let on = nodes_of_pods(&test).await;
        if on == ["n2", "n2"] {
            break;
        }
        assert!(test.cluster.env.instant() - began < Duration::from_secs(500), "still on {on:?}");
    }
    assert!(test.cluster.env.instant() - began >= Duration::from_secs(335), "moved too early");
    let silent = nodes.get("n1").await.expect("there");
    let taints: Vec<String> = silent
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect();
    assert_eq!(taints, ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]);

    // Their kubelet will never confirm their end; without its node they are removed by force.
    nodes.delete("n1", &DeleteParams::default()).await.expect("deleted");
    let pods: &Api<Pod> = &test.api();
    test.eventually("only living pods", || async move {
        (pods.list(&ListParams::default()).await.expect("listed").items.len() == 2).then_some(())
    })
    .await;
    assert_eq!(test.api::<ReplicaSet>().list(&ListParams::default()).await.expect("listed").items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_joining_machine_gets_a_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let env = base::Env::system();
    let authorities = pki::Authorities::load_or_create(directory.path(), &env).expect("authorities");
    let signer = Some(Signer::new(&authorities));
    let test = TestCluster::start_with(&[], Config { signer, ..Config::default() }).await;
    let asked = pki::SigningRequest::new("system:node:n9", &["system:nodes".to_owned()]).expect("a request");
    let request = testkit::object::<CertificateSigningRequest>("n9").with(|made| {
        made.spec = CertificateSigningRequestSpec {
            request: ByteString(asked.request.into_bytes()),
            signer_name: "kubernetes.io/kube-apiserver-client-kubelet".to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        };
    });
    let requests: Api<CertificateSigningRequest> = Api::all(test.cluster.joining.clone());
    requests.create(&PostParams::default(), &fresh(request)).await.expect("created");
    let requests = &test.api_all::<CertificateSigningRequest>();
    let issued = test
        .eventually("certificate", || async move {
            requests.get("n9").await.ok().and_then(|request| request.status?.certificate)
        })
        .await;
    assert!(String::from_utf8_lossy(&issued.0).starts_with("-----BEGIN CERTIFICATE-----"));
}
