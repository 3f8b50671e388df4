//! Validating admission policies: what they see, what they do, and what becomes of mistakes in them.

use crate::support::{Client, Cluster};
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
pub const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
pub const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A policy for config maps, with `changes` made to its spec.
pub fn policy(name: &str, changes: Value) -> Value {
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE", "UPDATE", "DELETE"]}]);
    let mut policy = json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": rules}}});
    for (field, value) in changes.as_object().expect("a spec") {
        policy["spec"][field] = value.clone();
    }
    policy
}

pub fn binding(name: &str, policy: &str, changes: Value) -> Value {
    let mut binding =
        json!({"metadata": {"name": name}, "spec": {"policyName": policy, "validationActions": ["Deny"]}});
    for (field, value) in changes.as_object().expect("a spec") {
        binding["spec"][field] = value.clone();
    }
    binding
}

/// Puts a policy into force.
pub async fn put_into_force(cluster: &Cluster, policy: Value, binding: Value) {
    cluster.post(POLICIES, policy).await.expect(201);
    cluster.post(BINDINGS, binding).await.expect(201);
    settle(cluster).await;
}

/// A list is as new as the writes before it, so the cache has them after this.
pub async fn settle(cluster: &Cluster) {
    cluster.get(BINDINGS).await.expect(200);
    cluster.get(POLICIES).await.expect(200);
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "data": data})
}

/// Creates a config map: nothing if that is refused with this message, else it must be made.
async fn check(client: &Client, name: &str, data: Value, refusal: Option<&str>) {
    let answer = client.post(CONFIG_MAPS, config_map(name, data)).await;
    match refusal {
        None => drop(answer.expect(201)),
        Some(why) => {
            let status = answer.expect(422);
            assert_eq!(status["message"], format!("configmaps \"{name}\" is forbidden: {why}"));
            assert_eq!(status["reason"], "Invalid");
            assert_eq!(status["details"]["causes"], json!([{"message": why}]));
        }
    }
}

#[tokio::test]
async fn what_does_not_hold_is_refused() {
    let cluster = Cluster::start().await;
    let validations = json!([
        {"expression": "!has(object.data.size) || int(object.data.size) < 10",
         "messageExpression": "'size ' + object.data.size + ' of ' + variables.name"},
        {"expression": "variables.name != 'bad'", "message": "  a bad name "},
        {"expression": "  request.operation != 'CREATE' || !variables.name.startsWith('x') "}]);
    let spec = json!({"variables": [{"name": "name", "expression": "object.metadata.name"}],
        "matchConditions": [{"name": "no deletion", "expression": "request.operation != 'DELETE'"}],
        "validations": validations});
    // Names of conditions are qualified names.
    cluster.post(POLICIES, policy("sizes", spec.clone())).await.expect(422);
    let mut spec = spec;
    spec["matchConditions"][0]["name"] = "no-deletion".into();
    put_into_force(&cluster, policy("sizes", spec), binding("all", "sizes", json!({}))).await;
    let denied = |why: &str| format!("ValidatingAdmissionPolicy 'sizes' with binding 'all' denied request: {why}");
    check(&cluster, "good", json!({"size": "9"}), None).await;
    check(&cluster, "big", json!({"size": "10"}), Some(&denied("size 10 of big"))).await;
    check(&cluster, "bad", json!({"any": "1"}), Some(&denied("a bad name"))).await;
    let why = "failed expression: request.operation != 'CREATE' || !variables.name.startsWith('x')";
    check(&cluster, "x1", json!({"any": "1"}), Some(&denied(why))).await;
    let why = "expression '!has(object.data.size) || int(object.data.size) < 10' resulted in error: \
               type conversion error from 'string' to 'int'";
    check(&cluster, "odd", json!({"size": "?"}), Some(&denied(why))).await;
    let path = format!("{CONFIG_MAPS}/good");
    cluster.patch(&path, MERGE, json!({"data": {"size": "11"}})).await.expect(422);
    cluster.patch(&path, MERGE, json!({"data": {"size": "8"}})).await.expect(200);
    cluster.delete(&path).await.expect(200);
    // A policy that nothing binds does nothing.
    cluster.delete(&format!("{BINDINGS}/all")).await.expect(200);
    settle(&cluster).await;
    check(&cluster, "bad", json!({}), None).await;
}

