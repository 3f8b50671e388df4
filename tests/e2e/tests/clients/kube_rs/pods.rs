//! What controllers do with running pods: commands, attached streams, ports, logs, evictions.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess, EvictParams, LogParams, Patch, PatchParams, PostParams, TerminalSize};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use skiff_e2e::Process;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{NAMESPACE, made, refused, soon};

/// Prints a line a time that it is told one.
const ECHO: &str = "while read line; do echo got $line; done";
const COUNT: &str = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done";

pub async fn check(client: Client) {
    let client = &client;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    soon("an account", await_condition(accounts, "default", conditions::is_created())).await.expect("it is watched");
    for (name, command) in [("web", None), ("reader", Some(ECHO)), ("counter", Some(COUNT))] {
        let mut container = json!({"name": "main", "image": "skiff.local/hello:1", "stdin": name == "reader"});
        if let Some(command) = command {
            container["command"] = json!(["sh", "-c", command]);
        }
        let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
        let pod = made(json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}));
        pods.create(&PostParams::default(), &pod).await.expect("created");
    }
    for name in ["web", "reader", "counter"] {
        let runs = await_condition(pods.clone(), name, conditions::is_pod_running());
        soon(name, runs).await.expect("it is watched");
    }
    commands(&pods).await;
    attach(&pods).await;
    ports(&pods).await;
    logs(&pods).await;
    changes(&pods).await;
    evictions(client, &pods).await;
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> String {
    let (mut stream, mut text) = (stream.expect("it was asked for"), String::new());
    soon("the end of a stream", stream.read_to_string(&mut text)).await.expect("text");
    text
}

/// What a command prints on both of its outputs, and how it ends.
async fn outcome(mut process: AttachedProcess) -> (String, String, Status) {
    let status = process.take_status().expect("it was not taken");
    let (out, err) = tokio::join!(all(process.stdout()), all(process.stderr()));
    let status = soon("the status", status).await.expect("commands end with one");
    soon("the end", process.join()).await.expect("no failure");
    (out, err, status)
}

async fn commands(pods: &Api<Pod>) {
    let script = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let process = pods.exec("web", script, &AttachParams::default()).await.expect("it starts");
    let (out, err, status) = outcome(process).await;
    assert_eq!((out.as_str(), err.as_str(), status.reason.as_deref()), ("out\n", "err\n", Some("NonZeroExitCode")));
    let cause = status.details.and_then(|details| details.causes).expect("a cause").remove(0);
    assert_eq!((cause.reason.as_deref(), cause.message.as_deref()), (Some("ExitCode"), Some("7")));
    let process = pods.exec("web", ["true"], &AttachParams::default().container("main")).await.expect("it starts");
    assert_eq!(outcome(process).await.2.status.as_deref(), Some("Success"));

    // What runs in containers is not let to open more files because the server is.
    let process = pods.exec("web", ["sh", "-c", "ulimit -Sn"], &AttachParams::default()).await.expect("it starts");
    assert_eq!(outcome(process).await.0, format!("{}\n", Process::OPEN_FILES));

    // Its input ends with the stream, as in a pipe.
    let params = AttachParams::default().stdin(true).stderr(false);
    let mut process = pods.exec("web", ["cat"], &params).await.expect("it starts");
    let mut stdin = process.stdin().expect("it was asked for");
    stdin.write_all(b"a\nb\nc\n").await.expect("written");
    stdin.shutdown().await.expect("closed");
    drop(stdin);
    assert_eq!(all(process.stdout()).await, "a\nb\nc\n");
    soon("the end", process.join()).await.expect("no failure");

    let params = AttachParams::interactive_tty();
    let mut process = pods.exec("web", ["sh"], &params).await.expect("it starts");
    let mut sizes = process.terminal_size().expect("terminals have one");
    futures::SinkExt::send(&mut sizes, TerminalSize { width: 101, height: 33 }).await.expect("sent");
    let mut stdin = process.stdin().expect("it was asked for");
    stdin.write_all(b"until stty size | grep '33 101'; do :; done; exit\n").await.expect("written");
    let shown = all(process.stdout()).await;
    assert!(shown.contains("33 101"), "{shown}");
    soon("the end", process.join()).await.expect("no failure");

    let Err(err) = pods.exec("nothing", ["true"], &AttachParams::default()).await else {
        panic!("there is no such pod")
    };
    assert!(format!("{err:?}").contains("404"), "{err:?}");
}

async fn attach(pods: &Api<Pod>) {
    let params = AttachParams::default().stdin(true).stderr(false);
    for word in ["hello", "again"] {
        let mut process = pods.attach("reader", &params).await.expect("it is attached");
        let mut stdin = process.stdin().expect("it was asked for");
        let expected = format!("got {word}\n");
        stdin.write_all(format!("{word}\n").as_bytes()).await.expect("written");
        let mut said = vec![0; expected.len()];
        let mut stdout = process.stdout().expect("it was asked for");
        let read = soon("an answer", stdout.read_exact(&mut said)).await;
        assert_eq!((read.ok(), String::from_utf8_lossy(&said).as_ref()), (Some(said.len()), expected.as_str()));
        // Whoever leaves does not end what was attached to.
        process.abort();
    }
}

