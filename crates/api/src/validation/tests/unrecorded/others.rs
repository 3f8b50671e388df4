//! Workloads, runtime classes, storage versions, scaling, budgets and managers.

use serde_json::{Value, json};

use super::{check_create, check_status, check_update};

fn workload(spec: Value) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1alpha1", "kind": "Workload", "spec": spec})
}

#[test]
fn workloads() {
    let fine = json!({"controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "j"},
        "podGroups": [{"name": "a", "policy": {"gang": {"minCount": 2}}}, {"name": "b", "policy": {"basic": {}}}]});
    check_create(workload(fine.clone()), &[]);
    check_create(workload(json!({})), &["spec.podGroups: Required value: must have at least one item"]);
    let group = |n: usize| json!({"name": format!("g{n}"), "policy": {"basic": {}}});
    check_create(
        workload(json!({"podGroups": (0..9).map(group).collect::<Vec<_>>()})),
        &["spec.podGroups: Too many: 9: must have at most 8 items"],
    );
    check_create(
        workload(json!({"controllerRef": {"kind": "a/b"}, "podGroups": [
            {"name": "a", "policy": {"gang": {"minCount": 0}}}, {"name": "a", "policy": {}},
            {"name": "b", "policy": {"basic": {}, "gang": {"minCount": 1}}}]})),
        &[
            "spec.controllerRef.kind: Invalid value: \"a/b\": may not contain '/'",
            "spec.controllerRef.name: Required value",
            "spec.podGroups[0].policy.gang.minCount: Invalid value: 0: must be greater than 0",
            "spec.podGroups[1].policy: Required value: exactly one of `basic`, `gang` is required",
            "spec.podGroups[2].policy: Invalid value: \"{`basic`, `gang`}\": exactly one of `basic`, `gang` is required, but multiple fields are set",
            "spec.podGroups[1].name: Duplicate value: \"a\"",
        ],
    );
    check_update(
        workload(fine),
        |new| new["spec"]["controllerRef"]["name"] = "k".into(),
        &["controllerRef: Invalid value: {\"apiGroup\":\"batch\",\"kind\":\"Job\",\"name\":\"k\"}: field is immutable"],
    );
}

#[test]
fn runtime_classes() {
    let class = |overhead: Value| {
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "c"}, "handler": "h",
            "overhead": {"podFixed": overhead}})
    };
    check_create(class(json!({"cpu": "1"})), &[]);
    check_create(
        class(json!({"things": "-1"})),
        &[
            "overhead.limits[things]: Invalid value: \"things\": must be a standard resource type or fully qualified",
            "overhead.limits[things]: Invalid value: \"things\": must be a standard resource for containers",
            "overhead.limits[things]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    check_create(class(json!({"hugepages-2Mi": "2Mi"})), &["overhead: Forbidden: HugePages require cpu or memory"]);
}

#[test]
fn storage_versions() {
    let version = |name: &str| json!({"apiVersion": "internal.apiserver.k8s.io/v1alpha1", "kind": "StorageVersion", "metadata": {"name": name}, "spec": {}});
    check_create(version("apps.deployments"), &[]);
    check_create(
        version("pods"),
        &["metadata.name: Invalid value: \"pods\": name must be in the form of <group>.<resource>"],
    );
    let server = |id: &str, encoding: &str| json!({"apiServerID": id, "encodingVersion": encoding, "decodableVersions": ["apps/v1", "apps/v1beta1"]});
    check_status(
        version("apps.deployments"),
        json!({"storageVersions": [server("a", "apps/v1"), server("b", "apps/v1")], "commonEncodingVersion": "apps/v1"}),
        &[],
    );
    check_status(
        version("apps.deployments"),
        json!({"storageVersions": [server("a", "apps/v1"), server("b", "apps/v2")], "commonEncodingVersion": "apps/v1"}),
        &[
            "status.storageVersions[1].decodableVersions: Invalid value: [\"apps/v1\",\"apps/v1beta1\"]: decodableVersions must include encodingVersion apps/v2",
            "status.commonEncodingVersion: Invalid value: \"apps/v1\": should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
        ],
    );
    check_status(
        version("apps.deployments"),
        json!({"storageVersions": [server("a", "apps/v1")], "conditions": [
            {"type": "T", "status": "True", "reason": "", "message": "m"}, {"type": "T", "status": "True", "reason": "R", "message": "m"}]}),
        &[
            "status.commonEncodingVersion: Invalid value: null: the common encoding version is apps/v1",
            "status[0].reason: Required value: reason cannot be empty",
            "status[1].type: Invalid value: \"T\": the type of the condition is not unique, it also appears in conditions[0]",
        ],
    );
}

#[test]
fn rules_of_scaling() {
    let scaled = |rules: Value| {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"scaleTargetRef": target, "maxReplicas": 2, "behavior": {"scaleUp": rules}}})
    };
    check_create(scaled(json!({"tolerance": "0.1"})), &[]);
    let none = "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy";
    check_create(scaled(json!({"policies": []})), &[none]);
    check_create(
        scaled(json!({"tolerance": "-1"})),
        &["spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
}

#[test]
fn conditions_of_budgets() {
    let status = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        "conditions": [{"type": "DisruptionAllowed", "status": "Maybe", "reason": "r", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z"}]});
    check_status(
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {}}),
        status,
        &[
            "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
        ],
    );
}

#[test]
fn names_of_managers() {
    let managed = |manager: &str, subresource: &str| {
        let entry = json!({"manager": manager, "subresource": subresource, "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {}});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [entry]}})
    };
    check_create(managed("m", "status"), &[]);
    check_create(
        managed(&"m".repeat(129), &"s".repeat(257)),
        &[
            "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes",
            "metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes",
        ],
    );
}
