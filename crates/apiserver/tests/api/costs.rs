//! Expressions of policies and webhooks that cost more than they may: what the request is told, and that it goes on where
//! failures count as nothing.

use serde_json::{Value, json};

use crate::hooks::Hook;
use crate::mutating_policies::{self as mutating, DEPLOYMENTS, apply, deployment};
use crate::policies::{BINDINGS, POLICIES, binding, policy, put_into_force, settle};
use crate::support::Cluster;
use crate::webhooks::{MAPS, webhook};

/// A text in which to find itself costs a little less than one expression may.
const DEAR: usize = 9_900;
/// The same for a little more.
const TOO_DEAR: usize = 10_100;

const FIND: &str = "object.data.a.contains(object.data.b)";

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

fn map(length: usize) -> Value {
    let text = "x".repeat(length);
    json!({"metadata": {"name": "a"}, "data": {"a": text, "b": text}})
}

/// What becomes of a small map, of one that is dear and of one that is too dear, under a policy that finds texts in them.
async fn check(cluster: &Cluster, failure_policy: &str, spec: Value, expected: [Option<&str>; 3]) {
    let mut policy = policy("p", spec);
    policy["spec"]["failurePolicy"] = failure_policy.into();
    policy["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE"]);
    put_into_force(cluster, policy, binding("b", "p", json!({}))).await;
    for (length, expected) in [10, DEAR, TOO_DEAR].into_iter().zip(expected) {
        let created = cluster.post(MAPS, map(length)).await;
        match expected {
            None => {
                created.expect(201);
                cluster.delete(&format!("{MAPS}/a")).await.expect(200);
            }
            Some(why) => {
                let status = created.expect(422);
                let why = format!("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}");
                assert_eq!(status["message"], format!("configmaps \"a\" is forbidden: {why}"));
                assert_eq!(
                    (&status["reason"], &status["details"]["causes"]),
                    (&json!("Invalid"), &json!([{"message": why}]))
                );
            }
        }
    }
    cluster.delete(&format!("{BINDINGS}/b")).await.expect(200);
    cluster.delete(&format!("{POLICIES}/p")).await.expect(200);
    settle(cluster).await;
}

/// Validations that find texts so often.
fn validations(count: usize) -> Value {
    json!({"validations": vec![json!({"expression": FIND}); count]})
}

#[tokio::test]
async fn a_policy_that_costs_too_much_refuses_the_request_unless_failures_are_ignored() {
    let cluster = Cluster::start().await;
    let limited = format!("expression '{FIND}' resulted in error: operation cancelled: actual cost limit exceeded");
    check(&cluster, "Fail", validations(1), [None, None, Some(&limited)]).await;
    check(&cluster, "Ignore", validations(1), [None, None, None]).await;
    check(&cluster, "Fail", validations(11), [None, Some(OUT_OF_BUDGET), Some(OUT_OF_BUDGET)]).await;
    check(&cluster, "Ignore", validations(11), [None, None, None]).await;

    // What variables cost is part of what the expressions cost that ask for them.
    let variables: Vec<Value> = (0..11).map(|n| json!({"name": format!("v{n}"), "expression": FIND})).collect();
    let all: Vec<String> = (0..11).map(|n| format!("variables.v{n}")).collect();
    let spec = json!({"variables": variables, "validations": [{"expression": all.join(" && ")}]});
    check(&cluster, "Fail", spec, [None, Some(OUT_OF_BUDGET), Some(OUT_OF_BUDGET)]).await;

    // Match conditions have a smaller budget of their own.
    let conditions: Vec<Value> = (0..3).map(|n| json!({"name": format!("c{n}"), "expression": FIND})).collect();
    let spec = json!({"matchConditions": conditions, "validations": [{"expression": "true"}]});
    check(&cluster, "Fail", spec.clone(), [None, Some(OUT_OF_BUDGET), Some(OUT_OF_BUDGET)]).await;
    check(&cluster, "Ignore", spec, [None, None, None]).await;
}

#[tokio::test]
async fn match_conditions_of_webhooks_have_a_budget() {
    let hook = Hook::start(|_| panic!("nobody asks it")).await;
    let cluster = Cluster::start().await;
    let conditions: Vec<Value> = (0..3).map(|n| json!({"name": format!("c{n}"), "expression": FIND})).collect();
    let kind = "ValidatingWebhookConfiguration";
    for policy in ["Fail", "Ignore"] {
        let webhook = webhook("v", &hook, json!({"matchConditions": conditions, "failurePolicy": policy}));
        crate::webhooks::configure(&cluster, kind, "v", vec![webhook]).await;
        let created = cluster.post(MAPS, map(DEAR)).await;
        if policy == "Fail" {
            let status = created.expect(403);
            assert_eq!(status["message"], format!("configmaps \"a\" is forbidden: {OUT_OF_BUDGET}"));
        } else {
            created.expect(201);
        }
        cluster.delete(&format!("{}/{}s/v", crate::webhooks::GROUP, kind.to_lowercase())).await.expect(200);
    }
    assert!(hook.seen().is_empty());
}

#[tokio::test]
async fn a_mutation_that_costs_too_much_refuses_the_request_unless_failures_are_ignored() {
    let cluster = mutating::start().await;
    let find = "object.metadata.annotations.a.contains(object.metadata.annotations.b)";
    let dear = |length: usize| {
        let mut object = deployment("web");
        let text = "x".repeat(length);
        object["metadata"]["annotations"] = json!({"a": text, "b": text});
        object
    };
    let found = |sources: &[String]| {
        let value = sources.join(" && ");
        apply(&format!("Object{{metadata: Object.metadata{{labels: {{'found': string({value})}}}}}}"))
    };
    let variables: Vec<Value> = (0..11).map(|n| json!({"name": format!("v{n}"), "expression": find})).collect();
    let all: Vec<String> = (0..11).map(|n| format!("variables.v{n}")).collect();
    let limited = format!(
        "expression '{}' resulted in error: operation cancelled: actual cost limit exceeded",
        found(&[find.to_owned()])["applyConfiguration"]["expression"].as_str().expect("a text")
    );
    for (name, mutation, length, why) in
        [("once", found(&[find.to_owned()]), TOO_DEAR, limited.as_str()), ("often", found(&all), DEAR, OUT_OF_BUDGET)]
    {
        for policy in ["Fail", "Ignore"] {
            let name = format!("{name}-{}", policy.to_lowercase());
            let changes = json!({"failurePolicy": policy, "variables": variables});
            mutating::put_into_force(&cluster, &name, json!([mutation]), changes, json!({})).await;
            let created = cluster.post(DEPLOYMENTS, dear(length)).await;
            if policy == "Fail" {
                let status = created.expect(403);
                let why = format!("policy '{name}' with binding '{name}-binding' denied request: {why}");
                assert_eq!((&status["message"], &status["reason"]), (&json!(why), &json!("Invalid")));
                let created = cluster.post(&format!("{DEPLOYMENTS}?dryRun=All"), dear(10)).await.expect(201);
                assert_eq!(created["metadata"]["labels"]["found"], "true");
            } else {
                assert!(created.expect(201)["metadata"].get("labels").is_none());
                cluster.delete(&format!("{DEPLOYMENTS}/web")).await.expect(200);
            }
            cluster.delete(&format!("{}/mutatingadmissionpolicies/{name}", mutating::GROUP)).await.expect(200);
            cluster.get(&format!("{}/mutatingadmissionpolicies", mutating::GROUP)).await.expect(200);
        }
    }
}
