//! Admission plugins that flags turn on, each on and off.

use serde_json::{Value, json};
use skiff_apiserver::AdmissionPlugins;

use crate::double::Double;
use crate::support::{Answer, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A cluster with or without a plugin, with the account that pods run as.
async fn cluster(plugin: &str, is_on: bool) -> Cluster {
    let (enabled, disabled): (&[&str], &[&str]) = if is_on { (&[plugin], &[]) } else { (&[], &[plugin]) };
    let plugins = AdmissionPlugins::new(enabled, disabled).expect("a plugin");
    let cluster = Cluster::start_with(move |config| config.admission_plugins = plugins).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    cluster
}

fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "busybox:1"}]});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn pod_node_selector() {
    for is_on in [true, false] {
        let cluster = cluster("PodNodeSelector", is_on).await;
        let annotation =
            json!({"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "env=test"}}});
        let merge = "application/merge-patch+json";
        cluster.patch("/api/v1/namespaces/default", merge, annotation).await.expect(200);
        cluster.get("/api/v1/namespaces/default").await.expect(200);
        let created = cluster.post(PODS, pod("p", json!({}))).await.expect(201);
        assert_eq!(created["spec"]["nodeSelector"]["env"] == "test", is_on);
        let other = pod("q", json!({"nodeSelector": {"env": "prod"}}));
        cluster.post(PODS, other).await.expect(if is_on { 403 } else { 201 });
    }
}

/// A cluster with a plugin on, and a configuration as a file has it.
async fn configured(plugin: &str, configuration: &str) -> Cluster {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("admission.yaml");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: {plugin}\n  \
         configuration: {configuration}\n"
    );
    std::fs::write(&file, text).expect("written");
    let plugins = AdmissionPlugins::new(&[plugin], &[]).expect("a plugin");
    let admission = skiff_apiserver::load_admission_configuration(&file).expect("a configuration");
    admission.check(&plugins).expect("nothing is missing");
    let cluster = Cluster::start_with(move |config| {
        config.admission_plugins = plugins;
        config.admission = admission;
    })
    .await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    cluster
}

/// Annotates the namespace of the pods.
async fn annotate(cluster: &Cluster, annotations: Value) {
    let patch = json!({"metadata": {"annotations": annotations}});
    cluster.patch("/api/v1/namespaces/default", "application/merge-patch+json", patch).await.expect(200);
    cluster.get("/api/v1/namespaces/default").await.expect(200);
}

#[tokio::test]
async fn pod_node_selectors_of_the_cluster() {
    let selectors =
        r#"{podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "env=test", default: "env=test,os=a"}}"#;
    let cluster = configured("PodNodeSelector", selectors).await;
    let created = cluster.post(PODS, pod("p", json!({}))).await.expect(201);
    assert_eq!(created["spec"]["nodeSelector"]["env"], "test");
    cluster.post(PODS, pod("q", json!({"nodeSelector": {"os": "a"}}))).await.expect(201);
    cluster.post(PODS, pod("r", json!({"nodeSelector": {"os": "b"}}))).await.expect(403);
    // What the namespace says counts in place of the cluster's default.
    annotate(&cluster, json!({"scheduler.alpha.kubernetes.io/node-selector": "os=a"})).await;
    let created = cluster.post(PODS, pod("s", json!({}))).await.expect(201);
    assert_eq!(created["spec"]["nodeSelector"], json!({"os": "a"}));
}

#[tokio::test]
async fn pod_toleration_restriction() {
    let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
    let tolerates = |pod: &Value, key: &str| {
        pod["spec"]["tolerations"].as_array().is_some_and(|all| all.contains(&toleration(key)))
    };
    let annotations = json!({
        "scheduler.alpha.kubernetes.io/defaultTolerations": json!([toleration("own")]).to_string(),
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist":
            json!([{"operator": "Exists", "effect": "NoExecute"}, toleration("own"), toleration("extra")]).to_string(),
    });
    for is_on in [true, false] {
        let cluster = cluster("PodTolerationRestriction", is_on).await;
        annotate(&cluster, annotations.clone()).await;
        let created = cluster.post(PODS, pod("p", json!({"tolerations": [toleration("extra")]}))).await.expect(201);
        assert_eq!((tolerates(&created, "own"), tolerates(&created, "extra")), (is_on, true));
        let other = cluster.post(PODS, pod("q", json!({"tolerations": [toleration("other")]}))).await;
        other.expect(if is_on { 500 } else { 201 });
    }
    let configuration = r#"{apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1, kind: Configuration,
      default: [{key: cluster, operator: Exists, effect: NoSchedule}]}"#;
    let cluster = configured("PodTolerationRestriction", configuration).await;
    let created = cluster.post(PODS, pod("p", json!({}))).await.expect(201);
    assert!(tolerates(&created, "cluster"), "{created}");
    let resources = json!({"requests": {"memory": "1Mi"}});
    let burstable = json!({"containers": [{"name": "a", "image": "busybox", "resources": resources}]});
    let created = cluster.post(PODS, pod("q", burstable)).await.expect(201);
    assert!(tolerates(&created, "node.kubernetes.io/memory-pressure"), "{created}");
}

