//! Volumes, claims and what bounds them.

use serde_json::{Value, json};

use super::{check_create, check_status, check_update};

fn volume(fields: Value) -> Value {
    let mut spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": spec})
}

#[test]
fn sources_of_volumes() {
    let host = json!({"path": "/data"});
    let cases = [
        (json!({"hostPath": host}), vec![]),
        (
            json!({"hostPath": host, "capacity": {"storage": "-1"}}),
            vec![
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
            ],
        ),
        (
            json!({"hostPath": {"path": "/a/../"}, "persistentVolumeReclaimPolicy": "Recycle"}),
            vec![
                "spec.hostPath.path: Invalid value: \"/a/../\": must not contain '..'",
                "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            ],
        ),
        (
            json!({"local": {"path": "/a"}}),
            vec!["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            json!({"gcePersistentDisk": {"pdName": "", "partition": 256}}),
            vec![
                "spec.persistentDisk.pdName: Required value",
                "spec.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ],
        ),
        (
            json!({"hostPath": host, "cephfs": {"monitors": ["m"]}}),
            vec!["spec.cephFS: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({"flexVolume": {"driver": "d", "options": {"kubernetes.io/a": "", "x.K8s.io/b": "", "c": ""}}}),
            vec![
                "spec.flexVolume.options[kubernetes.io/a]: Invalid value: \"kubernetes.io/a\": kubernetes.io and k8s.io namespaces are reserved",
                "spec.flexVolume.options[x.K8s.io/b]: Invalid value: \"x.K8s.io/b\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (
            json!({"glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}}),
            vec![
                "spec.glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid namespace name",
            ],
        ),
        (
            json!({"iscsi": {"targetPortal": "t", "iqn": "x", "lun": 0, "secretRef": {}}}),
            vec![
                "spec.iscsi.iqn: Invalid value: \"x\": must be valid format",
                "spec.iscsi.secretRef.name: Required value",
            ],
        ),
    ];
    for (fields, expected) in cases {
        check_create(volume(fields), &expected);
    }
}

#[test]
fn what_stays_of_volumes() {
    check_update(
        volume(json!({"hostPath": {"path": "/data"}})),
        |new| new["spec"]["volumeMode"] = "Block".into(),
        &["volumeMode: Invalid value: \"Block\": field is immutable"],
    );
}

fn claim(fields: Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}});
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec})
}

#[test]
fn sources_of_claims() {
    let source = |name: &str| json!({"kind": "PersistentVolumeClaim", "name": name});
    check_create(claim(json!({"dataSource": source("c"), "dataSourceRef": source("c")})), &[]);
    check_create(
        claim(json!({"dataSource": source("c"), "dataSourceRef": source("d")})),
        &["spec: Invalid value: {}: must match dataSourceRef"],
    );
}

#[test]
fn classes_of_claims_by_annotation() {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
    let mut old = claim(json!({}));
    old["metadata"]["annotations"] = json!({ANNOTATION: "a"});
    check_update(
        old.clone(),
        |new| new["metadata"]["annotations"][ANNOTATION] = "b".into(),
        &["metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: \"b\": field is immutable"],
    );
    check_update(
        old,
        |new| {
            new["metadata"]["annotations"] = json!({});
            new["spec"]["storageClassName"] = "a".into();
        },
        &[],
    );
}

#[test]
fn states_of_claims() {
    check_status(
        claim(json!({})),
        json!({"capacity": {"storage": "-2"}, "allocatedResources": {"cpu": "1", "storage": "1"},
            "allocatedResourceStatuses": {"storage": "Growing"}}),
        &[
            "status.capacity[storage]: Invalid value: -2: must be a valid resource quantity",
            "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ],
    );
}

#[test]
fn ranges_of_limits() {
    let range = |limit: Value| json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [limit]}});
    let cases = [
        (json!({"type": "Container", "max": {"cpu": "-1"}}), vec![]),
        (
            json!({"type": "Container", "min": {"requests.cpu": "1"}}),
            vec![
                "spec.limits[0].min[requests.cpu]: Invalid value: \"requests.cpu\": must be a standard resource for containers",
                "spec.limits[0].defaultRequest[requests.cpu]: Invalid value: \"requests.cpu\": must be a standard resource for containers",
            ],
        ),
        (
            json!({"type": "Pod", "default": {"cpu": "3"}, "max": {"cpu": "2"}}),
            vec!["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            json!({"type": "Container", "default": {"cpu": "3"}, "defaultRequest": {"cpu": "1"}, "max": {"cpu": "2"}}),
            vec!["spec.limits[0].default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2"],
        ),
        (
            json!({"type": "Container", "default": {"x.io/g": "2"}, "defaultRequest": {"x.io/g": "1"}}),
            vec![
                "spec.limits[0].defaultRequest[x.io/g]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in x.io/g",
            ],
        ),
    ];
    for (limit, expected) in cases {
        check_create(range(limit), &expected);
    }
}

#[test]
fn scopes_of_quotas() {
    let quota = |spec: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": spec});
    let exists = |scope: &str| json!({"scopeName": scope, "operator": "Exists"});
    check_create(quota(json!({"hard": {"x.io/g": "1", "pods": "1"}, "scopes": ["BestEffort"]})), &[]);
    check_create(
        quota(json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions":
            [exists("BestEffort"), exists("NotBestEffort")]}})),
        &["spec.scopeSelector.matchExpressions: Invalid value: null: conflicting scopes"],
    );
    check_create(
        quota(json!({"hard": {"gears": "1"}})),
        &[
            "spec.hard[gears]: Invalid value: \"gears\": must be a standard resource type or fully qualified",
            "spec.hard[gears]: Invalid value: \"gears\": must be a standard resource for quota",
        ],
    );
}
