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
    // Nobody is ready, which is not the same as nobody.
    let waiting = json!({"subsets": [{"notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80}]}]});
    check("v1", "Endpoints", waiting, json!(["x", "", "5m"]));
    check("v1", "Endpoints", json!({}), json!(["x", "<none>", "5m"]));
}

#[test]
fn slices_show_ports_by_number_or_name() {
    let slice =
        |ports: Value| json!({"addressType": "IPv4", "ports": ports, "endpoints": [{"addresses": ["10.0.0.1"]}]});
    let shown = |ports: &str| json!(["x", "IPv4", ports, "10.0.0.1", "5m"]);
    let kind = "discovery.k8s.io/v1";
    check(kind, "EndpointSlice", slice(json!([{"name": "", "port": 80}, {"name": "a"}, {}])), shown("80,a,*"));
    check(kind, "EndpointSlice", slice(json!([{"name": ""}])), shown("<unset>"));
    check(kind, "EndpointSlice", slice(Value::Null), shown("<unset>"));
    let many = json!([{"port": 1}, {"port": 2}, {"port": 3}, {"port": 4}, {"port": 5}]);
    check(kind, "EndpointSlice", slice(many), shown("1,2,3 + 2 more..."));
}

#[test]
fn ingresses_show_the_first_hosts_and_count_rules() {
    let check_hosts = |hosts: &[&str], shown: &str| {
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        let expected = json!(["x", "<none>", shown, "", "80", "5m"]);
        check("networking.k8s.io/v1", "Ingress", json!({"spec": {"rules": rules}}), expected);
    };
    check_hosts(&[], "*");
    check_hosts(&["", ""], "*");
    check_hosts(&["a", "", "b"], "a,b");
    check_hosts(&["a", "b", "c"], "a,b,c");
    check_hosts(&["a", "b", "c", ""], "a,b,c + 1 more...");
    check_hosts(&["a", "", "b", "c", "d"], "a,b,c + 2 more...");
    let of_class = |parameters: Value| json!({"spec": {"controller": "e.com/c", "parameters": parameters}});
    let of_group = json!({"apiGroup": "e.com", "kind": "K", "name": "n"});
    let kind = "networking.k8s.io/v1";
    check(kind, "IngressClass", of_class(of_group), json!(["x", "e.com/c", "K.e.com/n", "5m"]));
    check(kind, "IngressClass", of_class(json!({"kind": "K", "name": "n"})), json!(["x", "e.com/c", "K/n", "5m"]));
}

#[test]
fn autoscalers_show_what_is_measured_of_each_metric() {
    let check_targets = |metrics: Value, current: Value, shown: &str| {
        let target = json!({"kind": "Deployment", "name": "d"});
        let object = json!({"spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, "metrics": metrics},
            "status": {"currentReplicas": 2, "currentMetrics": current}});
        let expected = json!(["x", "Deployment/d", shown, "1", 3, 2, "5m"]);
        check("autoscaling/v2", "HorizontalPodAutoscaler", object, expected);
    };
    let resource = |target: Value| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "1k"}}});
    let external = |target: Value| json!({"type": "External", "external": {"target": target}});
    check_targets(json!([]), json!([]), "<none>");
    check_targets(
        json!([resource(json!({"averageUtilization": 80})), pods]),
        json!([]),
        "cpu: <unknown>/80%, <unknown>/1k",
    );
    let measured = json!([{"type": "Resource", "resource": {"current": {"averageUtilization": 5}}},
        {"type": "Pods", "pods": {"current": {}}}]);
    check_targets(json!([resource(json!({})), pods, pods]), measured, "cpu: 5%/<auto>, <nil>/1k + 1 more...");
    let measured = json!([{"external": {"current": {"value": "2"}}}, {"external": {"current": {"value": "2"}}}]);
    let wanted = json!([external(json!({"value": "3"})), external(json!({"averageValue": "4"}))]);
    check_targets(wanted, measured, "2/3, <unknown>/4 (avg)");
}

#[test]
fn bindings_of_policies_show_where_their_parameters_are() {
    let check_reference = |reference: Value, shown: &str| {
        let object = json!({"spec": {"policyName": "p", "paramRef": reference}});
        let expected = json!(["x", "p", shown, "5m"]);
        check("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", object, expected);
    };
    check_reference(Value::Null, "<unset>");
    check_reference(json!({"name": "n"}), "*/n");
    check_reference(json!({"name": "n", "namespace": "s"}), "s/n");
    let expression = json!({"key": "k", "operator": "In", "values": ["v", "w"]});
    check_reference(
        json!({"namespace": "s", "selector": {"matchLabels": {"b": "c", "a": "b"}, "matchExpressions": [expression]}}),
        "&LabelSelector{MatchLabels:map[string]string{a: b,b: c,},\
         MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[v w],},},}",
    );
}

