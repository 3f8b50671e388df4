//! A configuration from files: what the kubelet does with it, and what it shows of it.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::Value;

use super::*;

const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

impl Stage {
    /// Starts the kubelet, which does not run, with files of a directory: `config.yaml`, and drop-ins in `conf.d`.
    fn start_with(&mut self, files: &[(&str, &str)]) {
        let dir = self.dir.path().join("etc");
        std::fs::create_dir_all(dir.join("conf.d")).expect("made");
        for (name, text) in files {
            std::fs::write(dir.join(name), format!("{HEAD}{text}")).expect("written");
        }
        self.configuration.file = Some(dir.join("config.yaml"));
        self.configuration.dir = Some(dir.join("conf.d"));
        self.start();
    }

    /// The configuration that the kubelet shows.
    async fn configz(&self) -> Value {
        let (head, body) = self.get("/configz", "operators").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        serde_json::from_str::<Value>(&body).expect("a document")["kubeletconfig"].take()
    }
}

#[tokio::test]
async fn the_kubelet_runs_with_its_files_and_shows_them() {
    let mut stage = Stage::new(&[]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    stage.stop().await;
    nodes.delete("n1", &Default::default()).await.expect("deleted");
    let file = "maxPods: 7\nclusterDomain: one.test\nproviderID: cloud://n1\nevictionHard: {memory.available: 1Mi}\n";
    let drop_in = "maxPods: 9\nregisterWithTaints: [{key: dedicated, value: x, effect: NoExecute}]\n";
    stage.start_with(&[("config.yaml", file), ("conf.d/50-node.conf", drop_in)]);
    let node = stage.until("the node", async || nodes.get_opt("n1").await.expect("answered")).await;
    let spec = node.spec.expect("a specification");
    assert_eq!(spec.provider_id.as_deref(), Some("cloud://n1"));
    let taints = spec.taints.expect("taints");
    assert!(taints.iter().any(|taint| taint.key == "dedicated" && taint.effect == "NoExecute"), "{taints:?}");
    let pods = |node: Node| node.status?.capacity?.remove("pods");
    stage.until("9 pods", async || pods(nodes.get("n1").await.ok()?).filter(|quantity| quantity.0 == "9")).await;

    let shown = stage.configz().await;
    for (pointer, value) in [
        ("/maxPods", json!(9)),
        ("/clusterDomain", json!("one.test")),
        ("/providerID", json!("cloud://n1")),
        ("/evictionHard", json!({"memory.available": "1Mi"})),
        ("/syncFrequency", json!("1m0s")),
        ("/authorization/webhook/cacheUnauthorizedTTL", json!("30s")),
        ("/registerWithTaints/0/key", json!("dedicated")),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&value), "{pointer}");
    }
    let (head, _) = stage.get("/configz", "others").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    stage.stop().await;
}

