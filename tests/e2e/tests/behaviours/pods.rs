//! Pods from their making to their end: what the API and the node say of them meanwhile.

use futures::StreamExt;
use hyper::Request;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::Behaviour;
use crate::stage::{DEADLINE, IMAGE, Stage, condition, container, pod, script, with};

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new(
            "Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and \
             observedGeneration eventually converge",
            many_generations,
        ),
        Behaviour::new("Pods should get a host IP", async |stage: Stage| {
            stage.create(sleeper("main")).await;
            let pod = stage.ready("main").await;
            let ip = pod["status"]["hostIP"].as_str().expect("it is set");
            assert!(ip.parse::<std::net::IpAddr>().is_ok(), "{ip}");
        }),
        Behaviour::new("Pods should be submitted and removed", submitted_and_removed),
        Behaviour::new("Pods should be updated", updated),
        Behaviour::new("Pods should allow activeDeadlineSeconds to be updated", deadline),
        Behaviour::new("Pods should delete a collection of pods", collection),
        Behaviour::new("Pods should patch a pod status", status_patched),
        Behaviour::new("Pods should run through the lifecycle of Pods and PodStatus", lifecycle),
        Behaviour::new("Pods should support remote command execution over websockets", command),
        Behaviour::new("Pods should support retrieving logs from the container over websockets", logs),
        Behaviour::new(
            "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for \
             memory and cpu",
            quality_of_service,
        ),
        Behaviour::new(
            "Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update",
            generation,
        ),
        Behaviour::new(
            "Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete",
            own_generation,
        ),
    ]
}

fn sleeper(name: &str) -> Value {
    let main = pod(name, json!({"command": ["sleep", "1000"]}));
    with(main, json!({"metadata": {"labels": {"time": "now"}}}))
}

fn by_label(selector: &str) -> ListParams {
    ListParams::default().labels(selector)
}

async fn submitted_and_removed(stage: Stage) {
    let none = stage.pods().list(&by_label("time=now")).await.expect("listed").items;
    assert!(none.is_empty());
    let main = with(sleeper("main"), json!({"spec": {"terminationGracePeriodSeconds": 30}}));
    stage.create(main).await;
    stage.ready("main").await;
    let found = stage.pods().list(&by_label("time=now")).await.expect("listed").items;
    assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["main"]);
    stage
        .pods()
        .delete("main", &DeleteParams { grace_period_seconds: Some(3), ..DeleteParams::default() })
        .await
        .expect("deleted");
    stage.gone("main").await;
    let deleted = stage.history("main").iter().any(|pod| {
        pod["metadata"]["deletionGracePeriodSeconds"] == 3 && pod["metadata"]["deletionTimestamp"].is_string()
    });
    assert!(deleted, "{:#?}", stage.history("main"));
    let none = stage.pods().list(&by_label("time=now")).await.expect("listed").items;
    assert!(none.is_empty());
}

async fn updated(stage: Stage) {
    stage.create(sleeper("main")).await;
    stage.ready("main").await;
    stage.patch("main", None, json!({"metadata": {"labels": {"time": "later"}}})).await;
    let found = stage.pods().list(&by_label("time=later")).await.expect("listed").items;
    assert_eq!(found.len(), 1);
}

