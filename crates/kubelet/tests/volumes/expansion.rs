//! Volumes that grow: what is asked of the driver, and what the claim's status says meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tonic::Code;

use super::super::Stage;
use super::super::fake_csi::{ALL, FakeDriver};
use super::{claimed, source};

/// What a driver is asked for where a volume has 2 GiB.
const EXPANDED: &str = "NodeExpandVolume v1 2147483648";

/// A driver with a claimed volume of 1 GiB that nobody uses yet.
async fn stage(mode: &str, capabilities: &[i32]) -> (Stage, FakeDriver) {
    let stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    stage.claim(mode, source()).await;
    let driver = stage.driver(capabilities);
    (stage, driver)
}

impl Stage {
    /// Lets the volume have 2 GiB, and its claim's status say so, as the cluster's side does.
    async fn grow(&self, status: Value) {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let grown = json!({"spec": {"capacity": {"storage": "2Gi"}}});
        volumes.patch("pv", &PatchParams::default(), &Patch::Merge(grown)).await.expect("patched");
        let status = Patch::Merge(json!({"status": status}));
        self.claims().patch_status("c", &PatchParams::default(), &status).await.expect("patched");
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn claim_status(&self) -> Value {
        json!(self.claims().get("c").await.expect("a claim").status)
    }

    async fn until_claim(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.until(what, async || Some(self.claim_status().await).filter(|status| is_it(status))).await
    }
}

/// The controller is through, and the node is to go on.
fn pending() -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    json!({
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"},
        "conditions": [condition("FileSystemResizePending"), condition("ModifyingVolume")],
    })
}

fn state(status: &Value) -> &Value {
    &status["allocatedResourceStatuses"]["storage"]
}

fn conditions(status: &Value) -> Vec<&str> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.filter_map(|condition| condition["type"].as_str()).collect()
}

#[tokio::test]
async fn a_claim_that_has_grown_is_expanded_and_its_status_says_so() {
    let (mut stage, driver) = stage("ReadWriteOnce", &ALL).await;
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    stage.stop().await;
    // By a controller that says nothing of how far it is.
    stage.grow(json!({})).await;
    stage.start();
    stage.until_claim("growth", |status| status["capacity"]["storage"] == "2Gi").await;
    assert_eq!(driver.calls().iter().filter(|call| *call == EXPANDED).count(), 1, "{:?}", driver.calls());
}

#[tokio::test]
async fn a_claim_says_that_its_node_is_at_work_and_no_more_when_that_is_done() {
    let (stage, driver) = stage("ReadWriteOnce", &ALL).await;
    stage.grow(pending()).await;
    driver.fail_with("NodeExpandVolume", Code::Unavailable);
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    let status = stage.until_claim("work", |status| state(status) == "NodeResizeInProgress").await;
    assert_eq!(conditions(&status), ["FileSystemResizePending", "ModifyingVolume"], "it is not known how that ended");
    stage.events_say("NodeExpandVolume.NodeExpandVolume failed for volume \"pv\" : Expander.NodeExpand failed").await;
    driver.fail(None);
    stage.pass(Duration::from_secs(61)).await;
    let status = stage.until_claim("growth", |status| status["capacity"]["storage"] == "2Gi").await;
    assert_eq!((state(&status), conditions(&status)), (&Value::Null, vec!["ModifyingVolume"]));
    stage.events_say("MountVolume.NodeExpandVolume succeeded for volume \"pv\" n1").await;
}

#[tokio::test]
async fn a_volume_is_not_expanded_before_its_controller_is_through() {
    let (stage, driver) = stage("ReadWriteOnce", &ALL).await;
    stage.grow(json!({"allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"}})).await;
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    assert_eq!(driver.calls(), ["NodeStageVolume v1", "NodePublishVolume v1"]);
    stage.grow(pending()).await;
    stage.pass(Duration::from_secs(61)).await;
    stage.until_claim("growth", |status| status["capacity"]["storage"] == "2Gi").await;
}

/// What becomes of a claim whose volume the driver cannot expand.
async fn check_failure(code: Code, expected_state: &str, is_asked_again: bool) {
    let (stage, driver) = stage("ReadWriteOnce", &ALL).await;
    stage.grow(pending()).await;
    driver.fail_with("NodeExpandVolume", code);
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    let status = stage.until_claim("a condition", |status| conditions(status).contains(&"NodeResizeError")).await;
    assert_eq!(state(&status), expected_state, "{code:?}");
    let condition = status["conditions"].as_array().expect("conditions").last().expect("one");
    let message = condition["message"].as_str().expect("a message");
    assert!(message.starts_with("failed to expand pvc with ") && message.contains("as the test wants it"), "{message}");
    assert!(condition["lastTransitionTime"].is_string() && condition["status"] == "True", "{condition}");
    driver.fail(None);
    let asked = || driver.calls().iter().filter(|call| *call == EXPANDED).count();
    let before = asked();
    stage.pass(Duration::from_secs(61)).await;
    if is_asked_again {
        let status = stage.until_claim("growth", |status| status["capacity"]["storage"] == "2Gi").await;
        assert_eq!((state(&status), conditions(&status)), (&Value::Null, vec!["ModifyingVolume"]));
    } else {
        // Whatever was due is through when another pod with the volume runs.
        stage.create(claimed("next")).await;
        stage.until_phase("next", "Running").await;
        assert_eq!(asked(), before, "{code:?}");
    }
}

#[tokio::test]
async fn a_volume_that_cannot_be_expanded_says_why_and_is_left_where_that_is_for_good() {
    check_failure(Code::Internal, "NodeResizeInProgress", true).await;
    check_failure(Code::OutOfRange, "NodeResizeInfeasible", false).await;
    check_failure(Code::FailedPrecondition, "NodeResizeInProgress", false).await;
}

#[tokio::test]
async fn a_claim_that_wants_something_else_by_now_is_given_back_to_its_controller() {
    let (stage, driver) = stage("ReadWriteOnce", &ALL).await;
    stage.grow(pending()).await;
    driver.fail_with("NodeExpandVolume", Code::Internal);
    stage.create(claimed("web")).await;
    stage.until_claim("a condition", |status| conditions(status).contains(&"NodeResizeError")).await;
    let smaller = json!({"spec": {"resources": {"requests": {"storage": "1536Mi"}}}});
    stage.claims().patch("c", &PatchParams::default(), &Patch::Merge(smaller)).await.expect("patched");
    stage.pass(Duration::from_secs(61)).await;
    stage.until_claim("the end", |status| state(status) == "NodeResizeInfeasible").await;
}

#[tokio::test]
async fn a_driver_that_does_not_expand_leaves_the_claim_to_its_controller() {
    let (stage, driver) = stage("ReadWriteOnce", &[1]).await;
    stage.grow(json!({})).await;
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    assert_eq!(driver.calls(), ["NodeStageVolume v1", "NodePublishVolume v1"]);
    assert_eq!(stage.claim_status().await["capacity"]["storage"], "1Gi");
}

#[tokio::test]
async fn a_volume_of_many_nodes_is_expanded_on_each_of_them() {
    let (stage, driver) = stage("ReadWriteMany", &ALL).await;
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    // Another node was first.
    stage.grow(json!({"capacity": {"storage": "2Gi"}})).await;
    stage.pass(Duration::from_secs(61)).await;
    stage.until("expansion", async || driver.calls().contains(&EXPANDED.to_owned()).then_some(())).await;
}