#[test]
fn classes_say_which_of_them_is_taken_by_default() {
    let mut class = json!({"metadata": {"name": "c", "annotations": {}}, "driverName": "d"});
    for (annotation, value, shown) in [
        ("storage.alpha.kubernetes.io/is-default-class", "true", "c (default)"),
        ("storage.alpha.kubernetes.io/is-default-class", "false", "c"),
        ("storageclass.kubernetes.io/is-default-class", "true", "c"),
    ] {
        class["metadata"]["annotations"] = json!({annotation: value});
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(row("storage.k8s.io", "VolumeAttributesClass", &class, now)[0], shown, "{annotation}={value}");
    }
}

#[test]
fn the_rarer_kinds() {
    let spec = json!({"leaseName": "l", "binaryVersion": "1.35.0", "emulationVersion": "1.34.0"});
    let candidate = json!(["x", "l", "1.35.0", "1.34.0", "5m"]);
    check("coordination.k8s.io/v1beta1", "LeaseCandidate", json!({"spec": spec}), candidate);
    check("certificates.k8s.io/v1beta1", "ClusterTrustBundle", json!({"spec": {}}), json!(["x", "<none>"]));
    let spec = json!({"podName": "p", "serviceAccountName": "a", "nodeName": "n", "signerName": "e.com/s"});
    let conditions = json!([{"type": "Issued", "status": "True"}]);
    let request = json!({"spec": spec, "status": {"conditions": conditions}});
    check(
        "certificates.k8s.io/v1beta1",
        "PodCertificateRequest",
        request,
        json!(["x", "p", "a", "n", "e.com/s", "Issued"]),
    );
    let migration = json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}});
    check("storagemigration.k8s.io/v1beta1", "StorageVersionMigration", migration, json!(["x", "deployments.apps"]));
    let server = json!({"apiServerID": "s", "encodingVersion": "v1"});
    let status = json!({"status": {"commonEncodingVersion": "v1", "storageVersions": [server]}});
    check("internal.apiserver.k8s.io/v1alpha1", "StorageVersion", status, json!(["x", "v1", "s=v1", "5m"]));
    let taint = json!({"spec": {"taint": {"key": "k", "effect": "NoExecute", "timeAdded": "2024-01-01T00:04:00Z"}}});
    check("resource.k8s.io/v1alpha3", "DeviceTaintRule", taint, json!(["x", "k", "", "NoExecute", "60s", "5m"]));
    let level = json!({"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}});
    let shown = json!(["x", "Exempt", "<none>", "<none>", "<none>", "<none>", "5m"]);
    check("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", level, shown);
    let parent = json!({"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}});
    check("networking.k8s.io/v1", "IPAddress", parent, json!(["x", "services/n/s"]));
    let service = json!({"spec": {"service": {"namespace": "n", "name": "s"}},
        "status": {"conditions": [{"type": "Available", "status": "False"}]}});
    check("apiregistration.k8s.io/v1", "APIService", service, json!(["x", "n/s", "False", "5m"]));
}

#[test]
fn flow_schemas_stand_as_they_are_tried() {
    let schema = |name: &str, rank: i64| json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": rank}});
    let mut schemas = [schema("c", 10), schema("b", 9), schema("a", 10)];
    sort("flowcontrol.apiserver.k8s.io", "FlowSchema", &mut schemas);
    assert_eq!(schemas.map(|schema| meta::name(&schema).to_owned()), ["b", "a", "c"]);
}

#[test]
fn kinds_without_a_printer_show_when_they_were_created() {
    check("rbac.authorization.k8s.io/v1", "Role", json!({}), json!(["x", "2024-01-01T00:00:00Z"]));
}

#[test]
fn events_name_who_tells_of_what() {
    check(
        "v1",
        "Event",
        json!({"type": "Normal", "reason": "r", "message": " m ", "involvedObject": {"kind": "Pod", "name": "p"},
            "source": {"component": "kubelet", "host": "n"}, "firstTimestamp": "2024-01-01T00:00:00Z",
            "lastTimestamp": "2024-01-01T00:03:00Z", "count": 4}),
        json!(["2m", "Normal", "r", "pod/p", "", "kubelet, n", "m", "5m", 4, "x"]),
    );
    check(
        "v1",
        "Event",
        json!({"type": "Normal", "reason": "r", "message": "m", "involvedObject": {"kind": "Pod"},
            "reportingComponent": "kubelet", "reportingInstance": "n", "eventTime": "2024-01-01T00:00:00.000000Z",
            "series": {"count": 4, "lastObservedTime": "2024-01-01T00:03:00.000000Z"}}),
        json!(["2m", "Normal", "r", "pod", "", "kubelet, n", "m", "5m", 4, "x"]),
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
