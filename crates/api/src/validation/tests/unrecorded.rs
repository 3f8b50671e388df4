//! Kinds of which there are no records, by the fields that upstream names.

mod certificates;
mod core;
mod devices;
mod networks;
mod others;
mod pods;
mod storage;
mod workloads;

use serde_json::{Value, json};

use crate::kinds;
use crate::validation::{create, status_update, update};
use crate::{decode, defaults, meta};

/// An object of a kind as validation sees it.
fn prepared(mut object: Value) -> (&'static kinds::Resource, Value) {
    let (group, version) = meta::split_api_version(object["apiVersion"].as_str().expect("apiVersion"));
    let resource = kinds::find_kind(group, version, object["kind"].as_str().expect("kind")).expect("a kind");
    decode::check_fields(&mut object, resource.schema).expect("the object is of its type");
    decode::normalize(&mut object, resource.schema);
    defaults::apply(resource, &mut object);
    if meta::name(&object).is_empty() {
        meta::set_name(&mut object, "x");
    }
    if resource.namespaced {
        meta::set_namespace(&mut object, "a");
    }
    (resource, object)
}

/// What is wrong with a new object, as a client reads it.
#[track_caller]
fn check_create(object: Value, expected: &[&str]) {
    let (resource, object) = prepared(object);
    let found: Vec<String> = create(resource, &object).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{object:#}");
}

/// What is wrong with a change of an object.
#[track_caller]
fn check_update(old: Value, change: impl FnOnce(&mut Value), expected: &[&str]) {
    let (resource, old) = prepared(old);
    let mut new = old.clone();
    change(&mut new);
    let found: Vec<String> = update(resource, &new, &old).iter().map(|error| error.to_string()).collect();
    assert_eq!(found, expected, "{new:#}");
}

/// When statuses change.
const NOW: &str = "2026-01-01T00:00:00Z";

/// What is wrong with a change of a status.
#[track_caller]
fn check_status(old: Value, status: Value, expected: &[&str]) {
    let (resource, old) = prepared(old);
    let mut new = old.clone();
    new["status"] = status;
    let now = NOW.parse().expect("a time");
    let found: Vec<String> = status_update(resource, &new, &old, now).iter().map(|error| error.to_string()).collect();
    assert_eq!(found, expected, "{new:#}");
}

fn policy(spec: Value) -> Value {
    let mut policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p.example.com"}, "spec": {"validations": [{"expression": "true"}], "matchConstraints":
            {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        policy["spec"][field] = value.clone();
    }
    policy
}

#[test]
fn validating_admission_policies() {
    check_create(policy(json!({})), &[]);
    check_create(
        policy(json!({"validations": [], "matchConstraints": null})),
        &[
            "spec.matchConstraints: Required value",
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
        ],
    );
    check_create(
        policy(
            json!({"paramKind": {"apiVersion": "a/b/c", "kind": "K"}, "variables": [{"name": "in", "expression": " "}]}),
        ),
        &[
            "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "spec.variables[0].name: Invalid value: \"in\": name is not a valid CEL identifier",
            "spec.variables[0].expression: Required value: expression is not specified",
        ],
    );
    check_create(
        policy(
            json!({"validations": [{"expression": "true", "message": "a\nb", "messageExpression": " ", "reason": "No"}]}),
        ),
        &[
            "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
            "spec.validations[0].reason: Unsupported value: \"No\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
        ],
    );
    let binding = |spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "spec": spec});
    check_create(binding(json!({"policyName": "p.example.com", "validationActions": ["Deny"]})), &[]);
    check_create(
        binding(json!({"validationActions": ["Audit", "Audit", "Drop"], "paramRef": {"name": "n", "selector": {}}})),
        &[
            "spec.policyName: Required value",
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions[1]: Duplicate value: \"Audit\"",
            "spec.validationActions[2]: Unsupported value: \"Drop\": supported values: \"Audit\", \"Deny\", \"Warn\"",
        ],
    );
}

#[test]
fn mutating_admission_policies() {
    let policy = |mutation: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy", "spec": {
            "reinvocationPolicy": "Never", "mutations": [mutation], "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}}})
    };
    check_create(policy(json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}})), &[]);
    check_create(
        policy(json!({"patchType": "ApplyConfiguration", "jsonPatch": {"expression": "[]"}})),
        &[
            "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
            "spec.mutations[0].jsonPatch: Invalid value: \"{jsonPatch}\": must not be specified when patchType is ApplyConfiguration",
        ],
    );
}

fn flow_schema(name: &str, precedence: i64, rule: Value) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name}, "spec": {
        "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}})
}

