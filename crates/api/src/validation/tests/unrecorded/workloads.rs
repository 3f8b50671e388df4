//! Pods and jobs, where the records have no example.

use serde_json::{Value, json};

use super::{check_create, check_status, check_update, prepared};
use crate::validation::resize_update;

fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"serviceAccountName": "default",
        "containers": [{"name": "c", "image": "i:1"}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

#[test]
fn devices_of_pods() {
    check_create(
        pod(json!({"resourceClaims": [{"name": "a", "resourceClaimName": "x"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "i:1", "resources": {"claims": [{"name": "a"}, {"name": "a"}]}}]})),
        &[
            "spec.resourceClaims[1].name: Duplicate value: \"a\"",
            "spec.resourceClaims[1]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            "spec.containers[0].resources.claims[1]: Duplicate value: \"a\"",
        ],
    );
}

#[test]
fn resources_of_whole_pods() {
    let with = |resources: Value, own: Value| {
        pod(json!({"resources": resources, "containers": [{"name": "c", "image": "i:1", "resources": own}]}))
    };
    check_create(with(json!({"requests": {"cpu": "2"}}), json!({"requests": {"cpu": "1"}})), &[]);
    check_create(
        with(
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}),
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}),
        ),
        &[
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
            "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
        ],
    );
    check_create(
        with(json!({"requests": {"ephemeral-storage": "1"}}), json!({})),
        &[
            "spec.resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
        ],
    );
}

#[test]
fn restarts_of_single_containers() {
    let with = |container: Value| {
        let mut pod = pod(json!({}));
        for (field, value) in container.as_object().into_iter().flatten() {
            pod["spec"]["containers"][0][field] = value.clone();
        }
        pod
    };
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
    check_create(with(json!({"restartPolicy": "Never", "restartPolicyRules": [rule]})), &[]);
    check_create(
        with(json!({"restartPolicyRules": [rule]})),
        &["spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
    );
    check_create(
        with(json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Stop"}]})),
        &[
            "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\"",
            "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified",
        ],
    );
}

#[test]
fn sources_of_single_storage_systems() {
    let with = |source: Value| {
        let mut volume = json!({"name": "v"});
        for (field, value) in source.as_object().into_iter().flatten() {
            volume[field] = value.clone();
        }
        pod(json!({"volumes": [volume]}))
    };
    check_create(
        with(json!({"iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:x", "lun": 1}})),
        &[],
    );
    check_create(
        with(json!({"iscsi": {"targetPortal": "", "iqn": "x", "lun": 256}})),
        &[
            "spec.volumes[0].iscsi.targetPortal: Required value",
            "spec.volumes[0].iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
            "spec.volumes[0].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
        ],
    );
    check_create(
        with(json!({"fc": {"targetWWNs": ["a"]}})),
        &["spec.volumes[0].fc.lun: Required value: lun is required if targetWWNs is specified"],
    );
    check_create(with(json!({"gitRepo": {"repository": ""}})), &["spec.volumes[0].gitRepo.repository: Required value"]);
}

/// What is wrong with a change of the resources of a pod.
#[track_caller]
fn check_resize(spec: Value, change: impl FnOnce(&mut Value), expected: &[&str]) {
    let (resource, old) = prepared(pod(spec));
    let mut new = old.clone();
    change(&mut new["spec"]);
    let found: Vec<String> = resize_update(resource, &new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{new:#}");
}

#[test]
fn resizes_of_running_pods() {
    let burstable = || json!({"containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]});
    let resources = |spec: &mut Value, resources: Value| spec["containers"][0]["resources"] = resources;
    check_resize(burstable(), |spec| resources(spec, json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}})), &[]);
    check_resize(
        burstable(),
        |spec| resources(spec, json!({"requests": {"cpu": "2"}})),
        &["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
    );
    check_resize(
        burstable(),
        |spec| resources(spec, json!({"requests": {"cpu": "2", "ephemeral-storage": "1"}, "limits": {"cpu": "2"}})),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    check_resize(
        json!({}),
        |spec| resources(spec, json!({"requests": {"cpu": "1"}})),
        &["spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"],
    );
}

fn job(spec: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {
        "manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        job["spec"][field] = value.clone();
    }
    job
}

#[test]
fn indexed_jobs() {
    let indexed = |rest: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
        for (field, value) in rest.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        job(spec)
    };
    check_create(indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 2}]}})), &[]);
    check_create(
        indexed(
            json!({"successPolicy": {"rules": [{"succeededIndexes": "1-7"}, {"succeededCount": 4}]}, "maxFailedIndexes": 4}),
        ),
        &[
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"1-7\": error parsing succeededIndexes: too large index: \"7\"",
            "spec.successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
        ],
    );
    check_update(
        indexed(json!({})),
        |new| new["spec"]["completions"] = 5.into(),
        &["spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism"],
    );
    check_create(
        job(json!({"podFailurePolicy": {"rules": [
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 0]}}, {"action": "Ignore"}]}})),
        &[
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0]: must be ordered",
            "spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ],
    );
}