#[tokio::test]
async fn event_rate_limit() {
    let event = |name: &str| json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let events = "/api/v1/namespaces/default/events";
    let configuration = r#"{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration,
      limits: [{type: Namespace, qps: 1, burst: 2}, {type: User, qps: 1000, burst: 1000, cacheSize: 10}]}"#;
    let cluster = configured("EventRateLimit", configuration).await;
    let mut statuses = Vec::new();
    for number in 0..20 {
        let answer = cluster.post(events, event(&format!("e{number}"))).await;
        if answer.status() == 429 {
            let why = &answer.body()["message"];
            assert_eq!(*why, "limit reached on type Namespace for key default");
        }
        statuses.push(answer.status());
    }
    assert_eq!(statuses[..2], [201, 201]);
    assert!(statuses.contains(&429), "{statuses:?}");
    // It is only about events, and off by default.
    cluster.post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "m"}})).await.expect(201);
    let off = Cluster::start().await;
    for number in 0..20 {
        off.post(events, event(&format!("e{number}"))).await.expect(201);
    }
    let plugins = AdmissionPlugins::new(&["EventRateLimit"], &[]).expect("a plugin");
    let missing = skiff_apiserver::AdmissionConfiguration::default().check(&plugins).map_err(|err| err.to_string());
    assert!(missing.is_err_and(|why| why.contains("EventRateLimit needs a configuration")));
}

/// Lets a user write config maps, but delete none.
async fn let_write(cluster: &Cluster, rules: Value) {
    let meta = json!({"name": "writer"});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta,
        "rules": rules});
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await.expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writer"},
        "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}]});
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await.expect(201);
}

#[tokio::test]
async fn owner_references_permission_enforcement() {
    for is_on in [true, false] {
        let cluster = cluster("OwnerReferencesPermissionEnforcement", is_on).await;
        let verbs = json!(["create", "get", "patch"]);
        let_write(&cluster, json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}])).await;
        let user = cluster.as_user("u", &[]);
        let maps = "/api/v1/namespaces/default/configmaps";
        let owner = |blocks: bool| json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "blockOwnerDeletion": blocks}]);
        let map = |name: &str, owners: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}});
        let check = |answer: Answer, allowed: u16, why: &str| match is_on {
            false => drop(answer.expect(allowed)),
            true => {
                let message = answer.expect(403)["message"].as_str().expect("a message").to_owned();
                assert_eq!(message.split_once(" is forbidden: ").map(|(_, why)| why), Some(why), "{message}");
            }
        };
        user.post(maps, map("a", owner(false))).await.expect(201);
        let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
        check(user.post(maps, map("b", owner(true))).await, 201, why);
        let mut unknown = owner(true);
        unknown[0]["kind"] = "Nothing".into();
        let why = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Nothing: \
                   no matches for kind \"Nothing\" in version \"v1\"";
        check(user.post(maps, map("c", unknown)).await, 201, why);
        let patch = json!({"metadata": {"ownerReferences": null}});
        let patched = user.patch(&format!("{maps}/a"), "application/merge-patch+json", patch).await;
        check(patched, 200, "cannot set an ownerRef on a resource you can't delete: , <nil>");
    }
}

