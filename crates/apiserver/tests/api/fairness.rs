//! Priority and fairness: the objects that are kept, who is judged by which, and who is turned away.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::metrics::metric;
use crate::support::{Client, Cluster};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
/// What everybody may post to; without a body it is refused.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const MERGE: &str = "application/merge-patch+json";
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

fn is_kept_up(object: &Value) -> bool {
    object["metadata"]["annotations"][AUTOUPDATE] == "true"
}

fn dangling(object: &Value) -> &Value {
    &object["status"]["conditions"][0]["status"]
}

#[tokio::test]
async fn objects_are_made_and_kept() {
    let cluster = Cluster::start().await;
    for level in ["exempt", "catch-all", "system", "node-high", "workload-low"] {
        let level = cluster.eventually(&format!("{LEVELS}/{level}")).await;
        assert!(is_kept_up(&level), "{level}");
    }
    let schema = cluster.eventually_with(&format!("{SCHEMAS}/service-accounts"), |s| dangling(s) == "False").await;
    assert_eq!(schema["spec"]["matchingPrecedence"], 9000);

    // What must be there comes back, and so does what is suggested.
    let uid = cluster.get(&format!("{SCHEMAS}/catch-all")).await.expect(200)["metadata"]["uid"].clone();
    cluster.delete(&format!("{SCHEMAS}/catch-all")).await.expect(200);
    cluster.eventually_with(&format!("{SCHEMAS}/catch-all"), |schema| schema["metadata"]["uid"] != uid).await;
    cluster.delete(&format!("{LEVELS}/workload-low")).await.expect(200);
    cluster.eventually(&format!("{LEVELS}/workload-low")).await;

    // A changed one is set right, unless its owner says that it is his.
    let path = format!("{SCHEMAS}/global-default");
    let precedence = |precedence: u32| json!({"spec": {"matchingPrecedence": precedence}});
    cluster.patch(&path, MERGE, precedence(9800)).await.expect(200);
    cluster.eventually_with(&path, |schema| schema["spec"]["matchingPrecedence"] == 9900).await;
    cluster.patch(&path, MERGE, json!({"metadata": {"annotations": {AUTOUPDATE: "false"}}})).await.expect(200);
    cluster.patch(&path, MERGE, precedence(9700)).await.expect(200);
    let exempt = format!("{LEVELS}/exempt");
    let shares = json!({"spec": {"exempt": {"nominalConcurrencyShares": 7}}});
    cluster.patch(&exempt, MERGE, shares).await.expect(200);

    // What a former release suggested goes. By then the others would have been set right.
    let mut old = level("former", 1);
    old["metadata"]["annotations"] = json!({AUTOUPDATE: "true"});
    cluster.post(LEVELS, old).await.expect(201);
    cluster.until_gone(&format!("{LEVELS}/former")).await;
    assert_eq!(cluster.get(&path).await.expect(200)["spec"]["matchingPrecedence"], 9700);
    assert_eq!(cluster.get(&exempt).await.expect(200)["spec"]["exempt"]["nominalConcurrencyShares"], 7);
}

fn level(name: &str, shares: u32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    })
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    let rules = json!([{
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }]);
    json!({
        "metadata": {"name": name},
        "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": level}, "rules": rules},
    })
}

/// The answer's status, and the UIDs of the schema and level that counted.
async fn judged(client: &Client, path: &str) -> (u16, [String; 2]) {
    let answer = client.fetch(path, &[]).await;
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    let uids = ["schema", "level"].map(|part| match part {
        "schema" => header("x-kubernetes-pf-flowschema-uid"),
        _ => header("x-kubernetes-pf-prioritylevel-uid"),
    });
    (answer.status().as_u16(), uids)
}