#[tokio::test]
async fn reasons_are_codes() {
    let cluster = Cluster::start().await;
    let names = [("forbidden", "Forbidden", 403), ("invalid", "Invalid", 422), ("large", "RequestEntityTooLarge", 413)];
    let validations: Vec<Value> = names
        .map(|(name, reason, _)| json!({"expression": format!("object.metadata.name != '{name}'"), "reason": reason}))
        .into();
    put_into_force(&cluster, policy("p", json!({"validations": validations})), binding("b", "p", json!({}))).await;
    for (name, reason, code) in names {
        let status = cluster.post(CONFIG_MAPS, config_map(name, json!({}))).await.expect(code);
        assert_eq!(status["reason"], reason);
    }
}

#[tokio::test]
async fn deletions_have_an_old_object_alone() {
    let cluster = Cluster::start().await;
    let spec = json!({"validations": [{"expression":
        "request.operation == 'DELETE' ? object == null && !('keep' in oldObject.data) : oldObject == null"}]});
    put_into_force(&cluster, policy("p", spec), binding("b", "p", json!({}))).await;
    check(&cluster, "a", json!({"keep": "1"}), None).await;
    check(&cluster, "b", json!({"other": "1"}), None).await;
    cluster.delete(&format!("{CONFIG_MAPS}/a")).await.expect(422);
    cluster.delete(&format!("{CONFIG_MAPS}/b")).await.expect(200);
}

#[tokio::test]
async fn bindings_choose_requests_and_actions() {
    let cluster = Cluster::start().await;
    let spec = json!({"validations": [{"expression": "false", "message": "never"}]});
    cluster.post(POLICIES, policy("never", spec)).await.expect(201);
    let selected = |label: &str| json!({"objectSelector": {"matchLabels": {"app": label}}});
    for (label, actions) in
        [("denied", json!(["Deny", "Audit"])), ("warned", json!(["Warn"])), ("noted", json!(["Audit"]))]
    {
        let changes = json!({"matchResources": selected(label), "validationActions": actions});
        cluster.post(BINDINGS, binding(label, "never", changes)).await.expect(201);
    }
    settle(&cluster).await;
    check(&cluster, "free", json!({}), None).await;
    check(&cluster, "noted", json!({}), None).await;
    let why = "ValidatingAdmissionPolicy 'never' with binding 'denied' denied request: never";
    check(&cluster, "denied", json!({}), Some(why)).await;
    let headers = [("content-type", "application/json")];
    let body = config_map("warned", json!({})).to_string();
    let answer = cluster.request("POST", CONFIG_MAPS, &headers, body).await;
    assert_eq!(answer.status(), 201);
    let warning = answer.headers().get("warning").and_then(|value| value.to_str().ok()).expect("a warning");
    let expected = "299 - \"Validation failed for ValidatingAdmissionPolicy 'never' with binding 'warned': never\"";
    assert_eq!(warning, expected);
}

#[tokio::test]
async fn failures_count_as_the_policy_says() {
    let cluster = Cluster::start().await;
    let spec = |policy: &str| json!({"failurePolicy": policy, "validations": [{"expression": "object.nothing == 1"}]});
    put_into_force(&cluster, policy("ignores", spec("Ignore")), binding("b1", "ignores", json!({}))).await;
    check(&cluster, "a", json!({}), None).await;
    put_into_force(&cluster, policy("fails", spec("Fail")), binding("b2", "fails", json!({}))).await;
    let why = "ValidatingAdmissionPolicy 'fails' with binding 'b2' denied request: expression 'object.nothing == 1' \
               resulted in error: no such key: nothing";
    check(&cluster, "b", json!({}), Some(why)).await;
}

#[tokio::test]
async fn users_and_what_they_may_are_seen() {
    let cluster = Cluster::start().await;
    let spec = json!({"validations": [{"expression":
        "request.userInfo.username == 'ann' || authorizer.group('').resource('secrets').namespace('default').check('list').allowed()",
        "messageExpression": "'not by ' + request.userInfo.username + ' in ' + namespaceObject.metadata.name"},
        {"expression": "authorizer.requestResource.check('create').allowed()", "message": "who made this?"}]});
    put_into_force(&cluster, policy("p", spec), binding("b", "p", json!({}))).await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]);
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    cluster.post(roles, json!({"metadata": {"name": "r"}, "rules": rules})).await.expect(201);
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    let subjects = json!([{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "makers"}]);
    let bound = json!({"metadata": {"name": "r"}, "roleRef": role_ref, "subjects": subjects});
    cluster.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", bound).await.expect(201);
    let why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not by bob in default";
    check(&cluster.as_user("bob", &["makers"]), "a", json!({}), Some(why)).await;
    check(&cluster.as_user("ann", &["makers"]), "a", json!({}), None).await;
    check(&cluster, "b", json!({}), None).await;
}

