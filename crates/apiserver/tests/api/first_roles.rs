//! The first roles and bindings when a server starts again on what others have made of them.

use serde_json::{Value, json};

use crate::support::Cluster;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// What a starting server makes after its roles.
const AFTER: &str = "/api/v1/namespaces/default/services/kubernetes";

fn role(name: &str) -> String {
    format!("{RBAC}/clusterroles/{name}")
}

fn binding(name: &str) -> String {
    format!("{RBAC}/clusterrolebindings/{name}")
}

/// Changes an object; what it is then.
async fn change(cluster: &Cluster, path: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = cluster.eventually(path).await;
    change(&mut object);
    cluster.put(path, object).await.expect(200)
}

/// Starts the server again, and waits until it has looked at its roles and bindings.
async fn restart(cluster: Cluster) -> Cluster {
    cluster.eventually(AFTER).await;
    cluster.delete(AFTER).await.expect(200);
    let cluster = cluster.restart().await;
    cluster.eventually(AFTER).await;
    cluster
}

#[tokio::test]
async fn what_is_missing_comes_back_and_what_is_more_stays() {
    let cluster = Cluster::start().await;
    cluster.eventually(AFTER).await;
    // A rule is gone, another is there, and so is a label; the annotation is gone, which counts as "true".
    let discovery = cluster.get(&role("system:discovery")).await.expect(200)["rules"].clone();
    let more = json!({"verbs": ["get"], "nonResourceURLs": ["/mine"]});
    let taken = |role: &mut Value| {
        role["rules"] = json!([more]);
        role["metadata"]["labels"] = json!({"mine": "yes"});
        role["metadata"]["annotations"] = json!({});
    };
    change(&cluster, &role("system:discovery"), taken).await;
    // So much as a verb.
    let before = change(&cluster, &role("system:node-problem-detector"), |_| {}).await["rules"].clone();
    change(&cluster, &role("system:node-problem-detector"), |role| role["rules"][0]["verbs"] = json!(["mine"])).await;
    // A whole role, and a whole binding of it.
    for path in [role("system:basic-user"), binding("system:basic-user")] {
        cluster.delete(&path).await.expect(200);
    }
    // One subject for another.
    let somebody = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"});
    let subjects = cluster.get(&binding("system:discovery")).await.expect(200)["subjects"].clone();
    change(&cluster, &binding("system:discovery"), |binding| binding["subjects"] = json!([somebody])).await;
    // A namespaced one.
    let local = format!("{RBAC}/namespaces/kube-system/roles/extension-apiserver-authentication-reader");
    let read = change(&cluster, &local, |_| {}).await["rules"].clone();
    change(&cluster, &local, |role| role["rules"] = json!([])).await;

    let cluster = restart(cluster).await;
    let kept = cluster.get(&role("system:discovery")).await.expect(200);
    let rules = kept["rules"].as_array().expect("rules");
    assert_eq!(rules[0], more);
    let granted = |rules: &[Value]| -> std::collections::BTreeSet<String> {
        let of = |rule: &Value| {
            let verbs = rule["verbs"].as_array().cloned().unwrap_or_default();
            let urls = rule["nonResourceURLs"].as_array().cloned().unwrap_or_default();
            verbs.into_iter().flat_map(move |verb| urls.clone().into_iter().map(move |url| format!("{verb} {url}")))
        };
        rules.iter().flat_map(of).collect()
    };
    assert_eq!(granted(&rules[1..]), granted(discovery.as_array().expect("rules")));
    let labels = json!({"mine": "yes", "kubernetes.io/bootstrapping": "rbac-defaults"});
    assert_eq!(
        (&kept["metadata"]["labels"], &kept["metadata"]["annotations"]),
        (&labels, &json!({AUTOUPDATE: "true"}))
    );
    let detector = cluster.get(&role("system:node-problem-detector")).await.expect(200)["rules"].to_string();
    for verb in before[0]["verbs"].as_array().expect("verbs") {
        assert!(detector.contains(&verb.to_string()), "{detector}");
    }
    cluster.get(&role("system:basic-user")).await.expect(200);
    cluster.get(&binding("system:basic-user")).await.expect(200);
    let bound = cluster.get(&binding("system:discovery")).await.expect(200)["subjects"].clone();
    assert_eq!(bound, json!([somebody, subjects[0]]));
    // Upstream gives back one right at a time.
    let given: Vec<Value> = cluster.get(&local).await.expect(200)["rules"].as_array().expect("rules").clone();
    let verbs: Vec<&Value> = given.iter().flat_map(|rule| rule["verbs"].as_array().expect("verbs")).collect();
    assert_eq!(verbs, read[0]["verbs"].as_array().expect("verbs").iter().collect::<Vec<_>>());

    // A start that finds all as it should be changes nothing.
    let version = kept["metadata"]["resourceVersion"].clone();
    let cluster = restart(cluster).await;
    let again = cluster.get(&role("system:discovery")).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], version);
}

#[tokio::test]
async fn a_binding_of_another_role_is_made_anew() {
    let cluster = Cluster::start().await;
    cluster.eventually(AFTER).await;
    let name = "system:public-info-viewer";
    let original = cluster.get(&binding(name)).await.expect(200);
    // The role of a binding cannot be changed, so somebody has made it anew.
    cluster.delete(&binding(name)).await.expect(200);
    let somebody = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"});
    let other = json!({
        "metadata": {"name": name}, "subjects": [somebody.clone()],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    });
    cluster.post(&format!("{RBAC}/clusterrolebindings"), other.clone()).await.expect(201);
    let cluster = restart(cluster).await;
    let found = cluster.get(&binding(name)).await.expect(200);
    // Upstream leaves whom he had bound.
    let mut subjects = vec![somebody];
    subjects.extend(original["subjects"].as_array().expect("subjects").iter().cloned());
    assert_eq!((&found["roleRef"], &found["subjects"]), (&original["roleRef"], &json!(subjects)));

    cluster.delete(&binding(name)).await.expect(200);
    let mut kept = other;
    kept["metadata"]["annotations"] = json!({AUTOUPDATE: "false"});
    let kept = cluster.post(&format!("{RBAC}/clusterrolebindings"), kept).await.expect(201);
    let cluster = restart(cluster).await;
    assert_eq!(cluster.get(&binding(name)).await.expect(200), kept);
}

#[tokio::test]
async fn what_is_not_to_be_kept_up_is_left_alone() {
    let cluster = Cluster::start().await;
    cluster.eventually(AFTER).await;
    let mine = |object: &mut Value| {
        object["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        for list in ["rules", "subjects"] {
            if object.get(list).is_some() {
                object[list] = json!([]);
            }
        }
    };
    let paths = [role("system:discovery"), binding("system:discovery"), role("view")];
    let mut left = Vec::new();
    for path in &paths {
        left.push(change(&cluster, path, mine).await);
    }
    let cluster = restart(cluster).await;
    for (path, left) in paths.iter().zip(left) {
        assert_eq!(cluster.get(path).await.expect(200), left, "{path}");
    }
    // It is missing only once it is gone.
    for path in &paths {
        cluster.delete(path).await.expect(200);
    }
    let cluster = restart(cluster).await;
    for path in &paths {
        let made = cluster.get(path).await.expect(200);
        assert_eq!(made["metadata"]["annotations"][AUTOUPDATE], "true", "{path}");
    }
}
