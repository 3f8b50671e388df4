//! Classes of runtimes, and taints that end what runs. Taints are everybody's: their behaviours come after all others.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::stage::{DEADLINE, Stage, condition, pod, refused, with};

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new("a RuntimeClass names the handler that makes the sandbox", handler),
        Behaviour::new(
            "RuntimeClass should reject a Pod requesting a non-existent RuntimeClass",
            async |stage: Stage| {
                let result = stage.try_create(of_class("none-such")).await;
                assert!(refused(result, 403).contains("RuntimeClass \"none-such\" not found"));
            },
        ),
        Behaviour::new("RuntimeClass should reject a Pod requesting a deleted RuntimeClass", async |stage: Stage| {
            let (api, name) = class(&stage, "runc", None).await;
            api.delete(&name, &DeleteParams::default()).await.expect("deleted");
            let mut attempts = 0;
            // The server may not have heard of the deletion, and let first ones in.
            let refusal = async || {
                attempts += 1;
                let named = json!({"metadata": {"name": format!("main-{attempts}")}});
                match stage.try_create(with(of_class(&name), named)).await {
                    Ok(_) => None,
                    refusal => Some(refused(refusal, 403)),
                }
            };
            let message = testkit::poll_async(DEADLINE, refusal).await.expect("it is refused");
            assert!(message.contains("not found"), "{message}");
        }),
        Behaviour::new(
            "RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead",
            async |stage: Stage| {
                let overhead = json!({"podFixed": {"cpu": "10m", "memory": "1Mi"}});
                let pod = scheduled(&stage, Some(overhead)).await;
                assert_eq!(pod["spec"]["overhead"], json!({"cpu": "10m", "memory": "1Mi"}));
            },
        ),
        Behaviour::new(
            "RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead",
            async |stage: Stage| {
                let pod = scheduled(&stage, None).await;
                assert_eq!(pod["spec"].get("overhead"), None);
            },
        ),
    ]
}

/// The node's runtime has no other handler than the usual one, and says so.
async fn handler(stage: Stage) {
    let (_, name) = class(&stage, "another", None).await;
    let known = async || stage.try_create(of_class(&name)).await.ok();
    testkit::poll_async(DEADLINE, known).await.expect("the server hears of the class");
    let told = async || {
        let events = stage.events("main").await;
        let told =
            |(reason, message): &(String, String)| reason == "FailedCreatePodSandBox" && message.contains("another");
        events.iter().any(told).then_some(())
    };
    testkit::poll_async(DEADLINE, told).await.expect("the runtime is asked for the handler");
}

fn of_class(name: &str) -> Value {
    with(pod("main", json!({})), json!({"spec": {"runtimeClassName": name}}))
}

/// Makes a class with a name of the stage's own.
async fn class(stage: &Stage, handler: &str, overhead: Option<Value>) -> (Api<RuntimeClass>, String) {
    let api: Api<RuntimeClass> = Api::all(stage.client.clone());
    let name = format!("class-{}", stage.namespace);
    let object = json!({"metadata": {"name": name}, "handler": handler, "overhead": overhead});
    let object = serde_json::from_value(object).expect("a class");
    api.create(&PostParams::default(), &object).await.expect("created");
    (api, name)
}

async fn scheduled(stage: &Stage, overhead: Option<Value>) -> Value {
    let (_, name) = class(stage, "runc", overhead).await;
    let known = async || stage.try_create(of_class(&name)).await.ok();
    testkit::poll_async(DEADLINE, known).await.expect("the server hears of the class");
    let is_scheduled = |pod: &Value| (condition(pod, "PodScheduled")["status"] == "True").then(|| pod.clone());
    stage.until("main", "a node", is_scheduled).await
}

pub fn disruptive() -> Vec<Behaviour> {
    vec![
        Behaviour::new("NoExecuteTaintManager Single Pod removing taint cancels eviction", spared),
        Behaviour::new("NoExecuteTaintManager Multiple Pods evicts pods with minTolerationSeconds", evicted),
    ]
}

fn tolerant(name: &str, seconds: u32) -> Value {
    let toleration = json!({"key": "e2e", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    with(pod(name, json!({})), json!({"spec": {"tolerations": [toleration]}}))
}

async fn taint(client: &Client, taints: Value) {
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    Api::<Node>::all(client.clone()).patch("first", &PatchParams::default(), &patch).await.expect("patched");
}

fn tainted() -> Value {
    json!([{"key": "e2e", "value": "yes", "effect": "NoExecute"}])
}

/// The one that stays is seen to outlive its time. Where a machine is so busy that the controller hears of the end of
/// the taint too late, the next one gets a longer time.
async fn spared(stage: Stage) {
    for seconds in [5, 20, 80] {
        let (name, short) = (format!("main-{seconds}"), format!("short-{seconds}"));
        stage.create(tolerant(&name, seconds)).await;
        stage.create(tolerant(&short, 1)).await;
        stage.ready(&name).await;
        stage.ready(&short).await;
        let begun = Instant::now();
        taint(&stage.client, tainted()).await;
        let leaves = |pod: &Value| pod["metadata"]["deletionTimestamp"].as_str().map(drop);
        stage.until(&short, "its eviction", leaves).await;
        taint(&stage.client, Value::Null).await;
        let time = Duration::from_secs(u64::from(seconds));
        let past = async || (begun.elapsed() > time + Duration::from_secs(1)).then_some(());
        testkit::poll_async(Duration::from_secs(120), past).await.expect("time passes");
        let pod = stage.pods().get_opt(&name).await.expect("read");
        if pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) {
            return;
        }
    }
    panic!("the end of the taint spared nobody");
}

async fn evicted(stage: Stage) {
    for (name, seconds) in [("first", 1), ("second", 6)] {
        stage.create(tolerant(name, seconds)).await;
        stage.ready(name).await;
    }
    taint(&stage.client, tainted()).await;
    stage.gone("first").await;
    let second = stage.history("second").pop().expect("it was seen");
    assert!(second["metadata"].get("deletionTimestamp").is_none(), "{:#}", second["metadata"]);
    stage.gone("second").await;
    taint(&stage.client, Value::Null).await;
}
