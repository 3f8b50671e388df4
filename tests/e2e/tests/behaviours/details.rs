//! What is documented of single fields of a pod beside upstream's conformance list.

use std::path::Path;
use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::config_map;
use crate::stage::{Stage, condition, container, pod, script, with};

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new("a pod for a kernel with AppArmor is refused where there is none", app_armor),
        Behaviour::new("a host name is qualified or replaced where the pod says so", host_names),
        Behaviour::new("a resolver is given no more servers than it asks", resolver_limits),
        Behaviour::new("a pod need not be told of services", service_links),
        Behaviour::new("the kernel ends containers by what they ask for of its memory", oom_scores),
        Behaviour::new("a condition says when a pod's containers can be started", ready_to_start),
        Behaviour::new("a container may sleep before it is stopped", sleeps),
        Behaviour::new("a pod that is deleted by force does not get its time", by_force),
        Behaviour::new("a probe has a grace period of its own", probes_grace),
        Behaviour::new("a pod has namespaces of its own or the machine's", host_namespaces),
    ]
}

async fn app_armor(stage: Stage) {
    let wanting = |name: &str, profile: &str| {
        let profile = json!({"spec": {"securityContext": {"appArmorProfile": {"type": profile}}}});
        with(pod(name, json!({"command": ["true"]})), profile)
    };
    stage.create(wanting("free", "Unconfined")).await;
    stage.phase("free", "Succeeded").await;
    stage.create(wanting("main", "RuntimeDefault")).await;
    if Path::new("/sys/kernel/security/apparmor").exists() {
        stage.phase("main", "Succeeded").await;
        return;
    }
    let status = &stage.phase("main", "Failed").await["status"];
    let message = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
    assert_eq!((&status["reason"], &status["message"]), (&json!("AppArmor"), &json!(message)));
}

async fn host_names(stage: Stage) {
    let own = json!({"hostname": "own", "subdomain": "sub"});
    let qualified = format!("own.sub.{}.svc.cluster.local", stage.namespace);
    let cases = [
        ("plain", json!({}), "own".to_owned()),
        ("qualified", json!({"setHostnameAsFQDN": true}), qualified),
        ("replaced", json!({"hostnameOverride": "other.example"}), "other.example".to_owned()),
    ];
    for (name, more, expected) in cases {
        let main = pod(name, json!({"command": ["hostname"]}));
        stage.create(with(main, json!({"spec": with(own.clone(), more)}))).await;
        stage.phase(name, "Succeeded").await;
        assert_eq!(stage.log(name, "main").await.trim(), expected);
    }
}

/// The cluster's own server comes first, and two of three others have room beside it.
async fn resolver_limits(stage: Stage) {
    let main = pod("main", json!({"command": ["cat", "/etc/resolv.conf"]}));
    let servers = json!({"spec": {"dnsConfig": {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}}});
    stage.create(with(main, servers)).await;
    stage.phase("main", "Succeeded").await;
    let log = stage.log("main", "main").await;
    let servers: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
    assert_eq!(servers[1..], ["192.0.2.1", "192.0.2.2"], "{log}");
    let said = async || {
        let events = stage.events("main").await;
        let is_it = |(reason, message): &(String, String)| {
            reason == "DNSConfigForming" && message.starts_with("Nameserver limits were exceeded")
        };
        events.iter().any(is_it).then_some(())
    };
    testkit::poll_async(crate::stage::DEADLINE, said).await.expect("an event");
}

async fn service_links(stage: Stage) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "linked"},
        "spec": {"ports": [{"port": 80}]}});
    stage.create(service).await;
    // A first pod is told: the node knows of the service then.
    let told = || pod("told", json!({"command": script("env")}));
    let mut attempt = 0;
    let linked = async || {
        attempt += 1;
        let name = format!("told-{attempt}");
        stage.create(with(told(), json!({"metadata": {"name": name}}))).await;
        stage.phase(&name, "Succeeded").await;
        stage.log(&name, "main").await.contains("LINKED_SERVICE_HOST=").then_some(())
    };
    testkit::poll_async(crate::stage::DEADLINE, linked).await.expect("a pod that is told");
    stage.create(with(pod("main", json!({"command": ["env"]})), json!({"spec": {"enableServiceLinks": false}}))).await;
    stage.phase("main", "Succeeded").await;
    let log = stage.log("main", "main").await;
    assert!(log.contains("KUBERNETES_SERVICE_HOST=") && !log.contains("LINKED_SERVICE"), "{log}");
}

