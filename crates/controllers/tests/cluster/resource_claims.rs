//! Claims of devices: made of templates for pods, and released when their users have ended.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::TestCluster;

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("valid")
}

fn pod(name: &str, entry: Value) -> Pod {
    let container = json!({"name": "c", "image": "image", "resources": {"claims": [{"name": "gpu"}]}});
    let mut entry = entry;
    entry["name"] = json!("gpu");
    typed(json!({
        "metadata": {"name": name},
        "spec": {"containers": [container], "resourceClaims": [entry], "restartPolicy": "Never"},
    }))
}

async fn ready(nodes: &[&str]) -> TestCluster {
    let test = TestCluster::start(nodes).await;
    test.until::<k8s_openapi::api::core::v1::ServiceAccount>("default", |_| true).await;
    test
}

fn requests() -> Value {
    json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}})
}

/// What the scheduler writes into a claim for a pod.
async fn allocate(claims: &Api<ResourceClaim>, name: &str, pod: &Pod) {
    let finalizers = json!({"metadata": {"finalizers": ["resource.kubernetes.io/delete-protection"]}});
    claims.patch(name, &PatchParams::default(), &Patch::Merge(finalizers)).await.expect("patched");
    let result = json!({"request": "r", "driver": "gpu.example.com", "pool": "p", "device": "d"});
    let user = json!({"resource": "pods", "name": pod.metadata.name, "uid": pod.metadata.uid});
    let status = json!({"status": {"allocation": {"devices": {"results": [result]}}, "reservedFor": [user]}});
    claims.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("patched");
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_made_of_a_template_and_goes_when_its_pod_has_ended() {
    let test = ready(&[]).await;
    let (pods, claims): (Api<Pod>, &Api<ResourceClaim>) = (test.api(), &test.api());
    let by_template = json!({"resourceClaimTemplateName": "t"});
    pods.create(&PostParams::default(), &pod("web", by_template)).await.expect("created");
    // The template may come later.
    let template: ResourceClaimTemplate = typed(json!({
        "metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"app": "web"}}, "spec": requests()},
    }));
    test.api::<ResourceClaimTemplate>().create(&PostParams::default(), &template).await.expect("created");
    let named = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone());
        statuses.unwrap_or_default().into_iter().find_map(|status| status.resource_claim_name)
    };
    let pod = test.until::<Pod>("web", |pod| named(pod).is_some()).await;
    let name = named(&pod).expect("a name");
    assert!(name.starts_with("web-gpu-"), "{name}");
    let claim = claims.get(&name).await.expect("a claim");
    assert_eq!(claim.metadata.labels.expect("labels")["app"], "web");
    assert_eq!(claim.metadata.annotations.expect("annotations")["resource.kubernetes.io/pod-claim-name"], "gpu");
    let owner = claim.metadata.owner_references.expect("an owner").remove(0);
    assert_eq!((owner.kind.as_str(), Some(owner.uid), owner.controller), ("Pod", pod.metadata.uid.clone(), Some(true)));

    allocate(claims, &name, &pod).await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("web", &PatchParams::default(), &Patch::Merge(ended)).await.expect("patched");
    let gone = || async { claims.get_opt(&name).await.expect("readable").is_none().then_some(()) };
    test.eventually("the claim's end", gone).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_pods_share_loses_its_devices_with_the_last_of_them() {
    let test = ready(&[]).await;
    let (pods, claims): (Api<Pod>, &Api<ResourceClaim>) = (test.api(), &test.api());
    let shared: ResourceClaim = typed(json!({"metadata": {"name": "shared"}, "spec": requests()}));
    claims.create(&PostParams::default(), &shared).await.expect("created");
    let by_name = json!({"resourceClaimName": "shared"});
    let pod = pods.create(&PostParams::default(), &pod("web", by_name)).await.expect("created");
    allocate(claims, "shared", &pod).await;
    // A minute of the paused clock lets the controller look at it.
    test.cluster.env.sleep(std::time::Duration::from_secs(60)).await;
    assert!(claims.get("shared").await.expect("there").status.expect("a status").allocation.is_some());

    pods.delete("web", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    let is_free = |claim: &ResourceClaim| {
        let status = claim.status.clone().unwrap_or_default();
        status.allocation.is_none() && status.reserved_for.is_none() && claim.metadata.finalizers.is_none()
    };
    test.until::<ResourceClaim>("shared", is_free).await;
}
