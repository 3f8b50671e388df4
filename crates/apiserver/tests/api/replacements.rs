//! Updates: which say what they replace, and which make what is missing.

use serde_json::json;

use crate::samples::{path, sample};
use crate::support::Cluster;

/// Every version, whether or not it is settled.
async fn cluster() -> Cluster {
    Cluster::start_with(|config| config.runtime_config = "api/all=true".parse().expect("settings")).await
}

#[tokio::test]
async fn kinds_that_upstream_protects_are_updated_with_the_version_that_was_read() {
    let cluster = cluster().await;
    for (group, version, plural) in [
        ("admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
        ("apiregistration.k8s.io", "v1", "apiservices"),
        ("certificates.k8s.io", "v1beta1", "clustertrustbundles"),
        ("certificates.k8s.io", "v1beta1", "podcertificaterequests"),
        ("coordination.k8s.io", "v1beta1", "leasecandidates"),
        ("coordination.k8s.io", "v1", "leases"),
        ("internal.apiserver.k8s.io", "v1alpha1", "storageversions"),
        ("node.k8s.io", "v1", "runtimeclasses"),
        ("policy", "v1", "poddisruptionbudgets"),
        ("storage.k8s.io", "v1", "csidrivers"),
        ("storage.k8s.io", "v1", "csinodes"),
        ("storage.k8s.io", "v1", "csistoragecapacities"),
        ("storage.k8s.io", "v1", "volumeattachments"),
        ("storagemigration.k8s.io", "v1beta1", "storageversionmigrations"),
    ] {
        let (path, mut object) = (path(group, version, plural), sample(&cluster, group, version, plural));
        let created = cluster.post(&path, object.clone()).await.expect(201);
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        for none in [json!(null), json!(""), json!("0")] {
            object["metadata"]["resourceVersion"] = none;
            let refused = cluster.put(&format!("{path}/{name}"), object.clone()).await.expect(422);
            let why = format!(
                "{plural}.{group} \"{name}\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            );
            assert_eq!(refused["message"].as_str(), Some(why.as_str()));
            let cause = json!({"reason": "FieldValueInvalid", "message": "Invalid value: 0: must be specified for an update", "field": "metadata.resourceVersion"});
            let details = json!({"name": name, "group": group, "kind": plural, "causes": [cause]});
            assert_eq!((&refused["details"], &refused["reason"]), (&details, &json!("Invalid")));
        }
        object["metadata"]["labels"] = json!({"a": "b"});
        // The server itself writes the status of some of them.
        let mut current = created;
        let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
        loop {
            object["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
            let answer = cluster.put(&format!("{path}/{name}"), object.clone()).await;
            if answer.status() != 409 {
                answer.expect(200);
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{name} is never still");
            current = cluster.get(&format!("{path}/{name}")).await.expect(200);
        }
    }
    let status = json!({"metadata": {"name": "sample"}, "status": {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    cluster.put(&format!("{}/sample/status", path("policy", "v1", "poddisruptionbudgets")), status).await.expect(422);
}

#[tokio::test]
async fn updates_make_what_is_missing_of_some_kinds() {
    let cluster = cluster().await;
    for (group, version, plural) in [
        ("", "v1", "endpoints"),
        ("", "v1", "events"),
        ("", "v1", "limitranges"),
        ("", "v1", "services"),
        ("coordination.k8s.io", "v1beta1", "leasecandidates"),
        ("coordination.k8s.io", "v1", "leases"),
        ("events.k8s.io", "v1", "events"),
        ("node.k8s.io", "v1", "runtimeclasses"),
        ("rbac.authorization.k8s.io", "v1", "clusterroles"),
        ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    ] {
        let (path, mut object) = (path(group, version, plural), sample(&cluster, group, version, plural));
        object["metadata"]["name"] = format!("made.{}", group.len()).into();
        if plural == "services" {
            object["metadata"]["name"] = "made".into();
        }
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().expect("a name"));
        let mut other = object.clone();
        other["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000".into();
        let refused = cluster.put(&path, other).await.expect(409);
        let why = refused["message"].as_str().expect("a message");
        assert!(
            why.ends_with("UID in precondition: 00000000-0000-4000-8000-000000000000, UID in object meta: "),
            "{why}"
        );
        cluster.get(&path).await.expect(404);
        // What it replaces does not matter where there is nothing.
        object["metadata"]["resourceVersion"] = "7".into();
        let made = cluster.put(&path, object).await.expect(201);
        assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string(), "{made}");
        assert_eq!(cluster.get(&path).await.expect(200), made);
    }
    let service = cluster.get("/api/v1/namespaces/default/services/made").await.expect(200);
    assert!(
        service["spec"]["clusterIP"].is_string() && service["spec"]["ports"][0]["nodePort"].is_number(),
        "{service}"
    );
    let missing = json!({"metadata": {"name": "none"}});
    for plural in ["configmaps", "serviceaccounts", "resourcequotas"] {
        cluster.put(&format!("/api/v1/namespaces/default/{plural}/none"), missing.clone()).await.expect(404);
    }
}

#[tokio::test]
async fn who_may_not_create_makes_nothing_by_an_update_either() {
    let cluster = Cluster::start().await;
    let resources = json!(["leases"]);
    let rules = json!([{"apiGroups": ["coordination.k8s.io"], "resources": resources, "verbs": ["update", "patch"]}]);
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    cluster.post(&format!("{roles}/roles"), json!({"metadata": {"name": "w"}, "rules": rules})).await.expect(201);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "w"});
    let subjects = json!([{"kind": "User", "name": "writer"}]);
    let binding = json!({"metadata": {"name": "w"}, "roleRef": role, "subjects": subjects});
    cluster.post(&format!("{roles}/rolebindings"), binding).await.expect(201);
    let writer = cluster.as_user("writer", &[]);
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    for refused in [
        writer.put(path, lease.clone()).await,
        writer.patch(&format!("{path}?fieldManager=m"), "application/apply-patch+yaml", lease.clone()).await,
    ] {
        assert_eq!(refused.expect(403)["message"], "leases.coordination.k8s.io \"l\" is forbidden: ");
    }
    // Who is refused learns first what is wrong with his object.
    let mut wrong = lease.clone();
    wrong["spec"] = json!({"leaseDurationSeconds": 0});
    writer.put(path, wrong).await.expect(422);
    let mut made = cluster.put(path, lease).await.expect(201);
    made["spec"] = json!({"holderIdentity": "h"});
    writer.put(path, made).await.expect(200);
}
