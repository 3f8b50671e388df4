//! The smallest objects of kinds, as clients send them.

use serde_json::{Value, json};

use crate::support::Cluster;

/// Where objects of a kind are, in the namespace `default` if they are in any.
pub fn path(group: &str, version: &str, plural: &str) -> String {
    let resource = api::kinds::find(group, version, plural).expect("it is built in");
    let namespace = if resource.namespaced { "/namespaces/default" } else { "" };
    match group {
        "" => format!("/api/{version}{namespace}/{plural}"),
        _ => format!("/apis/{group}/{version}{namespace}/{plural}"),
    }
}

/// An object of a kind.
pub fn sample(cluster: &Cluster, group: &str, version: &str, plural: &str) -> Value {
    let name = match plural {
        "apiservices" => "v1.sample.example.com",
        "ipaddresses" => "10.43.7.7",
        "mutatingadmissionpolicies" | "validatingadmissionpolicies" => "sample.example.com",
        "storageversions" => "sample.example.com.things",
        _ => "sample",
    };
    let mut object = json!({"metadata": {"name": name}});
    for (field, value) in members(cluster, group, version, plural).as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

/// What an object has besides a name.
fn members(cluster: &Cluster, group: &str, version: &str, plural: &str) -> Value {
    match (group, plural) {
        ("", "services") => json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "type": "NodePort"}}),
        ("", "events") => json!({"involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}}),
        ("", "limitranges") => json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}),
        ("events.k8s.io", _) => json!({"eventTime": "2024-01-01T00:00:00.000000Z", "type": "Normal", "reason": "r",
            "action": "a", "reportingController": "c.example.com/d", "reportingInstance": "i",
            "regarding": {"namespace": "default", "kind": "Pod", "name": "p"}}),
        ("admissionregistration.k8s.io", _) => admission(plural),
        ("apiregistration.k8s.io", _) => json!({"spec": {"group": "sample.example.com", "version": "v1",
            "groupPriorityMinimum": 1, "versionPriority": 1, "insecureSkipTLSVerify": true,
            "service": {"namespace": "default", "name": "nowhere"}}}),
        ("certificates.k8s.io", "podcertificaterequests") => json!({"spec": {
            "signerName": "example.com/s", "podName": "p", "podUID": "u", "serviceAccountName": "s",
            "serviceAccountUID": "v", "nodeName": "n", "nodeUID": "w",
            // A key of Ed25519, and the pod's uid signed with it.
            "pkixPublicKey": "MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=",
            "proofOfPossession":
                "jK553YFnPqnavCnzQdhJAMhJ+OOskoBJr9Ho4J6ZsJ759X81vq+0U3K4MJ948KW3gUk3JZK6OutvuUGA+EF6Cg=="}}),
        ("certificates.k8s.io", "clustertrustbundles") => {
            let anchors = std::fs::read_to_string(cluster.dir().join("ca.crt")).expect("an authority");
            json!({"spec": {"trustBundle": anchors}})
        }
        ("coordination.k8s.io", "leasecandidates") => json!({"spec": {"leaseName": "l", "binaryVersion": "1.35.0",
            "emulationVersion": "1.35.0", "strategy": "OldestEmulationVersion"}}),
        ("internal.apiserver.k8s.io", _) => json!({"spec": {}}),
        ("networking.k8s.io", "ipaddresses") => json!({"spec": {"parentRef":
            {"group": "", "resource": "services", "namespace": "default", "name": "s"}}}),
        ("networking.k8s.io", "servicecidrs") => json!({"spec": {"cidrs": ["10.99.0.0/24"]}}),
        ("node.k8s.io", _) => json!({"handler": "h"}),
        ("policy", _) => json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
        ("rbac.authorization.k8s.io", "rolebindings") => json!({"subjects": [{"kind": "User", "name": "u"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}),
        ("resource.k8s.io", _) => devices(version, plural),
        ("scheduling.k8s.io", "workloads") => json!({"spec": {"podGroups": [{"name": "g", "policy": {"basic": {}}}]}}),
        ("storage.k8s.io", "csidrivers") => json!({"spec": {"attachRequired": true}}),
        ("storage.k8s.io", "csinodes") => json!({"spec": {"drivers": []}}),
        ("storage.k8s.io", "csistoragecapacities") => json!({"storageClassName": "c"}),
        ("storage.k8s.io", "volumeattachments") => json!({"spec": {"attacher": "d.example.com", "nodeName": "n",
            "source": {"persistentVolumeName": "v"}}}),
        ("storage.k8s.io", "volumeattributesclasses") => json!({"driverName": "d.example.com",
            "parameters": {"iops": "1"}}),
        ("storagemigration.k8s.io", _) => json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}}),
        _ => json!({}),
    }
}

fn admission(plural: &str) -> Value {
    let rules = json!({"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["things"]}]});
    match plural {
        "validatingadmissionpolicies" => {
            json!({"spec": {"matchConstraints": rules, "validations": [{"expression": "true"}]}})
        }
        "mutatingadmissionpolicies" => json!({"spec": {"matchConstraints": rules, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"remove\", path: \"/x\"}]"}}]}}),
        "validatingadmissionpolicybindings" => {
            json!({"spec": {"policyName": "sample.example.com", "validationActions": ["Deny"]}})
        }
        "mutatingadmissionpolicybindings" => json!({"spec": {"policyName": "sample.example.com"}}),
        _ => json!({"webhooks": []}),
    }
}

fn devices(version: &str, plural: &str) -> Value {
    let is_first = version == "v1beta1";
    let request = match is_first {
        true => json!({"name": "r", "deviceClassName": "c"}),
        false => json!({"name": "r", "exactly": {"deviceClassName": "c"}}),
    };
    let device = if is_first { json!({"name": "x", "basic": {}}) } else { json!({"name": "x"}) };
    match plural {
        "deviceclasses" => json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
        "resourceclaims" => json!({"spec": {"devices": {"requests": [request]}}}),
        "resourceclaimtemplates" => json!({"spec": {"spec": {"devices": {"requests": [request]}}}}),
        "resourceslices" => json!({"spec": {"driver": "d.example.com", "nodeName": "n", "devices": [device],
            "pool": {"name": "p", "resourceSliceCount": 1, "generation": 0}}}),
        _ => json!({"spec": {"deviceSelector": {"driver": "d.example.com"},
            "taint": {"key": "example.com/k", "effect": "NoSchedule"}}}),
    }
}
