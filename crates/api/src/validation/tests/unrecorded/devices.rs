//! Claims, classes and slices of devices.

use serde_json::{Value, json};

use super::{check_create, check_status, check_update};

fn claim(devices: Value) -> Value {
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": {"devices": devices}})
}

#[test]
fn claims() {
    let fine = json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}],
        "constraints": [{"requests": ["r"], "matchAttribute": "d.example.com/numa"}]});
    check_create(claim(fine.clone()), &[]);
    check_update(
        claim(fine),
        |new| new["spec"]["devices"]["constraints"] = json!([]),
        &[
            "spec: Invalid value: {\"devices\":{\"constraints\":[],\"requests\":[{\"exactly\":{\"allocationMode\":\"ExactCount\",\"count\":1,\"deviceClassName\":\"c\"},\"name\":\"r\"}]}}: field is immutable",
        ],
    );
    check_create(
        claim(json!({"requests": [{"name": "r"}, {"name": "r", "exactly": {"allocationMode": "All", "count": 2}}],
            "constraints": [{"requests": ["r/x"], "matchAttribute": "numa"}], "config": [{}]})),
        &[
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.deviceClassName: Required value",
            "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[1]: Duplicate value: \"r\"",
            "spec.devices.constraints[0].requests[0]: Invalid value: \"r/x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"numa\": a fully qualified name must be a domain and a name separated by a slash",
            "spec.devices.config[0].opaque: Required value",
        ],
    );
}

#[test]
fn allocations() {
    let requested = || claim(json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}));
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "x"});
    check_status(requested(), json!({"allocation": {"devices": {"results": [result]}}}), &[]);
    check_status(
        requested(),
        json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
            "devices": [{"driver": "d.example.com", "pool": "p", "device": "x"}]}),
        &[
            "status.devices[0]: Invalid value: \"d.example.com/p/x\": must be an allocated device in the claim",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ],
    );
}

#[test]
fn classes() {
    let class = |spec: Value| json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "spec": spec});
    check_create(class(json!({"selectors": [{"cel": {"expression": "true"}}]})), &[]);
    check_create(
        class(json!({"selectors": [{}], "extendedResourceName": "cpu"})),
        &[
            "spec.selectors[0].cel: Required value",
            "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
        ],
    );
}

#[test]
fn slices() {
    let slice = |spec: Value| json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "spec": spec});
    let pool = json!({"name": "p", "resourceSliceCount": 1, "generation": 0});
    let fine = json!({"driver": "d.example.com", "pool": pool, "nodeName": "n", "devices": [
        {"name": "x", "attributes": {"model": {"string": "m"}, "version": {"version": "1.2.3"}}, "capacity": {"memory": {"value": "1Gi"}}}]});
    check_create(slice(fine.clone()), &[]);
    check_update(
        slice(fine),
        |new| new["spec"]["nodeName"] = "m".into(),
        &["spec.nodeName: Invalid value: \"m\": field is immutable"],
    );
    check_create(
        slice(json!({"driver": "d.example.com", "pool": pool, "nodeName": "n", "allNodes": true, "devices": [
            {"name": "x", "attributes": {"a-b": {}, "v": {"version": "1"}}}]})),
        &[
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            "spec.devices[0].attributes: Invalid value: \"a-b\": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
            "spec.devices[0].attributes[a-b]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
        ],
    );
}

#[test]
fn taint_rules() {
    let rule = |spec: Value| json!({"apiVersion": "resource.k8s.io/v1alpha3", "kind": "DeviceTaintRule", "spec": spec});
    let fine = json!({"deviceSelector": {"driver": "d.example.com", "pool": "p", "device": "x"},
        "taint": {"key": "example.com/broken", "value": "yes", "effect": "NoExecute"}});
    check_create(rule(fine.clone()), &[]);
    check_update(
        rule(fine.clone()),
        |new| new["spec"]["taint"]["effect"] = "Maybe".into(),
        &["spec.taint.effect: Unsupported value: \"Maybe\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""],
    );
    check_create(
        rule(json!({"deviceSelector": {"driver": "", "device": "X"}, "taint": {"key": "a/b/c"}})),
        &[
            "spec.deviceSelector.driver: Required value",
            "spec.deviceSelector.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.deviceSelector.device: Invalid value: \"X\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.taint.key: Invalid value: \"a/b/c\": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            "spec.taint.effect: Required value",
        ],
    );
    let condition = |n: usize| json!({"type": format!("T{n}"), "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z"});
    check_status(
        rule(fine),
        json!({"conditions": (0..9).map(condition).collect::<Vec<_>>()}),
        &["status.conditions: Too many: 9: must have at most 8 items"],
    );
}