async fn deadline(stage: Stage) {
    stage.create(sleeper("main")).await;
    stage.ready("main").await;
    stage.patch("main", None, json!({"spec": {"activeDeadlineSeconds": 1}})).await;
    let pod = stage.phase("main", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert_eq!(pod["status"]["message"], "Pod was active on the node longer than the specified deadline");
}

async fn collection(stage: Stage) {
    for name in ["one", "two", "three"] {
        stage.create(sleeper(name)).await;
    }
    for name in ["one", "two", "three"] {
        stage.until(name, "to be seen", |_| Some(())).await;
    }
    stage.pods().delete_collection(&DeleteParams::default(), &by_label("time=now")).await.expect("deleted");
    for name in ["one", "two", "three"] {
        stage.gone(name).await;
    }
}

async fn status_patched(stage: Stage) {
    stage.create(sleeper("main")).await;
    stage.ready("main").await;
    let patch = json!({"status": {"message": "Patched by a test", "reason": "E2E"}});
    let patched = stage.patch("main", Some("status"), patch).await;
    assert_eq!(patched["status"]["message"], "Patched by a test");
    let read = stage.pods().get("main").await.expect("read").status.unwrap_or_default();
    assert_eq!((read.message.as_deref(), read.reason.as_deref()), (Some("Patched by a test"), Some("E2E")));
}

async fn lifecycle(stage: Stage) {
    stage.create(sleeper("main")).await;
    stage.ready("main").await;
    let patched = stage.patch("main", None, json!({"metadata": {"labels": {"test": "patched"}}})).await;
    assert_eq!(patched["metadata"]["labels"]["test"], "patched");
    let gate = json!({"type": "example.com/seen", "status": "True"});
    let pod = loop {
        // The kubelet writes the status too, and whoever replaces it may come too late.
        let mut pod = stage.pods().get("main").await.expect("read");
        let condition = serde_json::from_value(gate.clone()).expect("a condition");
        pod.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
        match stage.pods().replace_subresource("status", "main", &PostParams::default(), &pod).await {
            Ok(pod) => break pod,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(err) => panic!("{err}"),
        }
    };
    let pod = serde_json::to_value::<Pod>(pod).expect("a document");
    assert_eq!(condition(&pod, "example.com/seen")["status"], "True");
    let everywhere: Api<Pod> = Api::all(stage.client.clone());
    let found = everywhere.list(&by_label("test=patched")).await.expect("listed").items;
    assert!(found.iter().any(|pod| pod.namespace().as_ref() == Some(&stage.namespace)));
    stage.pods().delete_collection(&DeleteParams::default(), &by_label("test=patched")).await.expect("deleted");
    stage.gone("main").await;
    let seen = stage.history("main");
    let labelled = seen.iter().position(|pod| pod["metadata"]["labels"]["test"] == "patched");
    let replaced = seen.iter().position(|pod| condition(pod, "example.com/seen")["status"] == "True");
    assert!(labelled.is_some() && labelled < replaced, "{labelled:?} {replaced:?}");
}

/// The client speaks WebSocket alone.
async fn command(stage: Stage) {
    stage.create(sleeper("main")).await;
    stage.ready("main").await;
    assert_eq!(stage.exec("main", &["sh", "-c", "echo remote execution test"]).await, "remote execution test\n");
    let params = AttachParams::default();
    let mut process = stage.pods().exec("main", ["sh", "-c", "exit 3"], &params).await.expect("it starts");
    let status = process.take_status().expect("it was not taken").await.expect("commands end with one");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
}

async fn logs(stage: Stage) {
    stage.create(pod("main", json!({"command": script("echo container is alive; exec sleep 1000")}))).await;
    stage.printed("main", "a line", |log| log.contains("alive")).await;
    let path = format!("/api/v1/namespaces/{}/pods/main/log?container=main", stage.namespace);
    let request = Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "binary.k8s.io");
    let answer = stage.client.send(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "binary.k8s.io");
    let mut connection = TokioIo::new(hyper::upgrade::on(answer).await.expect("it is upgraded"));
    let mut bytes = Vec::new();
    let read = connection.read_to_end(&mut bytes);
    // The end may come without TLS saying so.
    let _ = tokio::time::timeout(DEADLINE, read).await.expect("it ends");
    // A whole message of bytes: an empty one that says that the connection stands, then the line; then the end.
    let text = b"container is alive\n";
    let expected = [&[0x82, 0, 0x82, text.len() as u8], &text[..], &[0x88]].concat();
    assert!(bytes.starts_with(&expected), "{bytes:?}");
}

async fn quality_of_service(stage: Stage) {
    let resources = json!({"cpu": "100m", "memory": "100Mi"});
    let main = pod("main", json!({"resources": {"requests": resources, "limits": resources}}));
    stage.create(main).await;
    let pod = stage.ready("main").await;
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
}

fn observed(generation: u64) -> impl Fn(&Value) -> Option<()> {
    move |pod| (pod["status"]["observedGeneration"] == generation).then_some(())
}

async fn generation(stage: Stage) {
    let made = stage.create(sleeper("main")).await;
    assert_eq!(made["metadata"]["generation"], 1);
    stage.until("main", "generation 1 to be observed", observed(1)).await;
    stage.ready("main").await;
    let changes = [
        (json!({"metadata": {"annotations": {"a": "b"}}}), 1),
        (json!({"spec": {"activeDeadlineSeconds": 5000}}), 2),
        (json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}), 3),
        (json!({"metadata": {"labels": {"more": "labels"}}}), 3),
    ];
    for (patch, generation) in changes {
        let patched = stage.patch("main", None, patch).await;
        assert_eq!(patched["metadata"]["generation"], generation);
        stage.until("main", "the generation to be observed", observed(generation)).await;
    }
    let image = json!({"spec": {"containers": [{"name": "main", "image": "skiff.local/hello:printer"}]}});
    assert_eq!(stage.patch("main", None, image).await["metadata"]["generation"], 4);
    stage.until("main", "the generation to be observed", observed(4)).await;
}

async fn own_generation(stage: Stage) {
    let made = stage.create(with(sleeper("main"), json!({"metadata": {"generation": 100}}))).await;
    assert_eq!(made["metadata"]["generation"], 1);
    stage.ready("main").await;
    stage.delete("main").await;
    stage.gone("main").await;
    let last = stage.history("main").pop().expect("it was seen");
    assert_eq!(last["metadata"]["generation"], 2);
}

/// Upstream's test makes as many changes. The image of an init container that has ended may be any.
async fn many_generations(stage: Stage) {
    let init = json!({"name": "init", "image": IMAGE, "command": ["true"]});
    stage.create(with(sleeper("main"), json!({"spec": {"initContainers": [init]}}))).await;
    stage.ready("main").await;
    let changes = futures::stream::iter(0..499).map(|number| {
        let init = json!({"name": "init", "image": format!("skiff.local/hello:g{number}")});
        let patch = Patch::Strategic(json!({"spec": {"initContainers": [init]}}));
        let pods = stage.pods();
        async move { pods.patch("main", &PatchParams::default(), &patch).await.expect("patched") }
    });
    changes.buffer_unordered(8).for_each(|_| async {}).await;
    let converged = |pod: &Value| {
        (pod["metadata"]["generation"] == 500 && pod["status"]["observedGeneration"] == 500).then(|| pod.clone())
    };
    let pod = stage.until("main", "both generations to be 500", converged).await;
    assert_eq!(container(&pod, "main")["restartCount"], 0);
}
