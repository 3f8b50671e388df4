//! What the kubelet's server does for those who may ask.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use testkit::Cluster;

use super::*;

#[tokio::test]
async fn a_checkpoint_is_made_by_the_runtime_and_told_of() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let checkpoint = async |what: &str| stage.ask("POST", &format!("/checkpoint/default/{what}"), "operators").await;
    let (head, body) = checkpoint("web/a?timeout=7").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let place = Path::new(told["items"][0].as_str().expect("a path"));
    assert_eq!(place.parent(), Some(stage.kubelet_dir().join("checkpoints").as_path()));
    assert!(place.file_name().expect("a name").to_string_lossy().starts_with("checkpoint-web_default-a-"), "{place:?}");
    assert_eq!(std::fs::read_to_string(place).expect("made"), "a 7");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(place.parent().expect("there")).expect("there"));
    assert_eq!(mode & 0o777, 0o700);

    for (what, status, message) in [
        ("none/a", "404", "pod \"none\" not found"),
        ("web/none", "404", "container none does not exist"),
        ("web/a?timeout=soon", "404", "cannot parse value of timeout parameter"),
    ] {
        let (head, body) = checkpoint(what).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body.starts_with(message), "{head} {body}");
    }
    let (head, _) = stage.ask("POST", "/checkpoint/default/web/a", "developers").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    stage.runtime.exit("a", 0);
    stage.runtime.refuse_starts("a", 100);
    let failed = async || {
        let (head, body) = checkpoint("web/a").await;
        let text = "checkpointing of default/web/a failed (it does not run)";
        (head.starts_with("HTTP/1.1 500") && body == text).then_some(())
    };
    stage.until("a failure of the runtime", failed).await;
}

/// Lets a group of that name read a subresource of nodes.
async fn grant(cluster: &Cluster, subresource: &str) {
    let metadata = json!({"name": subresource});
    let rule = json!({"apiGroups": [""], "resources": [format!("nodes/{subresource}")], "verbs": ["get"]});
    let role: ClusterRole = serde_json::from_value(json!({"metadata": metadata, "rules": [rule]})).expect("a role");
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": subresource},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": subresource}],
    });
    let binding: ClusterRoleBinding = serde_json::from_value(binding).expect("a binding");
    let client = || cluster.client.clone();
    Api::all(client()).create(&PostParams::default(), &role).await.expect("created");
    Api::all(client()).create(&PostParams::default(), &binding).await.expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_one_thing_of_a_node_may_not_read_the_others() {
    let cluster = Cluster::start_in(Env::system()).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    let first = async || bindings.get("skiff:kubelet-api-admin").await.ok();
    testkit::poll_async(DEADLINE, first).await.expect("the first roles");
    let all = ["metrics", "stats", "log", "healthz", "configz", "pods", "proxy"];
    for subresource in all {
        grant(&cluster, subresource).await;
    }
    let mut stage = Stage::new(&[]).await;
    stage.stop().await;
    // An API server that knows what its roles say.
    stage.client = cluster.client_of("system:node:n1", &["system:nodes"]);
    stage.start();
    for (path, allowed) in [
        ("/metrics", &["metrics"][..]),
        ("/metrics/resource", &["metrics"]),
        ("/stats/summary", &["stats"]),
        ("/logs/", &["log"]),
        ("/healthz", &["healthz", "proxy"]),
        ("/configz", &["configz", "proxy"]),
        ("/pods", &["pods", "proxy"]),
        ("/runningpods/", &["pods", "proxy"]),
        ("/containerLogs/default/none/a", &["proxy"]),
    ] {
        for group in all {
            let (head, body) = stage.get(path, group).await;
            assert_eq!(!head.starts_with("HTTP/1.1 403"), allowed.contains(&group), "{group} {path}: {head} {body}");
            assert!(!head.starts_with("HTTP/1.1 401"), "{group} {path}: {head}");
        }
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_the_api_has_is_not_written_again() {
    let cluster = Cluster::start_in(Env::system()).await;
    grant(&cluster, "metrics").await;
    let mut stage = Stage::new(&["image:1"]).await;
    stage.stop().await;
    stage.client = cluster.client_of("system:node:n1", &["system:nodes"]);
    stage.configure = |config| config.status_update_interval = Duration::from_millis(50);
    stage.start();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let images = async || nodes.get_opt("n1").await.expect("answered")?.status?.images.filter(|all| !all.is_empty());
    stage.until("a status", images).await;
    let count = async |line: &str| -> Option<u64> {
        let (_, body) = stage.get("/metrics", "metrics").await;
        body.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok())
    };
    let looks = "kubelet_runtime_operations_total{operation_type=\"status\"}";
    let writes = "rest_client_requests_total{code=\"200\",method=\"PATCH\"}";
    let looked = async |least: u64| count(looks).await.filter(|looks| *looks >= least);
    // What was going on when the kubelet was started has ended.
    let begun = stage.until("looks at the node", async || looked(5).await).await;
    let before = count(writes).await.expect("the status was written");
    stage.until("more of them", async || looked(begun + 10).await).await;
    assert_eq!(count(writes).await, Some(before));
    stage.stop().await;
}