/// A pod whose images are asked about, with an annotation that is shown and one that is not.
fn reviewed(name: &str, image: &str) -> Value {
    let mut pod = pod(
        name,
        json!({"containers": [{"name": "a", "image": image}], "initContainers": [{"name": "b", "image": "init"}]}),
    );
    pod["metadata"]["annotations"] = json!({"mine.image-policy.k8s.io/break-glass": "yes", "other": "no"});
    pod
}

#[tokio::test]
async fn image_policy_webhook() {
    let double = Double::start().await;
    double.answers(|path, review| {
        let first = &review["spec"]["containers"][0]["image"];
        let status = match first.as_str().unwrap_or_default() {
            "good" => json!({"allowed": true}),
            "bad" => json!({"allowed": false, "reason": "it is bad"}),
            "silent" => json!({"allowed": false}),
            _ => return None,
        };
        (path == "/images")
            .then(|| json!({"apiVersion": review["apiVersion"], "kind": "ImageReview", "status": status}))
    });
    let kubeconfig = double.kubeconfig("/images");
    for default_allow in [false, true] {
        let configuration = format!(
            "{{imagePolicy: {{kubeConfigFile: {}, allowTTL: 50, denyTTL: -1, retryBackoff: 1, defaultAllow: {default_allow}}}}}",
            kubeconfig.display()
        );
        let cluster = configured("ImagePolicyWebhook", &configuration).await;
        double.asked();
        cluster.post(PODS, reviewed("a", "good")).await.expect(201);
        let spec = json!({
            "containers": [{"image": "good"}, {"image": "init"}], "namespace": "default",
            "annotations": {"mine.image-policy.k8s.io/break-glass": "yes"},
        });
        let review = json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "spec": spec});
        assert_eq!(double.asked(), [("/images".to_owned(), review)]);
        // The answer is good for a while; refusals are not kept here.
        cluster.post(PODS, reviewed("b", "good")).await.expect(201);
        assert_eq!(double.asked(), []);
        for _ in 0..2 {
            let refused = cluster.post(PODS, reviewed("c", "bad")).await.expect(403);
            let why = "pods \"c\" is forbidden: image policy webhook backend denied one or more images: it is bad";
            assert_eq!((refused["message"].as_str(), double.asked().len()), (Some(why), 1));
        }
        let refused = cluster.post(PODS, reviewed("c", "silent")).await.expect(403);
        let why = "pods \"c\" is forbidden: one or more images rejected by webhook backend";
        assert_eq!(refused["message"], why);
        // Nobody answers.
        let answer = cluster.post(PODS, reviewed("d", "unknown")).await;
        if default_allow {
            let annotations = &answer.expect(201)["metadata"]["annotations"];
            assert_eq!(annotations["alpha.image-policy.k8s.io/failed-open"], "true");
        } else {
            let why = "pods \"d\" is forbidden: the server could not find the requested resource";
            assert_eq!(answer.expect(403)["message"], why);
        }
    }
    let plugins = AdmissionPlugins::new(&["ImagePolicyWebhook"], &[]).expect("a plugin");
    let missing = skiff_apiserver::AdmissionConfiguration::default().check(&plugins).map_err(|err| err.to_string());
    assert!(missing.is_err_and(|why| why.contains("ImagePolicyWebhook needs a configuration")));
}