/// A policy whose limit is a parameter.
fn limited(kind: Value) -> Value {
    policy(
        "limits",
        json!({"paramKind": kind, "validations": [
        {"expression": "params != null && object.data.n != params.data.refused",
         "messageExpression": "object.data.n + ' is refused by ' + params.metadata.name"}]}),
    )
}

#[tokio::test]
async fn parameters_are_named_or_selected() {
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "limits"}})).await.expect(201);
    let kind = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    cluster.post(POLICIES, limited(kind)).await.expect(201);
    let selector = json!({"matchLabels": {"is": "limit"}});
    for (name, reference) in [
        ("named", json!({"name": "one", "namespace": "limits", "parameterNotFoundAction": "Deny"})),
        ("selected", json!({"selector": selector, "namespace": "limits", "parameterNotFoundAction": "Allow"})),
    ] {
        let changes =
            json!({"paramRef": reference, "matchResources": {"objectSelector": {"matchLabels": {"app": name}}}});
        cluster.post(BINDINGS, binding(name, "limits", changes)).await.expect(201);
    }
    settle(&cluster).await;
    let denied = |binding: &str, why: &str| {
        Some(format!("ValidatingAdmissionPolicy 'limits' with binding '{binding}' denied request: {why}"))
    };
    let missing = denied(
        "named",
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    );
    check(&cluster, "named", json!({"n": "1"}), missing.as_deref()).await;
    check(&cluster, "selected", json!({"n": "1"}), None).await;
    for (name, refused) in [("one", "1"), ("two", "2")] {
        let limit = json!({"metadata": {"name": name, "labels": {"is": "limit"}}, "data": {"refused": refused}});
        cluster.post("/api/v1/namespaces/limits/configmaps", limit).await.expect(201);
    }
    cluster.get("/api/v1/configmaps").await.expect(200);
    cluster.delete(&format!("{CONFIG_MAPS}/selected")).await.expect(422);
    check(&cluster, "named", json!({"n": "1"}), denied("named", "1 is refused by one").as_deref()).await;
    check(&cluster, "named", json!({"n": "2"}), None).await;
    let answer = cluster.patch(&format!("{CONFIG_MAPS}/selected"), MERGE, json!({"data": {"n": "2"}})).await;
    assert!(
        answer.expect(422)["message"]
            .to_string()
            .contains("with binding 'selected' denied request: 2 is refused by two")
    );
    cluster.patch(&format!("{CONFIG_MAPS}/selected"), MERGE, json!({"data": {"n": "3"}})).await.expect(200);
}

#[tokio::test]
async fn parameters_can_be_custom_resources() {
    let cluster = Cluster::start().await;
    let kind = json!({"apiVersion": "example.com/v1", "kind": "Limit"});
    let reference = json!({"name": "l", "parameterNotFoundAction": "Deny"});
    put_into_force(&cluster, limited(kind), binding("b", "limits", json!({"paramRef": reference}))).await;
    let why = "ValidatingAdmissionPolicy 'limits' denied request: failed to configure policy: failed to find resource \
               referenced by paramKind: 'example.com/v1, Kind=Limit'";
    check(&cluster, "a", json!({"n": "1"}), Some(why)).await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"metadata": {"name": "limits.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "limits", "kind": "Limit"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.expect(201);
    let limits = "/apis/example.com/v1/limits";
    cluster.eventually(limits).await;
    let limit =
        json!({"apiVersion": "example.com/v1", "kind": "Limit", "metadata": {"name": "l"}, "data": {"refused": "1"}});
    cluster.post(limits, limit).await.expect(201);
    let why = "ValidatingAdmissionPolicy 'limits' with binding 'b' denied request: 1 is refused by l";
    check(&cluster, "a", json!({"n": "1"}), Some(why)).await;
    check(&cluster, "a", json!({"n": "2"}), None).await;
}

#[tokio::test]
async fn nobody_is_locked_out_by_policies() {
    let cluster = Cluster::start().await;
    let rules = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]);
    let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "false"}]});
    put_into_force(&cluster, policy("nothing", spec), binding("b", "nothing", json!({}))).await;
    cluster.post(CONFIG_MAPS, config_map("a", json!({}))).await.expect(422);
    cluster.patch(&format!("{POLICIES}/nothing"), MERGE, json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    cluster.delete(&format!("{BINDINGS}/b")).await.expect(200);
    settle(&cluster).await;
    cluster.post(CONFIG_MAPS, config_map("a", json!({}))).await.expect(201);
}

