//! Types of admission policies, checked against what the API server publishes.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::custom::define;
use crate::support::TestCluster;

/// The warnings about a policy for some resources of a group, by field; each must hold all of the parts.
async fn check(
    test: &TestCluster,
    name: &str,
    (group, resources): (&str, &[&str]),
    spec: Value,
    expected: &[(&str, &[&str])],
) {
    let mut spec = spec;
    spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": resources}]});
    let policies = test.api_all::<ValidatingAdmissionPolicy>();
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    let policy = serde_json::from_value(policy).expect("a policy");
    policies.create(&PostParams::default(), &policy).await.expect("created");
    let policies = &policies;
    let status = test
        .eventually("the status", || async move {
            policies.get(name).await.ok()?.status.filter(|status| status.observed_generation == Some(1))
        })
        .await;
    let warnings = status.type_checking.expect("it is checked").expression_warnings.unwrap_or_default();
    let fields: Vec<&str> = warnings.iter().map(|warning| warning.field_ref.as_str()).collect();
    assert_eq!(fields, expected.iter().map(|(field, _)| *field).collect::<Vec<_>>(), "{warnings:?}");
    for (warning, (_, parts)) in warnings.iter().zip(expected) {
        assert!(parts.iter().all(|part| warning.warning.contains(part)), "{}", warning.warning);
    }
}

#[tokio::test(start_paused = true)]
async fn the_types_of_policies_are_checked() {
    let test = TestCluster::start(&[]).await;
    let good = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "template", "expression": "object.spec.template"}],
        "validations": [{"expression": "variables.template.spec.containers.all(c, has(c.resources.limits))"},
            {"expression": "object.spec.replicas > int(params.data['max'])",
             "messageExpression": "object.metadata.name + string(object.spec.replicas)"}]});
    let workloads: (&str, &[&str]) = ("apps", &["replicasets", "deployments"]);
    check(&test, "good", workloads, good, &[]).await;
    let bad = json!({"validations": [{"expression": "object.replicas > 1", "messageExpression": "string(object.kinds)"},
        {"expression": "object.spec.replicas > 1"}]});
    let both = [
        "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^",
        "apps/v1, Kind=ReplicaSet: ERROR: <input>:1:7: undefined field 'replicas'",
    ];
    check(
        &test,
        "bad",
        workloads,
        bad,
        &[
            ("spec.validations[0].expression", &both),
            ("spec.validations[0].messageExpression", &["ReplicaSet: ERROR: <input>:1:14: undefined field 'kinds'"]),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn types_of_custom_resources_are_known() {
    let test = TestCluster::start(&[]).await;
    define(&test).await;
    let spec =
        json!({"validations": [{"expression": "object.spec.size > 1"}, {"expression": "object.spec.sizes > 1"}]});
    let warning = "example.com/v1, Kind=Widget: ERROR: <input>:1:12: undefined field 'sizes'";
    check(&test, "p", ("example.com", &["widgets"]), spec, &[("spec.validations[1].expression", &[warning])]).await;
}
