//! CPU and memory that are changed while containers run.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::Behaviour;
use crate::stage::{DEADLINE, IMAGE, Stage, condition, container, pod, with};

pub fn behaviours() -> Vec<Behaviour> {
    const NAMED: [&str; 6] = [
        "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on \
         c1, c2, decrease cpu & mem on c3 - net increase",
        "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on \
         c1, decrease cpu & mem on c2, c3 - net decrease",
        "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), \
         memory (c2, c3) ; decrease: CPU (c2)",
        "Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed \
         (including adding limits and requests)",
        "Pod InPlace Resize Container burstable pods - extended resize with equivalents",
        "Pod InPlace Resize Container resize pod via the replace endpoint",
    ];
    let [increase, decrease, mixed, six, equivalents, replace] = NAMED;
    vec![
        resizes(
            increase,
            vec![equal(20, 32), equal(20, 32), equal(40, 64)],
            vec![equal(40, 64), equal(50, 64), equal(20, 32)],
        ),
        resizes(
            decrease,
            vec![equal(20, 32), equal(40, 64), equal(40, 64)],
            vec![equal(30, 48), equal(20, 32), equal(20, 32)],
        ),
        resizes(
            mixed,
            vec![equal(20, 32), equal(40, 32), equal(20, 32)],
            vec![equal(30, 32), equal(20, 64), equal(40, 64)],
        ),
        resizes(six, various().0, various().1),
        resizes(equivalents, vec![amounts(Some(2), None, None, None)], vec![amounts(Some(1), None, None, None)]),
        Behaviour::new(replace, replaced),
        Behaviour::new("a resize starts anew who wants that, and the pod has what all of them have", restarted),
    ]
}

/// The same as request and limit: thousandths of a CPU, MiB.
fn equal(cpu: u32, memory: u32) -> Value {
    amounts(Some(cpu), Some(cpu), Some(memory), Some(memory))
}

fn amounts(cpu: Option<u32>, cpu_limit: Option<u32>, memory: Option<u32>, memory_limit: Option<u32>) -> Value {
    let side = |cpu: Option<u32>, memory: Option<u32>| {
        let cpu = cpu.map(|cpu| ("cpu".to_owned(), json!(format!("{cpu}m"))));
        let memory = memory.map(|memory| ("memory".to_owned(), json!(format!("{memory}Mi"))));
        Value::Object(cpu.into_iter().chain(memory).collect())
    };
    let mut all = json!({});
    for (name, side) in [("requests", side(cpu, memory)), ("limits", side(cpu_limit, memory_limit))] {
        if side != json!({}) {
            all[name] = side;
        }
    }
    all
}

/// Six containers: what grows, what shrinks, what comes to be asked for or limited, and what stays.
fn various() -> (Vec<Value>, Vec<Value>) {
    let before = vec![
        amounts(Some(20), Some(40), Some(16), Some(32)),
        amounts(Some(40), Some(60), Some(32), Some(64)),
        amounts(Some(20), None, Some(16), None),
        amounts(Some(20), None, None, None),
        amounts(Some(20), Some(40), Some(16), Some(32)),
        json!({}),
    ];
    let after = vec![
        amounts(Some(30), Some(60), Some(32), Some(64)),
        amounts(Some(20), Some(40), Some(16), Some(32)),
        amounts(Some(20), Some(50), Some(16), Some(48)),
        amounts(Some(30), None, Some(16), None),
        amounts(Some(20), Some(40), Some(16), Some(32)),
        amounts(Some(10), Some(20), Some(8), Some(24)),
    ];
    (before, after)
}

fn name(index: usize) -> String {
    format!("c{}", index + 1)
}

fn containers(all: &[Value]) -> Value {
    let named = all.iter().enumerate().map(|(index, resources)| {
        json!({"name": name(index), "image": IMAGE, "command": ["sleep", "1000"], "resources": resources})
    });
    Value::Array(named.collect())
}

fn resizes(name: &'static str, before: Vec<Value>, after: Vec<Value>) -> Behaviour {
    Behaviour::new(name, async move |stage: Stage| {
        made(&stage, &before).await;
        let named = after
            .iter()
            .enumerate()
            .map(|(index, resources)| json!({"name": self::name(index), "resources": resources}));
        let patch = json!({"spec": {"containers": named.collect::<Vec<_>>()}});
        let patched = stage.patch("main", Some("resize"), patch).await;
        assert_eq!(patched["metadata"]["generation"], 2);
        is_resized(&stage, &after).await;
    })
}

async fn made(stage: &Stage, resources: &[Value]) {
    let main = with(pod("main", json!({})), json!({"spec": {"restartPolicy": "Always"}}));
    stage.create(with(main, json!({"spec": {"containers": containers(resources)}}))).await;
    stage.ready("main").await;
}

