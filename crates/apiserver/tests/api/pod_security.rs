//! PodSecurity from outside: what labels of namespaces do to pods, templates and the namespaces themselves.

use api::pod_security::{Level, LevelVersion, Version};
use serde_json::{Value, json};
use skiff_apiserver::PodSecurityConfiguration;

use crate::support::Cluster;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A cluster with a namespace `a` with labels of PodSecurity.
async fn start(labels: Value, configuration: PodSecurityConfiguration) -> Cluster {
    let cluster = Cluster::start_with(|config| config.admission.pod_security = configuration).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": labels}});
    cluster.post("/api/v1/namespaces", namespace).await.expect(201);
    cluster.eventually("/api/v1/namespaces/a").await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/a/serviceaccounts", account).await.expect(201);
    cluster
}

fn label(mode: &str, value: &str) -> Value {
    json!({format!("pod-security.kubernetes.io/{mode}"): value})
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in spec.as_object().expect("fields") {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// Sends a request; answers its status and what it warns of.
async fn send(cluster: &Cluster, method: &str, path: &str, kind: &str, body: Value) -> (u16, Vec<String>) {
    let answer = cluster.request(method, path, &[("content-type", kind)], body.to_string()).await;
    let warnings = answer.headers().get_all("warning").iter();
    let texts = warnings.map(|text| text.to_str().expect("text").trim_start_matches("299 - ").replace('\\', ""));
    (answer.status().as_u16(), texts.collect())
}

const PODS: &str = "/api/v1/namespaces/a/pods";

#[tokio::test]
async fn enforce_refuses_pods_and_lets_through_updates_that_change_nothing() {
    let cluster = start(label("enforce", "baseline"), PodSecurityConfiguration::default()).await;
    let refused = cluster.post(PODS, pod("p", json!({"hostNetwork": true, "hostPID": true}))).await.expect(403);
    let expected = "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": \
        host namespaces (hostNetwork=true, hostPID=true)";
    assert_eq!(refused["message"], expected);
    cluster.post(PODS, pod("p", json!({}))).await.expect(201);

    let stricter = json!({"metadata": {"labels": label("enforce", "restricted")}});
    let (status, warnings) = send(&cluster, "PATCH", "/api/v1/namespaces/a", MERGE, stricter).await;
    assert_eq!(status, 200);
    let reasons = "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile";
    let heading = r#""existing pods in namespace "a" violate the new PodSecurity enforce level "restricted:latest"""#;
    assert_eq!(warnings, [heading.to_owned(), format!("\"p: {reasons}\"")]);
    // Pods are judged by what the cache has seen, which a consistent read waits for.
    cluster.get("/api/v1/namespaces/a").await.expect(200);
    let path = format!("{PODS}/p");
    cluster.patch(&path, MERGE, json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "j"}]}});
    cluster.patch(&path, STRATEGIC, image).await.expect(403);
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "d"}]}});
    let refused = cluster.patch(&format!("{path}/ephemeralcontainers"), STRATEGIC, debugger).await.expect(403);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains(r#"containers "c", "d" must set"#), "{message}");
    let bound = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}});
    cluster.post(&format!("{path}/binding"), bound).await.expect(201);
}