/// Waits until the requests of a client are judged by a schema.
async fn until_judged_by(client: &Client, schema: &Value) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while judged(client, "/version").await.1[0] != schema["metadata"]["uid"].as_str().expect("a UID") {
        assert!(tokio::time::Instant::now() < deadline, "never judged by {schema}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flood_is_turned_away_and_others_are_not() {
    let cluster = Cluster::start_with(|config| config.request_timeout = Duration::from_secs(3600)).await;
    let (flood, quiet) = (cluster.as_user("flood", &[]), cluster.as_user("quiet", &[]));
    let level = cluster.post(LEVELS, level("narrow", 1)).await.expect(201);
    let schema = cluster.post(SCHEMAS, schema("flood", "narrow", "flood")).await.expect(201);
    // Administrators are exempt, whatever their name.
    let exempt = cluster.eventually(&format!("{SCHEMAS}/exempt")).await;
    let admin = judged(&cluster.as_user("flood", &["system:masters"]), "/version").await;
    assert_eq!(exempt["metadata"]["uid"], admin.1[0]);

    until_judged_by(&flood, &schema).await;
    assert_eq!(judged(&flood, "/version").await.1[1], level["metadata"]["uid"].as_str().expect("a UID"));
    // Requests whose body never comes hold their seats: the level has 3 of 600 with one share of 251. Each comes before
    // the next one that is answered, which needs a seat too.
    let mut held = Vec::new();
    let answer = loop {
        let answer = flood.fetch("/version", &[]).await;
        if answer.status() == 429 {
            break answer;
        }
        held.push(flood.held("POST", REVIEWS));
        tokio::task::yield_now().await;
        assert!(held.len() < 100, "nobody is turned away");
    };
    assert_eq!(answer.headers()["retry-after"], "1");
    let status: Value = serde_json::from_slice(answer.body()).expect("a Status");
    assert_eq!((&status["reason"], &status["code"]), (&json!("TooManyRequests"), &json!(429)));
    quiet.get("/version").await.expect(200);
    let own = r#"flow_schema="flood",priority_level="narrow""#;
    let count = async |name: &str, labels: &str| {
        metric(&cluster, &format!("apiserver_flowcontrol_{name}"), labels).await.unwrap_or_default()
    };
    let refused = format!(r#"{own},reason="concurrency-limit""#);
    assert!(count("rejected_requests_total", &refused).await >= 1.0);
    assert!(count("request_wait_duration_seconds_count", &format!(r#"execute="false",{own}"#)).await >= 1.0);
    assert_eq!(count("current_executing_requests", own).await, held.len() as f64);
    assert_eq!(count("current_executing_seats", own).await, held.len() as f64);
    assert_eq!(count("current_inqueue_requests", own).await, 0.0);
    assert!(count("dispatched_requests_total", own).await >= held.len() as f64);
    let level = r#"priority_level="narrow""#;
    for name in ["nominal_limit_seats", "current_limit_seats", "upper_limit_seats"] {
        assert_eq!(count(name, level).await, 3.0, "{name}");
    }
    drop(held);
    flood.until_fetched("/version", 200).await;
}

#[tokio::test]
async fn watches_give_their_seats_back_once_they_are_up_to_date() {
    let cluster = Cluster::start().await;
    let watcher = cluster.as_user("watcher", &[]);
    let rule = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let role = json!({"metadata": {"name": "watcher"}, "rules": [rule]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    cluster.post(&format!("{rbac}/clusterroles"), role).await.expect(201);
    let binding = json!({"metadata": {"name": "watcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "watcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "watcher"}]});
    cluster.post(&format!("{rbac}/clusterrolebindings"), binding).await.expect(201);
    cluster.post(LEVELS, level("narrow", 1)).await.expect(201);
    let schema = cluster.post(SCHEMAS, schema("watcher", "narrow", "watcher")).await.expect(201);
    until_judged_by(&watcher, &schema).await;
    let mut watches = Vec::new();
    for _ in 0..10 {
        let mut watch = watcher.watch("/api/v1/namespaces?watch=1&allowWatchBookmarks=true").await;
        assert!(watch.take(1).await[0].starts_with("ADDED "));
        // The second piece is only asked for when the first is sent.
        watch.settle().await;
        watches.push(watch);
    }
}

#[tokio::test]
async fn without_fairness_two_numbers_count() {
    let cluster = Cluster::start_with(|config| {
        config.priority_and_fairness = false;
        config.max_mutating_requests_in_flight = 2;
        config.request_timeout = Duration::from_secs(3600);
    })
    .await;
    let somebody = cluster.as_user("somebody", &[]);
    let held: Vec<_> = (0..2).map(|_| somebody.held("POST", REVIEWS)).collect();
    somebody.until_posted(REVIEWS, 429).await;
    somebody.get("/version").await.expect(200);
    // Administrators are not turned away.
    let map = json!({"metadata": {"name": "x"}});
    cluster.post("/api/v1/namespaces/default/configmaps", map).await.expect(201);
    drop(held);
    somebody.until_posted(REVIEWS, 400).await;
    cluster.get("/debug/api_priority_and_fairness/dump_queues").await.expect(404);
}

#[tokio::test]
async fn debug_endpoints_tell_what_is_going_on() {
    let cluster = Cluster::start().await;
    cluster.eventually(&format!("{SCHEMAS}/service-accounts")).await;
    let base = "/debug/api_priority_and_fairness";
    let text = async |what: &str| {
        let (status, content_type, body) = cluster.exchange("GET", &format!("{base}/{what}"), &[], Bytes::new()).await;
        assert_eq!((status, content_type.as_str()), (200, "text/plain; charset=utf-8"));
        String::from_utf8(body.to_vec()).expect("text")
    };
    let levels = text("dump_priority_levels").await;
    assert!(levels.starts_with("PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, "), "{levels}");
    assert!(text("dump_queues").await.lines().any(|line| line.starts_with("leader-election,")));
    // The request that asks is one.
    let requests = text("dump_requests?includeRequestDetails=1").await;
    let own = requests.lines().find(|line| line.starts_with("exempt,")).expect("a request");
    assert!(own.contains("system:admin,") && own.contains("/dump_requests,"), "{requests}");
    cluster.as_user("somebody", &[]).get(&format!("{base}/dump_queues")).await.expect(403);
}
