//! Claims of devices: prepared before a pod starts, seen by its containers, taken back when it has ended.

use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::Api;
use plugin_api::dra::{Claim, Device};
use serde_json::{Value, json};
use testkit::{DraDriver, Maker, pod};

use super::super::Stage;

const DRIVER: &str = "gpu.example.com";

/// A device for each of two requests.
fn devices(claim: &Claim) -> Vec<Device> {
    let device = |request: &str| Device {
        request_names: vec![request.to_owned()],
        pool_name: "n1".to_owned(),
        device_name: format!("{request}-0"),
        cdi_device_ids: vec![format!("{DRIVER}/claim={}-{request}", claim.uid)],
    };
    vec![device("one"), device("two")]
}

impl Stage {
    fn dra_driver(&self) -> DraDriver {
        DraDriver::start(&self.kubelet_dir(), DRIVER, devices)
    }

    /// A claim that has devices for two requests, and that pods use.
    async fn claim_of_devices(&self, name: &str, users: &[&str]) {
        let result = |request: &str| json!({"request": request, "driver": DRIVER, "pool": "n1", "device": format!("{request}-0")});
        let users: Vec<Value> =
            users.iter().map(|user| json!({"resource": "pods", "name": user, "uid": format!("uid-{user}")})).collect();
        self.make::<ResourceClaim>(json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
            "spec": {"devices": {}},
            "status": {"reservedFor": users, "allocation": {"devices": {"results": [result("one"), result("two")]}}},
        }))
        .await;
    }

    async fn until_asked(&self, driver: &DraDriver, expected: &[&str]) {
        self.until(&format!("{expected:?}"), async || (driver.calls() == expected).then_some(())).await;
    }

    fn cdi_devices(&self, container: &str) -> Vec<String> {
        let config = self.runtime.config(container).expect("a container");
        config.cdi_devices.into_iter().map(|device| device.name).collect()
    }
}

/// A pod with a claim, of which one container uses all and another one a request.
fn claiming(name: &str, claim: &str) -> Maker<k8s_openapi::api::core::v1::Pod> {
    let claim = claim.to_owned();
    pod(name).container("a", "image:1").container("b", "image:1").with(move |pod| {
        let spec = pod.spec.as_mut().expect("a specification");
        let claims = json!([{"name": "gpu", "resourceClaimName": claim}]);
        spec.resource_claims = serde_json::from_value(claims).expect("claims");
        for (container, used) in spec.containers.iter_mut().zip([json!({}), json!({"request": "two"})]) {
            let mut used = used;
            used["name"] = json!("gpu");
            container.resources = serde_json::from_value(json!({"claims": [used]})).expect("resources");
        }
    })
}

#[tokio::test]
async fn a_claim_is_prepared_for_its_pods_and_taken_back_over_restarts_of_the_kubelet() {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.claim_of_devices("c", &["web"]).await;
    stage.create(claiming("web", "c")).await;
    stage
        .events_say("Failed to prepare dynamic resources: prepare dynamic resources: DRA driver gpu.example.com")
        .await;
    let driver = stage.dra_driver();
    stage.until_phase("web", "Running").await;
    assert_eq!(driver.calls(), ["prepare c"]);
    let name = |request: &str| format!("{DRIVER}/claim=uid-c-{request}");
    assert_eq!(stage.cdi_devices("a"), [name("one"), name("two")]);
    assert_eq!(stage.cdi_devices("b"), [name("two")]);

    // Another kubelet knows what is prepared, and has it taken back.
    stage.kubelet = None;
    stage.start();
    stage.runtime.exit("b", 1);
    let again = async || {
        let statuses = stage.status("web").await.container_statuses?;
        statuses.iter().any(|status| status.name == "b" && status.restart_count == 1 && status.ready).then_some(())
    };
    stage.until("a restart", again).await;
    assert_eq!(stage.cdi_devices("b"), [name("two")]);
    stage.until("the driver", async || driver.is_registered().then_some(())).await;
    stage.delete("web").await;
    stage.until_asked(&driver, &["prepare c", "unprepare c"]).await;
    // A driver that has gone is asked nothing any more.
    driver.leave();
    stage.claim_of_devices("d", &["late"]).await;
    stage.create(claiming("late", "d")).await;
    stage.events_say("DRA driver gpu.example.com is not registered").await;
}

#[tokio::test]
async fn a_claim_that_is_not_the_pods_or_fails_to_be_prepared_keeps_it_from_starting() {
    let stage = Stage::new(&["image:1"]).await;
    let driver = stage.dra_driver();
    stage.claim_of_devices("other", &[]).await;
    stage.create(claiming("stranger", "other")).await;
    stage.events_say("pod stranger (uid-stranger) is not allowed to use ResourceClaim other (uid-other)").await;
    stage.until("the driver", async || driver.is_registered().then_some(())).await;
    driver.fail(true);
    stage.claim_of_devices("c", &["web"]).await;
    stage.create(claiming("web", "c")).await;
    stage.events_say("NodePrepareResources failed for ResourceClaim c: as the test wants it").await;
    driver.fail(false);
    stage.until_phase("web", "Running").await;
}

#[tokio::test]
async fn what_a_driver_published_for_the_node_is_withdrawn_when_the_kubelet_starts() {
    let mut stage = Stage::new(&[]).await;
    stage.kubelet = None;
    stage
        .make::<ResourceSlice>(json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"},
            "spec": {
                "driver": DRIVER, "nodeName": "n1",
                "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "one-0"}],
            },
        }))
        .await;
    stage.start();
    let slices: Api<ResourceSlice> = Api::all(stage.client.clone());
    stage.until("its end", async || slices.get_opt("s").await.expect("answered").is_none().then_some(())).await;
}