#[tokio::test]
async fn warn_warns_of_pods_and_templates() {
    let cluster = start(label("warn", "baseline"), PodSecurityConfiguration::default()).await;
    let warning = r#""would violate PodSecurity "baseline:latest": host namespaces (hostIPC=true)""#.to_owned();
    let host = json!({"hostIPC": true});
    let answer = send(&cluster, "POST", PODS, "application/json", pod("p", host.clone())).await;
    assert_eq!(answer, (201, vec![warning.clone()]));
    let template = json!({"metadata": {"labels": {"x": "y"}}, "spec": pod("p", host)["spec"]});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let selector = json!({"matchLabels": {"x": "y"}});
    for (path, kind, spec) in [
        ("apis/apps/v1", "Deployment", json!({"selector": selector, "template": template})),
        ("apis/apps/v1", "ReplicaSet", json!({"selector": selector, "template": template})),
        ("apis/apps/v1", "StatefulSet", json!({"selector": selector, "serviceName": "s", "template": template})),
        ("apis/apps/v1", "DaemonSet", json!({"selector": selector, "template": template})),
        ("api/v1", "ReplicationController", json!({"selector": {"x": "y"}, "template": template})),
        ("apis/batch/v1", "Job", json!({"template": once})),
        ("apis/batch/v1", "CronJob", json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}})),
    ] {
        let version = path.trim_start_matches("apis/").trim_start_matches("api/");
        let url = format!("/{path}/namespaces/a/{}s", kind.to_lowercase());
        let body = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": spec});
        let answer = send(&cluster, "POST", &url, "application/json", body).await;
        assert_eq!(answer, (201, vec![warning.clone()]), "{kind}");
    }
    let body = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "w"}, "template": template});
    let answer = send(&cluster, "POST", "/api/v1/namespaces/a/podtemplates", "application/json", body).await;
    assert_eq!(answer, (201, vec![warning.clone()]));
    let url = "/apis/apps/v1/namespaces/a/deployments/w";
    assert_eq!(send(&cluster, "PATCH", url, MERGE, json!({"spec": {"replicas": 0}})).await, (200, vec![warning]));
    let scaled = send(&cluster, "PATCH", &format!("{url}/scale"), MERGE, json!({"spec": {"replicas": 1}})).await;
    assert_eq!(scaled, (200, Vec::new()));
}

#[tokio::test]
async fn labels_must_be_right() {
    let cluster = start(json!({}), PodSecurityConfiguration::default()).await;
    let path = "/api/v1/namespaces/a";
    for (mode, value, why) in [
        ("warn", "strict", "must be one of privileged, baseline, restricted"),
        ("audit-version", "v2", "must be \"latest\" or \"v1.x\""),
    ] {
        let patch = json!({"metadata": {"labels": label(mode, value)}});
        let refused = cluster.patch(path, MERGE, patch).await.expect(422);
        let field = format!("metadata.labels[pod-security.kubernetes.io/{mode}]");
        let expected = format!("Namespace \"a\" is invalid: {field}: Invalid value: \"{value}\": {why}");
        assert_eq!(refused["message"], expected);
    }
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b", "labels": label("enforce", "x")}});
    cluster.post("/api/v1/namespaces", namespace).await.expect(422);
}

#[tokio::test]
async fn pods_of_a_kind_are_counted() {
    let cluster = start(json!({}), PodSecurityConfiguration::default()).await;
    for (name, spec) in [
        ("z", json!({"hostIPC": true})),
        ("y", json!({"hostPID": true})),
        ("x", json!({"hostIPC": true})),
        ("w", json!({})),
    ] {
        cluster.post(PODS, pod(name, spec)).await.expect(201);
    }
    let labelled = json!({"metadata": {"labels": label("enforce", "baseline")}});
    let (_, warnings) = send(&cluster, "PATCH", "/api/v1/namespaces/a", MERGE, labelled).await;
    assert_eq!(warnings[1..], ["\"x (and 2 other pods): host namespaces\""]);
    let relaxed = json!({"metadata": {"labels": label("enforce", "privileged")}});
    assert_eq!(send(&cluster, "PATCH", "/api/v1/namespaces/a", MERGE, relaxed).await, (200, Vec::new()));
}

#[tokio::test]
async fn exemptions_and_defaults_are_configured() {
    let strict = LevelVersion { level: Level::Restricted, version: Version::Latest };
    let mut configuration = PodSecurityConfiguration::default();
    configuration.defaults.enforce = strict;
    let cluster = start(json!({}), configuration.clone()).await;
    cluster.post(PODS, pod("p", json!({}))).await.expect(403);
    for exempt in [
        PodSecurityConfiguration { exempt_namespaces: vec!["a".to_owned()], ..configuration.clone() },
        PodSecurityConfiguration { exempt_usernames: vec!["system:admin".to_owned()], ..configuration.clone() },
    ] {
        let cluster = start(json!({}), exempt).await;
        cluster.post(PODS, pod("p", json!({}))).await.expect(201);
    }
    let class =
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"}, "handler": "vm"});
    let cluster =
        start(json!({}), PodSecurityConfiguration { exempt_runtime_classes: vec!["vm".to_owned()], ..configuration })
            .await;
    cluster.post("/apis/node.k8s.io/v1/runtimeclasses", class).await.expect(201);
    cluster.post(PODS, pod("p", json!({"runtimeClassName": "vm"}))).await.expect(201);
    cluster.post(PODS, pod("q", json!({}))).await.expect(403);
}
