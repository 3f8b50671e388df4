//! Tokens of service accounts: in projected volumes, and for drivers that want some.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Stage;
use super::super::fake_csi::{ALL, DRIVER, FakeDriver};
use super::{claimed, source, with_volume};

const MINUTE: Duration = Duration::from_secs(60);

impl Stage {
    /// Waits until a file has a content, and has it still when the kubelet has done something that comes after.
    async fn until_content(&self, file: &Path, content: &str) {
        self.until(content, async || std::fs::read_to_string(file).ok().filter(|text| text == content)).await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_when_most_of_its_life_is_over_and_kept_while_it_cannot_be() {
    let stage = Stage::new(&["image:1"]).await;
    stage.api.issue_tokens(stage.env.clone());
    let source = json!({"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 3600}});
    let maker = with_volume("web", json!({"projected": {"sources": [source]}}));
    let maker = maker.with(|pod| pod.spec.as_mut().expect("there").service_account_name = Some("robot".to_owned()));
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let file = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~projected/v/token");
    stage.until_content(&file, "token-1").await;
    let asked = stage.api.token_requests().remove(0);
    assert_eq!((&asked["spec"]["audiences"], &asked["spec"]["expirationSeconds"]), (&json!(["vault"]), &json!(3600)));
    assert_eq!(asked["spec"]["boundObjectRef"]["uid"], "uid-web");
    let path = "POST /api/v1/namespaces/default/serviceaccounts/robot/token";
    assert!(stage.api.requests().iter().any(|request| request.starts_with(path)), "{:?}", stage.api.requests());

    // Its time is 48 minutes; another volume of the pod is looked at before that.
    stage.pass(47 * MINUTE).await;
    stage.create(with_volume("next", json!({"emptyDir": {}}))).await;
    stage.until_phase("next", "Running").await;
    assert_eq!(stage.api.token_requests().len(), 1);
    stage.pass(2 * MINUTE).await;
    stage.until_content(&file, "token-2").await;
    // Nobody gives one, and the last one is good for a while.
    stage.pass(47 * MINUTE).await;
    stage.api.fail_requests(1000);
    stage.pass(2 * MINUTE).await;
    let before = stage.api.requests().len();
    let asked = async || stage.api.requests()[before..].iter().any(|request| request.starts_with(path)).then_some(());
    stage.until("another attempt", asked).await;
    assert_eq!(std::fs::read_to_string(&file).expect("a token"), "token-2");
    stage.api.fail_requests(0);
    stage.pass(MINUTE).await;
    stage.until_content(&file, "token-3").await;
}

/// What a driver was told of tokens when it was asked last, by audience.
fn told(driver: &FakeDriver, in_secrets: bool) -> Value {
    let published = driver.published().expect("published");
    let name = "csi.storage.k8s.io/serviceAccount.tokens";
    let (texts, others) = match in_secrets {
        true => (published.secrets, published.volume_context),
        false => (published.volume_context, published.secrets),
    };
    assert!(!others.contains_key(name), "{others:?}");
    serde_json::from_str(&texts[name]).expect("JSON")
}

async fn check_driver(in_secrets: bool) {
    let stage = Stage::new(&["image:1"]).await;
    stage.api.issue_tokens(stage.env.clone());
    let requests = json!([{"audience": "vault", "expirationSeconds": 600}, {"audience": ""}]);
    let spec = json!({
        "attachRequired": false, "requiresRepublish": true, "tokenRequests": requests,
        "serviceAccountTokenInSecrets": in_secrets,
    });
    stage.csi_driver(spec).await;
    stage.claim("ReadWriteOnce", source()).await;
    let driver = stage.driver(&ALL);
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    let published = || driver.calls().iter().filter(|call| *call == "NodePublishVolume v1").count();
    let token = |audience: &str| told(&driver, in_secrets)[audience]["token"].clone();
    assert_eq!((published(), token("vault"), token("")), (1, json!("token-1"), json!("token-2")));
    let expires = told(&driver, in_secrets)["vault"]["expirationTimestamp"].as_str().map(str::to_owned);
    assert!(expires.as_ref().is_some_and(|time| time.ends_with('Z')), "{expires:?}");
    let audiences = stage.api.token_requests().iter().map(|one| one["spec"]["audiences"].clone()).collect::<Vec<_>>();
    assert_eq!(audiences, [json!(["vault"]), json!([])]);

    stage.pass(MINUTE + Duration::from_secs(1)).await;
    stage.until("another publication", async || (published() == 2).then_some(())).await;
    assert_eq!(token("vault"), json!("token-1"), "it is good for minutes");
    stage.pass(8 * MINUTE).await;
    stage.until("a new token", async || (token("vault") == json!("token-3")).then_some(())).await;
    assert_eq!(token(""), json!("token-2"), "it is good for an hour");
    assert_eq!(driver.calls().iter().filter(|call| call.starts_with("NodeStageVolume")).count(), 1);
}

#[tokio::test]
async fn a_driver_is_told_the_tokens_that_it_wants_again_and_again() {
    check_driver(false).await;
    check_driver(true).await;
}

#[tokio::test]
async fn a_driver_that_cannot_publish_again_leaves_the_pod_what_it_has() {
    let stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"volumeLifecycleModes": ["Ephemeral"], "requiresRepublish": true})).await;
    let driver = stage.driver(&ALL);
    stage.create(with_volume("web", json!({"csi": {"driver": DRIVER}}))).await;
    stage.until_phase("web", "Running").await;
    driver.fail(Some("NodePublishVolume"));
    stage.pass(MINUTE + Duration::from_secs(1)).await;
    stage.events_say("as the test wants it").await;
    // What ends meanwhile is started again.
    stage.runtime.exit("a", 1);
    let restarted = async || {
        let statuses = stage.status("web").await.container_statuses?;
        (statuses[0].restart_count == 1 && statuses[0].state.as_ref()?.running.is_some()).then_some(())
    };
    stage.until("a restart", restarted).await;
    driver.fail(None);
    let before = driver.calls().len();
    stage.pass(2 * MINUTE).await;
    stage.until("another publication", async || (driver.calls().len() > before).then_some(())).await;
}
