//! Who decides about requests: another server, policies in a file, and how they stand together.

use std::path::PathBuf;
use std::time::Duration;

use crate::double::Double;
use crate::support::{Client, Cluster};
use serde_json::{Value, json};
use skiff_apiserver::{AuthorizationMode, AuthorizationOptions, AuthorizationWebhook};

const PODS: &str = "/api/v1/namespaces/web/pods";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const DEADLINE: Duration = Duration::from_secs(30);

/// A configuration that asks a double before roles, with further settings of the webhook.
fn configuration(double: &Double, more: Value) -> String {
    let mut webhook = json!({
        "timeout": "10s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": double.kubeconfig("/authorize")},
    });
    for (field, value) in more.as_object().expect("settings") {
        webhook[field] = value.clone();
    }
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
        "authorizers": [
            {"type": "Webhook", "name": "double", "webhook": webhook},
            {"type": "Node", "name": "node"},
            {"type": "RBAC", "name": "rbac"},
        ],
    })
    .to_string()
}

async fn cluster(path: PathBuf) -> Cluster {
    with(AuthorizationOptions { config_file: Some(path), ..AuthorizationOptions::default() }).await
}

async fn with(options: AuthorizationOptions) -> Cluster {
    Cluster::start_with(move |config| config.authorization = options).await
}

/// Lets the double say something of every question.
fn say(double: &Double, status: Value) {
    double.answers(move |path, _| {
        (path == "/authorize").then(|| json!({"kind": "SubjectAccessReview", "status": status}))
    });
}

/// The questions since the last look.
fn asked(double: &Double) -> Vec<Value> {
    double.asked().into_iter().map(|(_, review)| review["spec"].clone()).collect()
}

#[track_caller]
fn check_message(answer: &Value, part: &str) {
    assert!(answer["message"].as_str().is_some_and(|message| message.contains(part)), "{answer}");
}

#[tokio::test]
async fn another_server_allows_denies_or_has_no_opinion() {
    let double = Double::start().await;
    double.answers(|_, review| {
        let status = match review["spec"]["user"].as_str()? {
            "allowed" => json!({"allowed": true, "reason": "known"}),
            "denied" => json!({"allowed": false, "denied": true, "reason": "banned"}),
            "both" => json!({"allowed": true, "denied": true}),
            _ => json!({"allowed": false, "reason": "never heard of"}),
        };
        Some(json!({"kind": "SubjectAccessReview", "status": status}))
    });
    let cluster = cluster(double.file("config", &configuration(&double, json!({})))).await;
    // Administrators may whatever another server says.
    cluster.get(PODS).await.expect(200);
    assert!(double.asked().is_empty());
    cluster.as_user("allowed", &[]).get(PODS).await.expect(200);
    check_message(
        &cluster.as_user("denied", &[]).get(PODS).await.expect(403),
        "cannot list resource \"pods\" in API group \"\" in the namespace \"web\": banned",
    );
    check_message(&cluster.as_user("other", &[]).get(PODS).await.expect(403), ": never heard of");
    let both = cluster.as_user("both", &[]).get(PODS).await;
    assert!(both.body().as_str().is_some_and(|text| text.contains("both allow and deny")), "{both:?}");
    both.expect(500);
    let spec = json!({"user": "denied", "resourceAttributes": {"verb": "get", "resource": "pods"}});
    let review = cluster.post(REVIEWS, json!({"spec": spec})).await.expect(201);
    assert_eq!(review["status"], json!({"allowed": false, "denied": true, "reason": "banned"}));
}