async fn ports(pods: &Api<Pod>) {
    let mut forwarded = pods.portforward("web", &[8080, 9]).await.expect("it is forwarded");
    let refused = forwarded.take_error(9).expect("it was asked for");
    let mut stream = forwarded.take_stream(8080).expect("it was asked for");
    stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").await.expect("written");
    let answer = all(Some(stream)).await;
    assert!(answer.starts_with("HTTP/1.") && answer.trim_end().ends_with('1'), "{answer}");
    let mut nobody = forwarded.take_stream(9).expect("it was asked for");
    // It may be closed before anything is written.
    let _ = nobody.write_all(b"hello").await;
    let why = soon("the refusal", refused).await.expect("nobody listens there");
    assert!(why.contains("refused"), "{why}");
    forwarded.abort();
}

async fn logs(pods: &Api<Pod>) {
    let follow = LogParams { follow: true, tail_lines: Some(1), timestamps: true, ..LogParams::default() };
    let mut lines = pods.log_stream("counter", &follow).await.expect("it has logs").lines();
    let mut numbers = Vec::new();
    while numbers.len() < 4 {
        let line = soon("a line", lines.try_next()).await.expect("no failure").expect("it goes on");
        let (time, text) = line.split_once(' ').expect("a time and a line");
        assert!(time.parse::<k8s_openapi::jiff::Timestamp>().is_ok(), "{line}");
        numbers.push(text.trim_start_matches("line ").parse::<u32>().expect("a number"));
    }
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    let all = pods.logs("counter", &LogParams::default()).await.expect("it has logs");
    assert!(all.starts_with("line 1\nline 2\n"), "{all}");
    let limited = LogParams { limit_bytes: Some(6), ..LogParams::default() };
    assert_eq!(pods.logs("counter", &limited).await.expect("it has logs"), "line 1");
    let wrong = LogParams { container: Some("other".to_owned()), ..LogParams::default() };
    let wrong = refused(pods.logs("counter", &wrong).await, 400, "BadRequest");
    assert_eq!(wrong.message, "container other is not valid for pod counter");
    let previous = LogParams { previous: true, ..LogParams::default() };
    refused(pods.logs("counter", &previous).await, 400, "BadRequest");
}

/// Subresources that change what runs.
async fn changes(pods: &Api<Pod>) {
    let probe = json!({"name": "probe", "image": "skiff.local/hello:1", "command": ["sleep", "1000"]});
    let added = Patch::Strategic(json!({"spec": {"ephemeralContainers": [probe]}}));
    let pod = pods.patch_ephemeral_containers("web", &PatchParams::default(), &added).await.expect("added");
    assert_eq!(pod.spec.and_then(|spec| spec.ephemeral_containers).map(|containers| containers.len()), Some(1));
    let runs = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.ephemeral_container_statuses.as_ref());
        let is_running = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
            status.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        statuses.is_some_and(|statuses| statuses.iter().any(is_running))
    };
    soon("the probe", await_condition(pods.clone(), "web", runs)).await.expect("it is watched");
    let resources = json!({"requests": {"cpu": "20m"}});
    let resized = Patch::Strategic(json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}));
    // Its class would change with that.
    let refusal = refused(pods.patch_resize("counter", &PatchParams::default(), &resized).await, 422, "Invalid");
    assert!(refusal.message.contains("Pod QOS Class may not change"), "{refusal:?}");
}

async fn evictions(client: &Client, pods: &Api<Pod>) {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "counter"}}});
    let budget = made(json!({"metadata": {"name": "counter"}, "spec": spec}));
    budgets.create(&PostParams::default(), &budget).await.expect("created");
    let counted = json!({
        "observedGeneration": 1, "expectedPods": 1, "desiredHealthy": 1, "currentHealthy": 1, "disruptionsAllowed": 0,
    });
    let counted = Patch::Merge(json!({"status": counted}));
    budgets.patch_status("counter", &PatchParams::default(), &counted).await.expect("patched");
    // kube-rs comes back by itself to what is refused with 429, until the budget allows it.
    let allow = Patch::Merge(json!({"status": {"disruptionsAllowed": 1}}));
    let (params, eviction) = (PatchParams::default(), EvictParams::default());
    let evicting = soon("the eviction", pods.evict("counter", &eviction));
    let (evicted, allowed) = tokio::join!(evicting, budgets.patch_status("counter", &params, &allow));
    assert!(evicted.expect("evicted").is_success());
    let left = allowed.expect("patched").status.map(|status| status.disruptions_allowed);
    assert_eq!(left, Some(1));

    for name in ["reader", "web"] {
        let uid = pods.get(name).await.expect("it is there").uid().expect("objects have one");
        let status = pods.evict(name, &EvictParams::default()).await.expect("evicted");
        assert!(status.is_success(), "{status:?}");
        let is_gone = await_condition(pods.clone(), name, conditions::is_deleted(&uid));
        soon("the end", is_gone).await.expect("it is watched");
    }
}
