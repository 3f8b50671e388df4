//! Deployments from their creation over a rollout and its undoing to their end.

use client::objects;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Endpoints, Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{TestCluster, fresh};

/// Whether everything of a deployment runs its current template.
fn complete(replicas: i32) -> impl Fn(&Deployment) -> bool {
    move |deployment: &Deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        status.observed_generation == deployment.metadata.generation
            && status.replicas.unwrap_or_default() == replicas
            && status.updated_replicas.unwrap_or_default() == replicas
            && status.available_replicas.unwrap_or_default() == replicas
    }
}

fn revision(deployment: &Deployment) -> String {
    deployment.metadata.annotations.as_ref().expect("it has annotations")["deployment.kubernetes.io/revision"].clone()
}

async fn patch(api: &Api<Deployment>, patch: serde_json::Value) {
    api.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patched");
}

fn image(image: &str) -> serde_json::Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

#[tokio::test(start_paused = true)]
async fn a_deployment_lives_through_rollouts_and_takes_everything_with_it() {
    let test = TestCluster::start(&["n1"]).await;
    let deployments: Api<Deployment> = test.api();
    let services: Api<Service> = test.api();
    let service = fresh(testkit::service("web").selector("app", "web").port("http", 80, 8080));
    services.create(&PostParams::default(), &service).await.expect("created");
    let made = fresh(testkit::deployment("web").replicas(3).image("v1"));
    deployments.create(&PostParams::default(), &made).await.expect("created");
    let deployed = test.until("web", complete(3)).await;
    // What controllers note is no change of what is wanted, and it is theirs.
    assert_eq!((revision(&deployed).as_str(), deployed.metadata.generation), ("1", Some(1)));
    let managers = deployed.metadata.managed_fields.iter().flatten();
    let managers: Vec<_> = managers.map(|entry| (entry.manager.as_deref(), entry.subresource.as_deref())).collect();
    assert!(
        managers.contains(&(Some("kube-controller-manager"), Some("status"))) && managers.len() == 2,
        "{managers:?}"
    );

    let addresses = |slice: &EndpointSlice| slice.endpoints.iter().flat_map(|e| e.addresses.clone()).count();
    let slices: &Api<EndpointSlice> = &test.api();
    test.eventually("three endpoints", || async move {
        let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
        let slices = slices.list(&of_web).await.expect("listed").items;
        (slices.iter().map(addresses).sum::<usize>() == 3 && slices.len() == 1).then_some(())
    })
    .await;
    test.until("web", |endpoints: &Endpoints| {
        endpoints.subsets.iter().flatten().flat_map(|subset| subset.addresses.iter().flatten()).count() == 3
    })
    .await;

    patch(&deployments, image("v2")).await;
    assert_eq!(revision(&test.until("web", complete(3)).await), "2");
    patch(&deployments, json!({ "spec": { "replicas": 5 } })).await;
    assert_eq!(revision(&test.until("web", complete(5)).await), "2");
    // Undoing is going back to the earlier template.
    patch(&deployments, image("v1")).await;
    assert_eq!(revision(&test.until("web", complete(5)).await), "3");
    let sets = test.api::<ReplicaSet>().list(&ListParams::default()).await.expect("listed").items;
    assert_eq!(sets.len(), 2, "going back makes no new replica set");
    patch(&deployments, json!({ "spec": { "replicas": 0 } })).await;
    test.until("web", complete(0)).await;

    let events: &Api<Event> = &test.api();
    test.eventually("scaling is told", || async move {
        let told = events.list(&ListParams::default()).await.expect("listed").items;
        told.iter()
            .any(|event| {
                event.reason.as_deref() == Some("ScalingReplicaSet")
                    && event.message.as_deref().is_some_and(|message| message.ends_with("from 0 to 3"))
            })
            .then_some(())
    })
    .await;

    deployments.delete("web", &DeleteParams::background()).await.expect("deleted");
    let sets: &Api<ReplicaSet> = &test.api();
    test.eventually("replica sets end", || async move {
        sets.list(&ListParams::default()).await.expect("listed").items.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_waits_and_a_recreated_one_never_mixes() {
    let test = TestCluster::start(&["n1"]).await;
    let deployments: Api<Deployment> = test.api();
    let made = fresh(testkit::deployment("web").replicas(2).image("v1").recreate());
    deployments.create(&PostParams::default(), &made).await.expect("created");
    test.until("web", complete(2)).await;
    patch(&deployments, json!({ "spec": { "paused": true } })).await;
    patch(&deployments, image("v2")).await;
    let paused = |deployment: &Deployment| {
        let conditions = deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        deployment.status.as_ref().and_then(|status| status.observed_generation) == deployment.metadata.generation
            && conditions.iter().any(|condition| condition.reason.as_deref() == Some("DeploymentPaused"))
    };
    test.until("web", paused).await;
    assert_eq!(test.api::<ReplicaSet>().list(&ListParams::default()).await.expect("listed").items.len(), 1);
    patch(&deployments, json!({ "spec": { "paused": false } })).await;
    assert_eq!(revision(&test.until("web", complete(2)).await), "2");
}

#[tokio::test(start_paused = true)]
async fn a_replica_set_replaces_what_it_loses_and_adopts_what_matches() {
    let test = TestCluster::start(&["n1"]).await;
    let pods: Api<Pod> = test.api();
    test.eventually("service account", || async {
        test.api::<k8s_openapi::api::core::v1::ServiceAccount>().get_opt("default").await.expect("readable")
    })
    .await;
    let orphan = fresh(testkit::pod("orphan").label("app", "db").container("main", "image"));
    pods.create(&PostParams::default(), &orphan).await.expect("created");
    let set = fresh(testkit::replica_set("db").replicas(2));
    test.api::<ReplicaSet>().create(&PostParams::default(), &set).await.expect("created");
    let ready = |set: &ReplicaSet| set.status.as_ref().is_some_and(|status| status.ready_replicas == Some(2));
    let set = test.until("db", ready).await;
    let adopted = pods.get("orphan").await.expect("there");
    assert!(objects::is_controlled_by(&adopted.metadata, &set));

    pods.delete("orphan", &DeleteParams::default()).await.expect("deleted");
    let api = &pods;
    test.eventually("another pod", || async move {
        let items = api.list(&ListParams::default()).await.expect("listed").items;
        let others = items.iter().filter(|pod| objects::name(*pod) != "orphan").count();
        (others == 2 && items.len() == 2).then_some(())
    })
    .await;
}

/// The resource versions of everything in the namespace `default` that controllers write.
async fn versions(test: &TestCluster) -> Vec<String> {
    async fn of<K>(test: &TestCluster, into: &mut Vec<String>)
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        for object in test.api::<K>().list(&ListParams::default()).await.expect("listed").items {
            into.push(format!("{} {:?}", objects::name(&object), object.meta().resource_version));
        }
    }
    let mut all = Vec::new();
    of::<Deployment>(test, &mut all).await;
    of::<ReplicaSet>(test, &mut all).await;
    of::<Pod>(test, &mut all).await;
    of::<EndpointSlice>(test, &mut all).await;
    of::<Endpoints>(test, &mut all).await;
    of::<Event>(test, &mut all).await;
    all
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_when_nothing_changes() {
    let test = TestCluster::start(&["n1"]).await;
    let service = fresh(testkit::service("web").selector("app", "web").port("http", 80, 8080));
    test.api::<Service>().create(&PostParams::default(), &service).await.expect("created");
    let made = fresh(testkit::deployment("web").replicas(3).image("v1"));
    test.api::<Deployment>().create(&PostParams::default(), &made).await.expect("created");
    test.until("web", complete(3)).await;
    test.cluster.env.sleep(std::time::Duration::from_secs(5)).await;
    let before = versions(&test).await;
    // Not longer, since the node of this test sends no heartbeats.
    test.cluster.env.sleep(std::time::Duration::from_secs(20)).await;
    assert_eq!(before, versions(&test).await);
}