#[tokio::test]
async fn a_node_that_others_register_is_only_reported() {
    let mut stage = Stage::new(&[]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    stage.stop().await;
    stage.start_with(&[("config.yaml", "registerNode: false\nmaxPods: 3\n")]);
    let pods = |node: Node| node.status?.capacity?.remove("pods");
    stage.until("3 pods", async || pods(nodes.get("n1").await.ok()?).filter(|quantity| quantity.0 == "3")).await;
    stage.stop().await;
    nodes.delete("n1", &Default::default()).await.expect("deleted");
    stage.start();
    let shown = stage.until("an answer", async || Some(stage.configz().await)).await;
    assert_eq!(shown["registerNode"], json!(false));
    assert!(nodes.get_opt("n1").await.expect("answered").is_none());
    stage.stop().await;
}

#[tokio::test]
async fn the_kubelet_measures_itself_and_shows_the_machines_logs() {
    let mut stage = Stage::with(&["image:1"], |config| config.system_logs_dir = config.pod_logs_dir.clone()).await;
    let mut web = pod("web").container("c", "image:1").build();
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    let containers = &mut web.spec.as_mut().expect("a specification").containers;
    containers[0].liveness_probe = Some(serde_json::from_value(probe).expect("a probe"));
    web.spec.as_mut().expect("a specification").node_name = Some("n1".to_owned());
    stage.pods().create(&PostParams::default(), &web).await.expect("created");
    stage.until_phase("web", "Running").await;
    let has = async |path: &str, wanted: &str| {
        let (head, body) = stage.get(path, "operators").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {body}");
        Some(()).filter(|()| body.contains(wanted))
    };
    let counted = "prober_probe_total{container=\"c\",namespace=\"default\",pod=\"web\"";
    stage.until("a counted probe", async || has("/metrics/probes", counted).await).await;
    for (path, wanted) in [
        ("/metrics", "kubelet_node_name{node=\"n1\"} 1\n"),
        ("/metrics", "kubelet_running_containers{container_state=\"running\"} 1\n"),
        ("/metrics", "kubelet_running_pods 1\n"),
        ("/metrics", "kubelet_desired_pods{static=\"\"} 1\n"),
        ("/metrics", "path=\"metrics/probes\""),
        ("/metrics", "kubelet_runtime_operations_total{operation_type=\"create_container\"} 1\n"),
        ("/metrics", "kubelet_runtime_operations_duration_seconds_count{operation_type=\"create_container\"} 1\n"),
        ("/metrics", "kubelet_run_podsandbox_duration_seconds_count{runtime_handler=\"\"} 1\n"),
        ("/metrics", "kubelet_evented_pleg_connection_success_count 1\n"),
        ("/metrics", "kubelet_managed_ephemeral_containers 0\n"),
        ("/metrics", "kubelet_cgroup_version "),
        ("/metrics", "kubelet_topology_manager_admission_requests_total 1\n"),
        ("/metrics", "kubelet_cpu_manager_pinning_requests_total 0\n"),
        ("/metrics", "kubelet_memory_manager_pinning_errors_total 0\n"),
        ("/healthz", "ok"),
        ("/healthz?verbose=1", "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n"),
        ("/healthz/syncloop", "ok"),
        ("/runningpods/", "\"name\":\"web\""),
        ("/logs/", "<a href=\"default_web_"),
    ] {
        stage.until(wanted, async || has(path, wanted).await).await;
    }
    let written = async || {
        let (_, body) = stage.get("/metrics", "operators").await;
        let count = body.lines().find_map(|line| line.strip_prefix("kubelet_pod_status_sync_duration_seconds_count "));
        count.filter(|count| *count != "0").map(drop)
    };
    stage.until("a status that was written", written).await;
    stage.stop().await;
}

#[tokio::test]
async fn what_lets_people_into_containers_can_be_switched_off() {
    let mut stage = Stage::new(&[]).await;
    stage.stop().await;
    stage.start_with(&[("config.yaml", "enableDebuggingHandlers: false\n")]);
    for path in ["/containerLogs/default/web/c", "/exec/default/web/c", "/runningpods/", "/logs/"] {
        let (head, body) = stage.get(path, "operators").await;
        assert!(head.starts_with("HTTP/1.1 405"), "{path}: {head}");
        assert_eq!(body, "Debug endpoints are disabled.\n", "{path}");
    }
    let (head, _) = stage.get("/pods", "operators").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stage.stop().await;
}

#[tokio::test]
async fn a_runtime_that_does_not_answer_is_not_waited_for_forever() {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.stop().await;
    stage.runtime.stall("slow");
    stage.start_with(&[("config.yaml", "runtimeRequestTimeout: 1s\n")]);
    stage.create(pod("slow").container("slow", "image:1")).await;
    let message = stage.until_waiting("slow", "CreateContainerError").await;
    assert_eq!(message, "context deadline exceeded");
    let failed = "kubelet_runtime_operations_errors_total{operation_type=\"create_container\"}";
    let counted = async || {
        let (_, body) = stage.get("/metrics", "operators").await;
        body.contains(failed).then_some(())
    };
    stage.until("a failed call", counted).await;
    stage.create(pod("web").container("usual", "image:1")).await;
    stage.until_phase("web", "Running").await;
    stage.stop().await;
}

#[tokio::test]
async fn the_logs_of_the_machines_services_can_be_asked_for() {
    let mut stage = Stage::with(&[], |config| config.system_logs_dir = config.pod_logs_dir.clone()).await;
    stage.stop().await;
    let (programs, logs) = (stage.dir.path().join("programs"), stage.dir.path().join("logs"));
    std::fs::create_dir_all(&programs).expect("made");
    std::fs::create_dir_all(logs.join("agent")).expect("made");
    std::fs::write(logs.join("agent/agent.log"), "of a file\n").expect("written");
    let journal = "#!/bin/sh\nif [ \"$1\" = --field ]; then echo kubelet.service; else echo \"asked $*\"; fi\n";
    let draft = programs.join("draft");
    std::fs::write(&draft, journal).expect("written");
    std::fs::set_permissions(&draft, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    std::fs::rename(draft, programs.join("journalctl")).expect("renamed");
    stage.start_with(&[("config.yaml", "enableSystemLogQuery: true\nfeatureGates: {NodeLogQuery: true}\n")]);
    let asked = "asked --utc --no-pager --output=short-precise --pager-end --lines=3 --unit=kubelet\n";
    // A script that was just written may be held by a process that another test starts.
    let answers = async || {
        let (head, _) = stage.get("/logs/?query=kubelet", "operators").await;
        head.starts_with("HTTP/1.1 200").then_some(())
    };
    stage.until("the journal", answers).await;
    for (query, status, text) in [
        ("query=kubelet&tailLines=3", 200, asked),
        ("query=agent", 200, "of a file\n"),
        ("query=/agent/agent.log", 200, "of a file\n"),
        ("query=/agent", 404, "404 page not found\n"),
        ("query=/../secret", 404, "404 page not found\n"),
        ("query=nobody", 404, "log not found for nobody\n"),
        ("query=kubelet&boot=2", 400, "boot must be less than 1"),
        ("", 200, "<a href=\"agent/\">agent/</a>"),
    ] {
        let (head, body) = stage.get(&format!("/logs/?{query}"), "operators").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{query}: {head}");
        assert!(body.contains(text), "{query}: {body}");
    }
    stage.stop().await;
}
