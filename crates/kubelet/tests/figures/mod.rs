//! What the kubelet measures, in the forms in which others ask for it.

use super::*;

#[tokio::test]
async fn metrics_of_pods_have_the_names_of_cadvisor() {
    let stage = Stage::new(&["image:1"]).await;
    stage.runtime.uses("a", 5 << 20);
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let (head, body) = stage.get("/metrics/cadvisor", "operators").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    let memory = body.lines().find(|line| line.starts_with("container_memory_working_set_bytes{")).expect("measured");
    assert!(memory.contains("container=\"a\",image=\"") && memory.contains("pod=\"web\"} 5242880 "), "{memory}");
    assert!(body.contains("# TYPE container_memory_working_set_bytes gauge"), "{body}");
}

#[tokio::test]
async fn the_resource_metrics_say_when_containers_began_and_whether_the_runtime_tells() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let (_, body) = stage.get("/metrics/resource", "operators").await;
    let started = "container_start_time_seconds{container=\"a\",namespace=\"default\",pod=\"web\"} ";
    assert!(body.contains(started) && body.contains("\nresource_scrape_error 0\n"), "{body}");
    stage.runtime.keep_figures();
    let (head, body) = stage.get("/metrics/resource", "operators").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("\nresource_scrape_error 1\n"), "{head} {body}");
    assert!(body.contains("\nnode_cpu_usage_seconds_total ") && !body.contains("pod=\"web\""), "{body}");
}

#[tokio::test]
async fn the_summary_has_what_can_be_measured_and_no_more_than_is_wanted() {
    let stage = Stage::new(&["image:1"]).await;
    stage.runtime.uses("a", 5 << 20);
    let volume = json!([{"name": "v", "emptyDir": {}}]);
    let volume = serde_json::from_value(volume).expect("volumes");
    stage.create(web().with(|pod| pod.spec.as_mut().expect("there").volumes = volume)).await;
    stage.until_phase("web", "Running").await;
    let summary = async |query: &str| {
        let (_, body) = stage.get(&format!("/stats/summary{query}"), "operators").await;
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON")
    };
    let lacks = |part: &serde_json::Value, paths: &[&str]| -> Vec<String> {
        paths
            .iter()
            .filter(|path| part.pointer(path).is_none_or(|v| v.is_null()))
            .map(|path| path.to_string())
            .collect()
    };
    let none: Vec<String> = Vec::new();
    let all = summary("").await;
    let always = ["/startTime", "/cpu/usageCoreNanoSeconds", "/memory/usageBytes", "/systemContainers"];
    let more = ["/fs/capacityBytes", "/network/interfaces", "/rlimit/curproc"];
    assert_eq!(lacks(&all["node"], &[&always[..], &more[..]].concat()), none, "{all}");
    let system = all["node"]["systemContainers"].as_array().expect("a list");
    let pods = system.iter().find(|one| one["name"] == "pods").expect("known");
    assert_eq!(lacks(pods, &["/cpu/usageCoreNanoSeconds", "/memory/workingSetBytes"]), none, "{all}");
    let pod = &all["pods"][0];
    let always = ["/startTime", "/containers/0/startTime", "/containers/0/memory/workingSetBytes"];
    let more = ["/containers/0/logs/usedBytes", "/containers/0/logs/capacityBytes", "/volume/0/usedBytes"];
    assert_eq!(lacks(pod, &[always, more].concat()), none, "{all}");
    assert!(
        pod["ephemeral-storage"]["usedBytes"].as_u64() >= pod["containers"][0]["logs"]["usedBytes"].as_u64(),
        "{all}"
    );

    let brief = summary("?only_cpu_and_memory=true").await;
    assert_eq!(lacks(&brief["pods"][0], &always), none, "{brief}");
    assert_eq!(lacks(&brief["pods"][0], &more), more, "{brief}");
    assert_eq!(lacks(&brief["node"], &["/fs", "/network", "/startTime"]), ["/fs", "/network"], "{brief}");
    assert!(brief["pods"][0]["ephemeral-storage"].is_null() && brief["pods"][0]["podRef"]["name"] == "web", "{brief}");
}

#[tokio::test]
async fn what_the_kubelet_does_is_measured() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let logs = "kubelet_container_log_filesystem_used_bytes{container=\"a\",namespace=\"default\",pod=\"web\",";
    let (_, body) = stage.get("/metrics", "operators").await;
    assert!(body.contains(logs), "{body}");
    stage.delete("web").await;
    stage.until("removal", async || (stage.runtime.sandboxes() == 0).then_some(())).await;
    let removed = async || {
        let (_, body) = stage.get("/metrics", "operators").await;
        body.contains("kubelet_cgroup_manager_duration_seconds_count{operation_type=\"destroy\"}").then_some(body)
    };
    let body = stage.until("a cgroup's removal", removed).await;
    let value = |name: &str| -> f64 {
        let found = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{name} in {body}")).parse().expect("a number")
    };
    assert_eq!(value("kubelet_cgroup_manager_duration_seconds_count{operation_type=\"create\"}"), 1.0);
    assert!(value("rest_client_requests_total{code=\"200\",method=\"PATCH\"}") >= 1.0);
    assert!(value("rest_client_request_duration_seconds_count{verb=\"PATCH\"}") >= 1.0);
    let left = value("kubelet_certificate_manager_server_ttl_seconds");
    assert!((3000.0..=3600.0).contains(&left), "{left}");
    // Of a runtime that tells what happens nothing is listed.
    let lists = async || {
        let (_, body) = stage.get("/metrics", "operators").await;
        body.contains("\nkubelet_pleg_relist_duration_seconds_count ").then_some(())
    };
    match stage.runtime.profile().has_events() {
        true => assert_eq!(lists().await, None),
        false => stage.until("a list of containers", lists).await,
    }
}

#[tokio::test]
async fn health_checks_are_counted() {
    let stage = Stage::new(&[]).await;
    let (_, body) = stage.get("/metrics/slis", "operators").await;
    assert_eq!(body, "", "nobody has asked");
    for _ in 0..2 {
        assert_eq!(stage.get("/healthz", "operators").await.1, "ok");
    }
    let (_, body) = stage.get("/metrics/slis", "operators").await;
    for check in ["ping", "log", "syncloop"] {
        let last = format!("kubernetes_healthcheck{{name=\"{check}\",type=\"healthz\"}} 1\n");
        let total =
            format!("kubernetes_healthchecks_total{{name=\"{check}\",status=\"success\",type=\"healthz\"}} 2\n");
        assert!(body.contains(&last) && body.contains(&total), "{body}");
    }
}
