//! Garbage collection in the foreground and with orphans.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};

use crate::support::{TestCluster, fresh};

/// Makes an owner and a dependent that blocks it; the maker of the dependent may change it.
async fn owner_and_dependent(maps: &Api<ConfigMap>, finalizer: Option<&str>) {
    let owner = fresh(testkit::object::<ConfigMap>("default/owner"));
    let owner = maps.create(&PostParams::default(), &owner).await.expect("created");
    let mut dependent = testkit::object::<ConfigMap>("default/dependent").controlled_by(&owner);
    if let Some(finalizer) = finalizer {
        dependent = dependent.finalizer(finalizer);
    }
    maps.create(&PostParams::default(), &fresh(dependent)).await.expect("created");
}

async fn gone(test: &TestCluster, name: &str) {
    let maps: &Api<ConfigMap> = &test.api();
    test.eventually(name, || async move { maps.get_opt(name).await.expect("readable").is_none().then_some(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_in_the_foreground_outlives_its_dependents() {
    let test = TestCluster::start(&[]).await;
    let maps: Api<ConfigMap> = test.api();
    owner_and_dependent(&maps, Some("example.com/hold")).await;
    maps.delete("owner", &DeleteParams::foreground()).await.expect("deleted");
    let deleting = |map: &ConfigMap| map.metadata.deletion_timestamp.is_some();
    let mut dependent = test.until("dependent", deleting).await;
    test.until("owner", deleting).await;
    dependent.metadata.finalizers = None;
    maps.replace("dependent", &PostParams::default(), &dependent).await.expect("released");
    gone(&test, "dependent").await;
    gone(&test, "owner").await;
}

#[tokio::test(start_paused = true)]
async fn orphans_live_on_without_their_owner() {
    let test = TestCluster::start(&[]).await;
    let maps: Api<ConfigMap> = test.api();
    owner_and_dependent(&maps, None).await;
    maps.delete("owner", &DeleteParams::orphan()).await.expect("deleted");
    gone(&test, "owner").await;
    let dependent = maps.get("dependent").await.expect("it lives");
    assert!(dependent.metadata.owner_references.is_none_or(|owners| owners.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn dependents_of_an_absent_owner_are_deleted() {
    let test = TestCluster::start(&[]).await;
    let maps: Api<ConfigMap> = test.api();
    let owner = testkit::object::<ConfigMap>("default/never").build();
    let dependent = fresh(testkit::object::<ConfigMap>("default/dependent").owned_by(&owner));
    maps.create(&PostParams::default(), &dependent).await.expect("created");
    gone(&test, "dependent").await;
}