async fn oom_scores(stage: Stage) {
    let show = json!({"command": ["cat", "/proc/self/oom_score_adj"]});
    stage.create(pod("idle", show.clone())).await;
    let requests = json!({"resources": {"requests": {"memory": "256Mi"}, "limits": {"memory": "512Mi"}}});
    stage.create(pod("burstable", with(show, requests))).await;
    let capacity = stage.node().await["status"]["capacity"]["memory"].as_str().expect("a quantity").to_owned();
    let capacity: i64 = capacity.strip_suffix("Ki").and_then(|text| text.parse().ok()).expect("in Ki");
    let burstable = (1000 - 1000 * (256 << 10) / capacity).clamp(3, 999);
    for (name, expected) in [("idle", 1000), ("burstable", burstable)] {
        stage.phase(name, "Succeeded").await;
        assert_eq!(stage.log(name, "main").await.trim(), expected.to_string(), "{name}");
    }
}

async fn ready_to_start(stage: Stage) {
    let is = |wanted: &'static str| {
        move |pod: &Value| (condition(pod, "PodReadyToStartContainers")["status"] == wanted).then_some(())
    };
    let mounts = json!({"volumeMounts": [{"name": "files", "mountPath": "/files"}]});
    let volumes = json!({"spec": {"volumes": [{"name": "files", "configMap": {"name": "late"}}]}});
    stage.create(with(pod("main", mounts), volumes)).await;
    stage.until("main", "no sandbox", is("False")).await;
    stage.create(config_map("late", json!({"a": "b"}))).await;
    stage.until("main", "its sandbox", is("True")).await;
    stage.ready("main").await;
}

async fn sleeps(stage: Stage) {
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 4}}});
    let command = script("trap 'exit 0' TERM; sleep 1000 & wait");
    let main = pod("main", json!({"command": command, "lifecycle": lifecycle}));
    stage.create(with(main, json!({"spec": {"terminationGracePeriodSeconds": 100}}))).await;
    stage.ready("main").await;
    let asked = Instant::now();
    stage.delete("main").await;
    stage.gone("main").await;
    assert!(asked.elapsed() >= Duration::from_secs(4), "{:?}", asked.elapsed());
}

async fn host_namespaces(stage: Stage) {
    for (field, namespace) in [("hostPID", "pid"), ("hostIPC", "ipc")] {
        // The node runs in those that this process has.
        let path = format!("/proc/self/ns/{namespace}");
        let of_machine = std::fs::read_link(&path).expect("there is a /proc").to_string_lossy().into_owned();
        for (name, asks) in [(format!("{namespace}-own"), false), (format!("{namespace}-shared"), true)] {
            let main = pod(&name, json!({"command": ["readlink", &path]}));
            stage.create(with(main, json!({"spec": {field: asks}}))).await;
            stage.phase(&name, "Succeeded").await;
            let found = stage.log(&name, "main").await;
            assert_eq!(found.trim() == of_machine, asks, "{name}: {found}");
        }
    }
}

/// A shell as the first process of its namespace ends by no signal but the last one.
fn stubborn(name: &str) -> Value {
    with(pod(name, json!({"command": script("while true; do sleep 1; done")})), patient())
}

fn patient() -> Value {
    json!({"spec": {"terminationGracePeriodSeconds": 3600}})
}

async fn by_force(stage: Stage) {
    stage.create(stubborn("main")).await;
    stage.ready("main").await;
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    stage.pods().delete("main", &now).await.expect("deleted");
    stage.gone("main").await;
}

async fn probes_grace(stage: Stage) {
    let probe = json!({
        "exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1,
    });
    let main = pod("main", json!({"command": script("while true; do sleep 1; done"), "livenessProbe": probe}));
    stage.create(with(with(main, patient()), json!({"spec": {"restartPolicy": "Always"}}))).await;
    let restarted = |pod: &Value| container(pod, "main")["restartCount"].as_u64().filter(|count| *count > 0);
    stage.until("main", "a restart", restarted).await;
    let now = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
    stage.pods().delete("main", &now).await.expect("deleted");
}