#[test]
fn flow_schemas() {
    let everything = json!({"subjects": [{"kind": "User", "user": {"name": "u"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    check_create(flow_schema("f", 5, everything.clone()), &[]);
    check_create(
        flow_schema("f", 1, everything.clone()),
        &["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
    );
    check_create(
        flow_schema(
            "f",
            10001,
            json!({"subjects": [{"kind": "Group", "user": {"name": "u"}}, {"kind": "Robot"}],
            "resourceRules": [{"verbs": ["get", "fly"], "apiGroups": ["*", "a"], "resources": ["*"], "namespaces": ["A"]}]}),
        ),
        &[
            "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
            "spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
            "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
            "spec.rules[0].subjects[1].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
            "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"get\",\"fly\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other api groups",
            "spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
}

#[test]
fn priority_levels() {
    let level = |name: &str, spec: Value| {
        json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
            "metadata": {"name": name}, "spec": spec})
    };
    let limited = |limited: Value| level("l", json!({"type": "Limited", "limited": limited}));
    check_create(limited(json!({"limitResponse": {"type": "Queue", "queuing": {}}})), &[]);
    check_create(
        limited(
            json!({"lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 5}}}),
        ),
        &[
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
        ],
    );
    check_create(
        level("l", json!({"type": "Exempt"})),
        &["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
    );
}

#[test]
fn leases_and_their_candidates() {
    let lease = |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec});
    check_create(lease(json!({"strategy": "OldestEmulationVersion", "preferredHolder": "h"})), &[]);
    check_create(
        lease(json!({"leaseTransitions": -1, "preferredHolder": "h"})),
        &[
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
        ],
    );
    let candidate =
        |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate", "spec": spec});
    let fine = json!({"leaseName": "l", "strategy": "OldestEmulationVersion", "binaryVersion": "1.35.0",
        "emulationVersion": "1.34.0"});
    check_create(candidate(fine.clone()), &[]);
    check_update(
        candidate(fine),
        |new| new["spec"]["leaseName"] = "m".into(),
        &["spec.leaseName: Invalid value: \"m\": field is immutable"],
    );
    check_create(
        candidate(json!({"leaseName": "l", "strategy": "OldestEmulationVersion", "binaryVersion": "1.33.0",
            "emulationVersion": "1.34.0"})),
        &["spec.binaryVersion: Invalid value: \"1.33.0\": must be greater than or equal to `emulationVersion`"],
    );
}

#[test]
fn what_csi_drivers_publish() {
    let capacity = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "storageClassName": "s",
        "capacity": "-1"});
    check_create(capacity.clone(), &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]);
    check_update(
        capacity,
        |new| new["storageClassName"] = "t".into(),
        &["storageClassName: Invalid value: \"t\": field is immutable"],
    );
    let class =
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "driverName": "d.example.com"});
    check_create(class.clone(), &["parameters: Required value: must contain at least one key/value pair"]);
    let mut class = class;
    class["parameters"] = json!({"a": "b"});
    check_update(
        class,
        |new| new["driverName"] = "e.example.com".into(),
        &["driverName: Forbidden: updates to driverName are forbidden."],
    );
    let node = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "spec": {"drivers": [
        {"name": "d.example.com", "nodeID": "n", "topologyKeys": []}]}});
    check_update(node.clone(), |new| new["spec"]["drivers"][0]["allocatable"] = json!({"count": 3}), &[]);
    let (resource, old) = prepared(node);
    let mut new = old.clone();
    new["spec"]["drivers"][0]["nodeID"] = "m".into();
    let errors = update(resource, &new, &old);
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["spec.drivers"]);
    let attachment = json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "spec": {
        "attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
    let (resource, old) = prepared(attachment);
    let mut new = old.clone();
    new["spec"]["nodeName"] = "m".into();
    let errors = update(resource, &new, &old);
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["spec"]);
}

#[test]
fn addresses_of_services() {
    let address = |name: &str, parent: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": name},
            "spec": {"parentRef": parent}})
    };
    let parent = json!({"resource": "services", "name": "s", "namespace": "a"});
    check_create(address("10.0.0.1", parent.clone()), &[]);
    check_create(
        address("2001:DB8::1", parent),
        &["metadata.name: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")"],
    );
    check_create(address("10.0.0.1", json!({})), &["spec.parentRef: Required value"]);
    let range =
        |cidrs: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "spec": {"cidrs": cidrs}});
    check_create(range(json!(["10.0.0.0/24", "2001:db8::/64"])), &[]);
    check_create(range(json!([])), &["spec.cidrs: Required value: at least one CIDR required"]);
    check_create(
        range(json!(["10.0.0.1/24"])),
        &["spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length"],
    );
    check_update(
        range(json!(["10.0.0.0/24"])),
        |new| new["spec"]["cidrs"] = json!(["10.1.0.0/24"]),
        &["spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable"],
    );
    check_update(
        range(json!(["10.0.0.0/24"])),
        |new| new["spec"]["cidrs"] = json!(["10.0.0.0/24", "2001:db8::/64"]),
        &[],
    );
    check_update(
        range(json!(["10.0.0.0/24", "2001:db8::/64"])),
        |new| new["spec"]["cidrs"] = json!(["10.0.0.0/24"]),
        &["spec.cidrs: Invalid value: [\"10.0.0.0/24\"]: field is immutable"],
    );
}

#[test]
fn bundles_of_trust_anchors() {
    let bundle = |name: &str, spec: Value| {
        json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle", "metadata": {"name": name},
            "spec": spec})
    };
    check_create(
        bundle("a:b", json!({"trustBundle": "none"})),
        &[
            "metadata.name: Invalid value: \"a:b\": ClusterTrustBundle without signer name must not have \":\" in its name",
            "spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided",
        ],
    );
    check_create(
        bundle("a", json!({"trustBundle": "none", "signerName": "x.io/s"})),
        &[
            "metadata.name: Invalid value: \"a\": ClusterTrustBundle for signerName x.io/s must be named with prefix x.io:s:",
            "spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided",
        ],
    );
}

#[test]
fn migrations_of_storage_versions() {
    let migration = |resource: &str| {
        json!({"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
            "spec": {"resource": {"group": "apps", "resource": resource}}})
    };
    check_create(migration(""), &["spec.resource.resource: Required value: resource is required to be set"]);
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z"});
    check_status(migration("deployments"), json!({"resourceVersion": "7", "conditions": [condition("Running")]}), &[]);
    check_status(
        migration("deployments"),
        json!({"conditions": [{"type": "Running", "status": "Yes"}]}),
        &[
            "status.resourceVersion: Invalid value: \"\": resource version is empty",
            "status.conditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
            "status.conditions[0].lastTransitionTime: Required value: must be set",
            "status.conditions[0].reason: Required value: must be set",
        ],
    );
}