#[tokio::test]
async fn answers_are_kept_and_questions_say_everything() {
    let double = Double::start().await;
    say(&double, json!({"allowed": true}));
    let cluster = cluster(double.file("config", &configuration(&double, json!({})))).await;
    let jane = cluster.as_user("jane", &["dev"]);
    let selecting =
        format!("{PODS}?fieldSelector=spec.nodeName%3Dn,status.phase!%3DFailed&labelSelector=a%3Db,!c,d+in+(e)");
    for _ in 0..3 {
        jane.get(&selecting).await.expect(200);
        jane.get("/metrics").await.expect(200);
    }
    let requirement = |key: &str, operator: &str, values: &[&str]| {
        let mut requirement = json!({"key": key, "operator": operator});
        if !values.is_empty() {
            requirement["values"] = json!(values);
        }
        requirement
    };
    let fields = [requirement("spec.nodeName", "In", &["n"]), requirement("status.phase", "NotIn", &["Failed"])];
    let labels =
        [requirement("a", "In", &["b"]), requirement("c", "DoesNotExist", &[]), requirement("d", "In", &["e"])];
    let user = json!({"user": "jane", "groups": ["dev", "system:authenticated"]});
    let mut list = user.clone();
    list["resourceAttributes"] = json!({
        "namespace": "web", "verb": "list", "version": "v1", "resource": "pods",
        "fieldSelector": {"requirements": fields}, "labelSelector": {"requirements": labels},
    });
    let mut path = user;
    path["nonResourceAttributes"] = json!({"path": "/metrics", "verb": "get"});
    assert_eq!(asked(&double), [list, path]);
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_asked_again() {
    let double = Double::start().await;
    say(&double, json!({"allowed": true}));
    let more = json!({"cacheAuthorizedRequests": false, "subjectAccessReviewVersion": "v1beta1"});
    let cluster = cluster(double.file("config", &configuration(&double, more))).await;
    for _ in 0..2 {
        cluster.as_user("jane", &["dev"]).get(PODS).await.expect(200);
    }
    let asked = asked(&double);
    assert_eq!(asked.len(), 2);
    // The older version has another name for groups.
    assert_eq!((&asked[0]["group"], &asked[0]["groups"]), (&json!(["dev", "system:authenticated"]), &Value::Null));
}

#[tokio::test]
async fn conditions_say_what_another_server_is_asked_about() {
    let double = Double::start().await;
    say(&double, json!({"allowed": true}));
    let conditions = json!([
        {"expression": "has(request.resourceAttributes)"},
        {"expression": "request.resourceAttributes.namespace == 'web'"},
        {"expression": "request.user != 'broken' || request.extra['missing'] == ['x']"},
    ]);
    let more = json!({"matchConditions": conditions});
    let cluster = cluster(double.file("config", &configuration(&double, more))).await;
    let jane = cluster.as_user("jane", &[]);
    jane.get(PODS).await.expect(200);
    jane.get("/api/v1/namespaces/other/pods").await.expect(403);
    jane.get("/metrics").await.expect(403);
    let questions = asked(&double);
    assert_eq!(questions.len(), 1, "{questions:?}");
    // A condition that cannot be asked counts as the failure policy says, here as a refusal.
    let broken = cluster.as_user("broken", &[]).get(PODS).await;
    assert!(broken.body().as_str().is_some_and(|text| text.contains("no such key")), "{broken:?}");
    assert_eq!((broken.status(), asked(&double).len()), (500, 0));
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_counts_as_the_policy_says() {
    let double = Double::start().await;
    double.answers(|_, _| None);
    let failing = cluster(double.file("config", &configuration(&double, json!({})))).await;
    let discovery = failing.as_user("jane", &[]).get("/api").await;
    assert_eq!(discovery.status(), 500, "roles would allow it, but are not asked");
    let text = discovery.body().as_str().unwrap_or_default().to_owned();
    assert!(text.starts_with("Internal Server Error: \"/api\": the server could not find"), "{text}");
    let path = double.file("open", &configuration(&double, json!({"failurePolicy": "NoOpinion"})));
    let open = cluster(path).await;
    open.as_user("jane", &[]).get("/api").await.expect(200);
    assert_eq!(open.as_user("jane", &[]).get(PODS).await.status(), 500, "nobody knows whether it is allowed");
    let spec = json!({"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}});
    let review = open.post(REVIEWS, json!({"spec": spec})).await.expect(201);
    let why = "the server could not find the requested resource";
    assert_eq!(review["status"], json!({"allowed": false, "evaluationError": why}));
}

/// Asks until somebody may list pods, or may not.
async fn until(client: &Client, status: u16) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while client.get(PODS).await.status() != status {
        assert!(tokio::time::Instant::now() < deadline, "never answered {status}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_changed_configuration_is_taken_up() {
    let double = Double::start().await;
    say(&double, json!({"allowed": true}));
    let condition = |user: &str| json!({"matchConditions": [{"expression": format!("request.user == '{user}'")}]});
    let path = double.file("config", &configuration(&double, condition("jane")));
    let cluster = cluster(path.clone()).await;
    let (jane, john) = (cluster.as_user("jane", &[]), cluster.as_user("john", &[]));
    jane.get(PODS).await.expect(200);
    john.get(PODS).await.expect(403);
    let replace = |text: &str| {
        std::fs::write(path.with_extension("new"), text).expect("written");
        std::fs::rename(path.with_extension("new"), &path).expect("renamed");
    };
    // What is wrong changes nothing: a server keeps the modes that it was started with.
    let mut without_roles: Value = serde_json::from_str(&configuration(&double, condition("john"))).expect("JSON");
    without_roles["authorizers"].as_array_mut().expect("a list").pop();
    replace(&without_roles.to_string());
    replace("authorizers: nonsense");
    jane.get(PODS).await.expect(200);
    replace(&configuration(&double, condition("john")));
    until(&john, 200).await;
    until(&jane, 403).await;
    crate::metrics::until_reloaded(&cluster, "authorization").await;
}

#[tokio::test]
async fn flags_name_one_server() {
    let double = Double::start().await;
    say(&double, json!({"allowed": true}));
    let webhook = AuthorizationWebhook {
        config_file: double.kubeconfig("/authorize"),
        version: "v1".to_owned(),
        authorized_ttl: Duration::from_secs(3600),
        unauthorized_ttl: Duration::from_secs(3600),
    };
    let modes = vec![AuthorizationMode::Rbac, AuthorizationMode::Webhook];
    let options = AuthorizationOptions { modes, webhook: Some(webhook), ..AuthorizationOptions::default() };
    let cluster = with(options).await;
    let jane = cluster.as_user("jane", &[]);
    // Roles allow discovery, and stand first.
    jane.get("/api").await.expect(200);
    jane.get(PODS).await.expect(200);
    assert_eq!(asked(&double).len(), 1);
    let rules = json!({"spec": {"namespace": "web"}});
    let rules = jane.post(RULES, rules).await.expect(201);
    let why = "webhook authorizer does not support user rule resolution";
    assert_eq!((&rules["status"]["incomplete"], &rules["status"]["evaluationError"]), (&json!(true), &json!(why)));
}

#[tokio::test]
async fn policies_of_a_file_decide() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policies");
    let policy = |spec: Value| {
        json!({"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": spec}).to_string()
    };
    let pods = json!({"user": "jane", "namespace": "web", "resource": "pods", "apiGroup": "", "readonly": true});
    let rules = json!({
        "group": "*", "namespace": "*", "resource": "selfsubjectrulesreviews", "apiGroup": "authorization.k8s.io",
    });
    std::fs::write(&path, format!("# who reads\n\n{}\n{}\n", policy(pods), policy(rules))).expect("written");
    let modes = vec![AuthorizationMode::Abac];
    let options = AuthorizationOptions { modes, policy_file: Some(path), ..AuthorizationOptions::default() };
    let cluster = with(options).await;
    let jane = cluster.as_user("jane", &[]);
    jane.get(PODS).await.expect(200);
    check_message(&jane.delete(&format!("{PODS}/p")).await.expect(403), ": No policy matched.");
    jane.get("/api/v1/namespaces/other/pods").await.expect(403);
    // Roles are not asked.
    cluster.as_user("john", &[]).get("/api").await.expect(403);
    let rules = json!({"spec": {"namespace": "web"}});
    let rules = jane.post(RULES, rules).await.expect(201);
    let expected = json!([
        {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["*"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectrulesreviews"]},
    ]);
    assert_eq!((&rules["status"]["resourceRules"], &rules["status"]["incomplete"]), (&expected, &json!(false)));
}

#[tokio::test]
async fn reviews_ask_about_selectors() {
    let cluster = Cluster::start().await;
    let ask = async |resource: Value| {
        let spec = json!({"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": resource});
        cluster.post(REVIEWS, json!({"spec": spec})).await
    };
    let list = |selector: Value| json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
    let own = json!({"key": "spec.nodeName", "operator": "In", "values": ["n"]});
    let odd = json!({"key": "spec.nodeName", "operator": "Near", "values": ["n"]});
    for (selector, allowed, error) in [
        (json!({"rawSelector": "spec.nodeName=n"}), true, ""),
        (json!({"requirements": [own]}), true, ""),
        (
            json!({"requirements": [own, odd]}),
            true,
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
        ),
        (json!({"requirements": [odd]}), false, "spec.resourceAttributes.fieldSelector ignored due to parse error"),
        (json!({"rawSelector": "nonsense"}), false, "spec.resourceAttributes.fieldSelector ignored due to parse error"),
        (json!({"rawSelector": "spec.nodeName=m"}), false, ""),
        (json!({"rawSelector": "spec.nodeName!=n"}), false, ""),
    ] {
        let status = ask(list(selector.clone())).await.expect(201)["status"].clone();
        assert_eq!(status["allowed"], allowed, "{selector}: {status}");
        assert_eq!(status["evaluationError"].as_str().unwrap_or_default(), error, "{selector}");
    }
    for (selector, why) in [
        (json!({}), "requirements or rawSelector is required"),
        (json!({"rawSelector": "a=b", "requirements": [own]}), "may not specified at the same time as requirements"),
        (
            json!({"requirements": [{"key": "a", "operator": "In"}]}),
            "must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (json!({"requirements": [{"operator": "Exists"}]}), "requirements[0].key: Required value"),
    ] {
        check_message(&ask(list(selector)).await.expect(422), why);
    }
}

/// In a policy, the variable `authorizer` asks the same chain. Its thread waits for the other server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_ask_another_server_too() {
    let double = Double::start().await;
    double.answers(|_, review| {
        let asked = &review["spec"]["resourceAttributes"];
        let is_signing = asked["resource"] == "signers" && asked["verb"] == "approve" && review["spec"]["user"] == "jane";
        Some(json!({"kind": "SubjectAccessReview", "status": {"allowed": is_signing || asked["resource"] == "configmaps"}}))
    });
    let cluster = cluster(double.file("config", &configuration(&double, json!({})))).await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]});
    let expression = "authorizer.group('certificates.k8s.io').resource('signers').check('approve').allowed()";
    cluster
        .post(
            &format!("{group}/validatingadmissionpolicies"),
            json!({"metadata": {"name": "p"}, "spec": {
                "matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}],
            }}),
        )
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    cluster.post(&format!("{group}/validatingadmissionpolicybindings"), binding).await.expect(201);
    let maps = "/api/v1/namespaces/default/configmaps";
    let deadline = tokio::time::Instant::now() + DEADLINE;
    // The policy holds a moment after it was made.
    loop {
        let map = json!({"metadata": {"generateName": "m-"}});
        if cluster.as_user("john", &[]).post(maps, map).await.status() == 422 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the policy never holds");
    }
    cluster.as_user("jane", &[]).post(maps, json!({"metadata": {"name": "m"}})).await.expect(201);
}
