//! Tests of tables.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::kinds;

/// The cells of an object that was created five minutes ago.
#[track_caller]
fn check(api_version: &str, kind: &str, object: Value, expected: Value) {
    let (group, version) = meta::split_api_version(api_version);
    let resource = kinds::find_kind(group, version, kind).expect("a kind");
    let now: Timestamp = "2024-01-01T00:05:00Z".parse().expect("a time");
    let mut object = object;
    let created = (now - SignedDuration::from_secs(300)).to_string();
    object["metadata"] = json!({"name": "x", "creationTimestamp": created});
    let cells = row(&resource.group, &resource.kind, &object, now);
    assert_eq!(cells.len(), columns(&resource.group, &resource.kind).len());
    assert_eq!(Value::from(cells), expected);
}

#[track_caller]
fn check_pod(status: Value, expected: [&str; 3]) {
    let resource = kinds::find_kind("", "v1", "Pod").expect("a kind");
    let containers = json!([{"name": "a"}, {"name": "b"}]);
    let init = json!([{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]);
    let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": containers, "initContainers": init}, "status": status});
    let cells = row(&resource.group, &resource.kind, &pod, "2024-01-01T00:05:00Z".parse().expect("a time"));
    let shown: Vec<&str> = cells[1..4].iter().map(|cell| cell.as_str().expect("text")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn durations_are_short() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (16_260, "4h31m"),
        (36_000, "10h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (86_400 * 100, "100d"),
        (86_400 * 365 * 2, "2y"),
        (86_400 * (365 * 6 + 327), "6y327d"),
        (86_400 * 365 * 9, "9y"),
    ] {
        assert_eq!(human_duration(seconds), text, "{seconds}");
    }
}

#[test]
fn pods_show_what_their_containers_do() {
    let done = json!({"name": "i", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let sidecar = json!({"name": "s", "restartCount": 1, "started": true, "ready": true, "state": {"running": {}}});
    let running = json!({"restartCount": 0, "ready": true, "state": {"running": {}}});
    let crashed = json!({"restartCount": 3, "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2024-01-01T00:04:00Z"}}});
    let ended = json!({"restartCount": 0, "ready": false, "state": {"terminated": {"exitCode": 137}}});

    check_pod(json!({"phase": "Pending"}), ["0/3", "Pending", "0"]);
    check_pod(
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 2, "state": {"running": {}}}]}),
        ["0/3", "Init:0/2", "2"],
    );
    check_pod(
        json!({"phase": "Running", "initContainerStatuses": [done, sidecar], "containerStatuses": [running, running]}),
        ["3/3", "Running", "1"],
    );
    check_pod(
        json!({"phase": "Running", "containerStatuses": [crashed, running]}),
        ["1/3", "CrashLoopBackOff", "3 (60s ago)"],
    );
    check_pod(json!({"phase": "Failed", "containerStatuses": [ended]}), ["0/3", "ExitCode:137", "0"]);
    check_pod(json!({"phase": "Failed", "reason": "Evicted"}), ["0/3", "Evicted", "0"]);
    check_pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
        ["0/3", "SchedulingGated", "0"],
    );
}

#[test]
fn a_deployment() {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}});
    let selector = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["y", "x"]}]});
    check(
        "apps/v1",
        "Deployment",
        json!({"spec": {"replicas": 3, "selector": selector, "template": template}, "status": {"readyReplicas": 2}}),
        json!(["x", "2/3", 0, 0, "5m", "c,d", "i,j", "app in (x,y)"]),
    );
}

#[test]
fn services_and_endpoints() {
    check(
        "v1",
        "Service",
        json!({"spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"], "selector": {"a": "b"}, "ports": [
            {"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
        json!(["x", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "5m", "a=b"]),
    );
    check(
        "v1",
        "Endpoints",
        json!({"subsets": [{"addresses": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}], "ports": [{"port": 80}, {"port": 70}]},
            {"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 1}]}]}),
        json!(["x", "10.0.0.2:80,10.0.0.1:80,10.0.0.2:70 + 2 more...", "5m"]),
    );
}

#[test]
fn kinds_without_a_printer_show_when_they_were_created() {
    check("rbac.authorization.k8s.io/v1", "Role", json!({}), json!(["x", "2024-01-01T00:00:00Z"]));
}

#[test]
fn an_event_of_either_group() {
    let cells = json!(["2m", "Normal", "r", "pod/p", "", "kubelet, n", "m", "5m", 4, "x"]);
    check(
        "v1",
        "Event",
        json!({"type": "Normal", "reason": "r", "message": " m ", "involvedObject": {"kind": "Pod", "name": "p"},
            "source": {"component": "kubelet", "host": "n"}, "firstTimestamp": "2024-01-01T00:00:00Z",
            "lastTimestamp": "2024-01-01T00:03:00Z", "count": 4}),
        cells.clone(),
    );
    check(
        "events.k8s.io/v1",
        "Event",
        json!({"type": "Normal", "reason": "r", "note": "m", "regarding": {"kind": "Pod", "name": "p"},
            "reportingController": "kubelet", "reportingInstance": "n", "eventTime": "2024-01-01T00:00:00.000000Z",
            "series": {"count": 4, "lastObservedTime": "2024-01-01T00:03:00.000000Z"}}),
        cells,
    );
}

#[test]
fn every_printer_is_of_a_kind() {
    for printer in PRINTERS.iter().flat_map(|family| family.iter()) {
        let is_of = |group: &str, kind: &str| group == printer.group && kind == printer.kind;
        let known = kinds::all().iter().any(|row| {
            is_of(&row.group, &row.kind) || row.subresources.iter().any(|part| is_of(&part.group, &part.kind))
        });
        assert!(known, "{} {}", printer.group, printer.kind);
    }
}

#[test]
fn quotas_show_requests_and_limits() {
    let status = json!({"hard": {"pods": "2", "limits.cpu": "1"}, "used": {"pods": "1"}});
    check("v1", "ResourceQuota", json!({"status": status}), json!(["x", "pods: 1/2", "limits.cpu: 0/1", "5m"]));
}