#[test]
fn ends_of_jobs() {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    check_status(
        job(json!({})),
        json!({"conditions": [condition("Complete")], "active": 1, "startTime": "2024-01-01T00:00:00Z"}),
        &[
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
        ],
    );
    check_status(
        job(json!({})),
        json!({"conditions": [condition("Complete"), condition("SuccessCriteriaMet")], "succeeded": 1,
            "startTime": "2024-01-01T00:00:00Z", "completionTime": "2024-01-01T00:01:00Z"}),
        &[],
    );
}

#[test]
fn zones_of_schedules() {
    let cron_job = |zone: &str, schedule: &str| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": {
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}}}})
    };
    check_create(cron_job("Europe/Amsterdam", "0 * * * *"), &[]);
    check_create(
        cron_job("Mars/Base", "TZ=UTC 0 * * * *"),
        &[
            "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            "spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base",
        ],
    );
}

#[test]
fn windows_of_pods() {
    check_create(
        pod(json!({"securityContext": {"windowsOptions": {
            "gmsaCredentialSpec": "", "runAsUserName": "a\\b\\c"}}})),
        &[
            "spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string",
            "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash",
        ],
    );
    check_create(
        pod(json!({"securityContext": {"windowsOptions": {"runAsUserName": ".a\\.."}}})),
        &[
            "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \".a\\\\..\": runAsUserName's Domain doesn't match the NetBios nor the DNS format",
            "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \".a\\\\..\": runAsUserName's User cannot contain only periods or spaces",
        ],
    );
    check_create(pod(json!({"securityContext": {"windowsOptions": {"runAsUserName": "NT AUTHORITY\\user"}}})), &[]);
    check_create(
        pod(json!({"securityContext": {"windowsOptions": {"hostProcess": true}},
            "containers": [{"name": "c", "image": "i:1", "securityContext": {"windowsOptions": {"hostProcess": false}}}]})),
        &[
            "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
        ],
    );
    check_create(
        pod(json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})),
        &[
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ],
    );
}

#[test]
fn claims_made_for_pods() {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}});
    let template = json!({"metadata": {"name": "x", "labels": {"a": "b"}, "uid": "u"}, "spec": spec});
    check_create(
        pod(
            json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "w", "image": {}}]}),
        ),
        &[
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.uID: Forbidden: cannot be set",
            "spec.volumes[1].image.reference: Required value",
        ],
    );
}

#[test]
fn addresses_of_services() {
    let service = |spec: Value| {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}});
        for (field, value) in spec.as_object().into_iter().flatten() {
            service["spec"][field] = value.clone();
        }
        service
    };
    let cases = [
        (
            json!({"clusterIPs": ["10.0.0.1"]}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: first value must match `clusterIP`",
        ),
        (
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family",
        ),
        (
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv6"]}),
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
    ];
    for (spec, why) in cases {
        check_create(service(spec), &[why]);
    }
}
