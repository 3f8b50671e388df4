//! Ranges of service addresses that come and go.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};

use crate::support::{TestCluster, fresh};

fn range(name: &str, cidr: &str) -> ServiceCIDR {
    ServiceCIDR {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(ServiceCIDRSpec { cidrs: Some(vec![cidr.to_owned()]) }),
        status: None,
    }
}

/// Waits until the range's condition `Ready` has this status and reason.
async fn until_ready(
    ranges: &Api<ServiceCIDR>,
    test: &TestCluster,
    name: &str,
    status: &str,
    reason: &str,
) -> ServiceCIDR {
    test.eventually(name, || async move {
        let range = ranges.get(name).await.ok()?;
        let conditions = range.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut found = conditions.filter(|condition| condition.status == status && condition.reason == reason);
        found.any(|condition| condition.type_ == "Ready").then(|| range.clone())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_range_stays_until_nothing_needs_it() {
    let test = TestCluster::start(&[]).await;
    let ranges: &Api<ServiceCIDR> = &test.api_all();
    ranges.create(&PostParams::default(), &range("more", "10.99.0.0/24")).await.expect("created");
    let ready = until_ready(ranges, &test, "more", "True", "").await;
    assert_eq!(ready.metadata.finalizers, Some(vec!["networking.k8s.io/service-cidr-finalizer".to_owned()]));

    let services = test.api::<Service>();
    let web = fresh(testkit::service("web").cluster_ip("10.99.0.7").port("", 80, 80));
    services.create(&PostParams::default(), &web).await.expect("created");
    ranges.delete("more", &DeleteParams::default()).await.expect("deleted");
    until_ready(ranges, &test, "more", "False", "Terminating").await;

    // Another range that has the address takes it over.
    ranges.create(&PostParams::default(), &range("wider", "10.99.0.0/16")).await.expect("created");
    test.eventually(
        "the end of the range",
        || async move { ranges.get_opt("more").await.ok()?.is_none().then_some(()) },
    )
    .await;
    ranges.delete("wider", &DeleteParams::default()).await.expect("deleted");
    until_ready(ranges, &test, "wider", "False", "Terminating").await;
    services.delete("web", &DeleteParams::default()).await.expect("deleted");
    test.eventually(
        "the end of the range",
        || async move { ranges.get_opt("wider").await.ok()?.is_none().then_some(()) },
    )
    .await;
}