/// Containers have what was asked for, in the API and in their cgroups, without a restart.
async fn is_resized(stage: &Stage, expected: &[Value]) {
    let done = |pod: &Value| {
        let has = |(index, resources): (usize, &Value)| {
            let status = container(pod, &name(index));
            *status.get("resources").unwrap_or(&json!({})) == *resources
        };
        let quiet = condition(pod, "PodResizePending").is_null() && condition(pod, "PodResizeInProgress").is_null();
        (quiet && expected.iter().enumerate().all(has)).then(|| pod.clone())
    };
    let pod = stage.until("main", "resources as asked for", done).await;
    assert_eq!(pod["status"]["observedGeneration"], 2);
    for (index, resources) in expected.iter().enumerate() {
        assert_eq!(container(&pod, &name(index))["restartCount"], 0);
        if let Some(memory) = resources["limits"]["memory"].as_str() {
            let bytes: u64 = memory.trim_end_matches("Mi").parse().expect("MiB");
            assert_eq!(limit(stage, &name(index), "memory").await, (bytes << 20).to_string());
        }
        if let Some(cpu) = resources["limits"]["cpu"].as_str() {
            let thousandths: u64 = cpu.trim_end_matches('m').parse().expect("thousandths");
            let quota = (thousandths * 100).max(1000);
            assert_eq!(limit(stage, &name(index), "cpu").await, quota.to_string());
        }
    }
    let told = async || {
        let events = stage.events("main").await;
        let is_told = |(reason, message): &(String, String)| {
            reason == "ResizeCompleted"
                && message.starts_with("Pod resize completed: {\"containers\":[{\"name\":\"c1\"")
        };
        events.iter().any(is_told).then_some(())
    };
    testkit::poll_async(DEADLINE, told).await.expect("its completion is told");
}

/// What a container's own cgroup says, in either version.
async fn limit(stage: &Stage, container: &str, of: &str) -> String {
    let script = match of {
        "memory" => "cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes",
        _ => "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us",
    };
    let printed = stage.exec_in("main", container, &["sh", "-c", script]).await;
    printed.split_whitespace().next().unwrap_or_default().to_owned()
}

async fn replaced(stage: Stage) {
    made(&stage, &[equal(20, 32)]).await;
    let after = equal(30, 48);
    loop {
        // The kubelet writes too, and whoever replaces the pod may come too late.
        let pod = stage.pods().get("main").await.expect("read");
        let mut changed = serde_json::to_value(pod).expect("pods are documents");
        changed["spec"]["containers"][0]["resources"] = after.clone();
        let changed: Pod = serde_json::from_value(changed).expect("a pod");
        match stage.pods().replace_subresource("resize", "main", &PostParams::default(), &changed).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(err) => panic!("{err}"),
        }
    }
    is_resized(&stage, &[after]).await;
    let same = async || {
        let (pod, resize) = (stage.pods().get("main").await, stage.pods().get_subresource("resize", "main").await);
        (pod.expect("read") == resize.expect("read")).then_some(())
    };
    testkit::poll_async(DEADLINE, same).await.expect("both say the same");
}

/// A container that wants to start anew does so though it ends well, one that has ended does not, and the pod's own
/// cgroup follows both.
async fn restarted(stage: Stage) {
    let waits = json!(["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]);
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let containers = json!([
        {"name": "c1", "image": IMAGE, "command": waits, "resources": equal(20, 32), "resizePolicy": policy},
        {"name": "c2", "image": IMAGE, "command": ["true"], "resources": equal(20, 32)},
    ]);
    let main = with(pod("main", json!({})), json!({"spec": {"restartPolicy": "OnFailure", "containers": containers}}));
    let uid = stage.create(main).await["metadata"]["uid"].as_str().expect("a UID").to_owned();
    let has_ended = |pod: &Value| (container(pod, "c2")["state"]["terminated"]["exitCode"] == 0).then_some(());
    stage.until("main", "the end of c2", has_ended).await;
    for (name, memory, restarts, of_pod) in [("c1", 48, 1, 80), ("c1", 32, 2, 64), ("c2", 64, 0, 96)] {
        let resources =
            json!({"requests": {"memory": format!("{memory}Mi")}, "limits": {"memory": format!("{memory}Mi")}});
        let patch = json!({"spec": {"containers": [{"name": name, "resources": resources}]}});
        stage.patch("main", Some("resize"), patch).await;
        let done = |pod: &Value| {
            let status = container(pod, name);
            let quiet = condition(pod, "PodResizePending").is_null() && condition(pod, "PodResizeInProgress").is_null();
            let has = status["resources"]["limits"]["memory"] == format!("{memory}Mi");
            (quiet && has && status["restartCount"] == restarts).then_some(())
        };
        stage.until("main", "resources as asked for", done).await;
        if name == "c1" {
            assert_eq!(limit(&stage, name, "memory").await, (memory << 20).to_string());
        }
        let follows = async || (pod_memory_limit(&uid) == Some((of_pod << 20).to_string())).then_some(());
        testkit::poll_async(DEADLINE, follows).await.unwrap_or_else(|| panic!("{:?}", pod_memory_limit(&uid)));
    }
}

/// What the pod's own cgroup says, in either version.
fn pod_memory_limit(uid: &str) -> Option<String> {
    let mut dirs = vec![std::path::PathBuf::from("/sys/fs/cgroup/memory"), "/sys/fs/cgroup".into()];
    while let Some(dir) = dirs.pop() {
        for file in ["memory.limit_in_bytes", "memory.max"] {
            if dir.ends_with(format!("pod{uid}"))
                && let Ok(text) = std::fs::read_to_string(dir.join(file))
            {
                return Some(text.trim().to_owned());
            }
        }
        let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
    None
}