#[tokio::test]
async fn objects_are_seen_in_the_version_of_the_rule() {
    let cluster = Cluster::start().await;
    let rules = json!([{"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"],
        "operations": ["CREATE"]}]);
    let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression":
        "object.spec.targetCPUUtilizationPercentage < 90 && request.kind.version == 'v1' && request.requestKind.version == 'v2'"}]});
    put_into_force(&cluster, policy("p", spec), binding("b", "p", json!({}))).await;
    let autoscaler = |percent: i64| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]}})
    };
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    cluster.post(path, autoscaler(95)).await.expect(422);
    cluster.post(path, autoscaler(80)).await.expect(201);
}

#[tokio::test]
async fn policies_show_no_parameters_that_their_authors_cannot_read() {
    let cluster = Cluster::start().await;
    let rules = json!([{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    cluster.post(&format!("{rbac}/clusterroles"), json!({"metadata": {"name": "r"}, "rules": rules})).await.expect(201);
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"});
    let subjects = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}]);
    let bound = json!({"metadata": {"name": "r"}, "roleRef": role_ref, "subjects": subjects});
    cluster.post(&format!("{rbac}/clusterrolebindings"), bound).await.expect(201);
    let ann = cluster.as_user("ann", &[]);
    let secrets = json!({"apiVersion": "v1", "kind": "Secret"});
    let refused = ann.post(POLICIES, limited(secrets.clone())).await.expect(422);
    let why = "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"limits\" is invalid: spec.paramKind: Forbidden: \
               user &{ann  [system:authenticated] map[]} must have \"get\" permission on all objects of the referenced \
               paramKind (kind=Secret, apiVersion=v1)";
    assert_eq!(refused["message"], why);
    cluster.post(POLICIES, limited(secrets)).await.expect(201);
    settle(&cluster).await;
    let reference = json!({"paramRef": {"name": "s", "namespace": "default", "parameterNotFoundAction": "Allow"}});
    let refused = ann.post(BINDINGS, binding("b", "limits", reference.clone())).await.expect(422);
    let why = "ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io \"b\" is invalid: spec.paramRef: Forbidden: \
               user &{ann  [system:authenticated] map[]} does not have \"get\" permission on the object referenced by paramRef";
    assert_eq!(refused["message"], why);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    ann.patch(&format!("{POLICIES}/limits"), MERGE, label).await.expect(200);
    ann.delete(&format!("{POLICIES}/limits")).await.expect(200);
    ann.post(POLICIES, limited(json!({"apiVersion": "v1", "kind": "ConfigMap"}))).await.expect(201);
    settle(&cluster).await;
    ann.post(BINDINGS, binding("b", "limits", reference)).await.expect(201);
}

#[tokio::test]
async fn scales_are_seen_as_scales() {
    let cluster = Cluster::start().await;
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"], "operations": ["UPDATE"]}]);
    let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [
        {"expression": "object.kind == 'Scale' && request.kind.kind == 'Scale' && object.status.selector == 'app=d'"},
        {"expression": "object.spec.replicas <= oldObject.spec.replicas + 2", "message": "too fast"}]});
    put_into_force(&cluster, policy("p", spec), binding("b", "p", json!({}))).await;
    let labels = json!({"app": "d"});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    cluster.post("/apis/apps/v1/namespaces/default/deployments", deployment).await.expect(201);
    let path = "/apis/apps/v1/namespaces/default/deployments/d/scale";
    let refused = cluster.patch(path, MERGE, json!({"spec": {"replicas": 5}})).await.expect(422);
    assert!(refused["message"].to_string().contains("denied request: too fast"), "{refused}");
    let scaled = cluster.patch(path, MERGE, json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 4);
}
