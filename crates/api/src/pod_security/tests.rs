//! Every control against pods that meet it and pods that do not, and labels against what they mean.

use serde_json::{Value, json};

use super::{Level, LevelVersion, Policy, Version, evaluate};

/// A pod that meets everything, with changes.
fn hardened(change: Value) -> Value {
    let mut pod = json!({"metadata": {}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }});
    merge(&mut pod, change);
    pod
}

/// Objects are merged, lists by position, `null` removes.
fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(into), Value::Array(change)) => {
            into.resize(into.len().max(change.len()), Value::Null);
            into.iter_mut().zip(change).for_each(|(into, change)| merge(into, change));
        }
        (into, change) => *into = change,
    }
}

fn parse(policy: &str) -> LevelVersion {
    let (level, version) = policy.split_once(':').expect("level:version");
    let label = |key: &str| match key {
        "pod-security.kubernetes.io/enforce" => Some(level),
        "pod-security.kubernetes.io/enforce-version" => Some(version),
        _ => None,
    };
    let (policy, errors) = Policy::from_labels(label, &Policy::default());
    assert_eq!(errors, []);
    policy.enforce
}

/// What a policy says of a hardened pod with changes.
#[track_caller]
fn check(policy: &str, change: Value, expected: &str) {
    let violations = evaluate(parse(policy), &hardened(change.clone()));
    assert_eq!(violations.details(), expected, "{policy} {change}");
    assert_eq!(violations.is_empty(), expected.is_empty());
}

fn spec(change: Value) -> Value {
    json!({"spec": change})
}

/// Changes the security context of the container.
fn container(change: Value) -> Value {
    spec(json!({"containers": [{"securityContext": change}]}))
}

/// Changes the security context of the pod.
fn context(change: Value) -> Value {
    spec(json!({"securityContext": change}))
}

#[test]
fn nothing_is_forbidden_to_the_privileged() {
    let change = spec(json!({"hostNetwork": true, "containers": [{"securityContext": {"privileged": true}}]}));
    check("privileged:latest", change, "");
}

#[test]
fn a_hardened_pod_meets_every_version() {
    for minor in 0..40 {
        for level in ["baseline", "restricted"] {
            check(&format!("{level}:v1.{minor}"), json!({}), "");
        }
    }
}

#[test]
fn host_namespaces_and_ports() {
    let all = spec(json!({"hostNetwork": true, "hostPID": true, "hostIPC": true}));
    check("baseline:v1.0", all, "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)");
    check("baseline:latest", spec(json!({"hostNetwork": false, "hostPID": false})), "");
    let port = spec(json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 0}, {"hostPort": 9}]}]}));
    check("baseline:latest", port, r#"hostPort (container "c" uses hostPort 9)"#);
    let ports = spec(json!({"initContainers": [{"name": "i", "ports": [{"hostPort": 80}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        "containers": [{"ports": [{"hostPort": 443}, {"hostPort": 80}, {"hostPort": 9}]}]}));
    check("restricted:latest", ports, r#"hostPort (containers "i", "c" use hostPorts 443, 80, 9)"#);
}

#[test]
fn hosts_of_probes_count_since_1_34() {
    let probes = spec(json!({"containers": [{
        "livenessProbe": {"httpGet": {"host": "b"}}, "readinessProbe": {"tcpSocket": {"host": ""}},
        "lifecycle": {"preStop": {"tcpSocket": {"host": "a"}}}}]}));
    check("baseline:v1.33", probes.clone(), "");
    let expected = r#"probe or lifecycle host (container "c" uses probe or lifecycle hosts "a", "b")"#;
    check("baseline:v1.34", probes, expected);
    let probe = spec(json!({"containers": [{"startupProbe": {"httpGet": {"host": "a"}}}]}));
    check("baseline:latest", probe, r#"probe or lifecycle host (container "c" uses probe or lifecycle host "a")"#);
}

#[test]
fn sysctls_are_allowed_as_kernels_isolate_them() {
    for (name, since) in [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ] {
        let change = context(json!({"sysctls": [{"name": name, "value": "1"}]}));
        for minor in [0, 26, 27, 28, 29, 31, 32, 35] {
            let expected = if minor < since { format!("forbidden sysctls ({name})") } else { String::new() };
            check(&format!("baseline:v1.{minor}"), change.clone(), &expected);
        }
    }
    let several = context(json!({"sysctls": [{"name": "kernel.sem"}, {"name": "net.core.somaxconn"}]}));
    check("restricted:latest", several, "forbidden sysctls (kernel.sem, net.core.somaxconn)");
}

#[test]
fn windows_processes_of_the_host() {
    let set = json!({"windowsOptions": {"hostProcess": true}});
    let words = "must not set securityContext.windowsOptions.hostProcess=true";
    check("baseline:latest", context(set.clone()), &format!("hostProcess (pod {words})"));
    check("baseline:latest", container(set.clone()), &format!(r#"hostProcess (container "c" {words})"#));
    let both = spec(json!({"securityContext": set.clone(), "containers": [{"securityContext": set}]}));
    check("baseline:latest", both, &format!(r#"hostProcess (pod and container "c" {words})"#));
    check("baseline:latest", context(json!({"windowsOptions": {"hostProcess": false}})), "");
}

#[test]
fn privileged_containers_of_every_list() {
    let privileged = json!({"name": "x", "securityContext": {"privileged": true}});
    let words = "must not set securityContext.privileged=true";
    for list in ["initContainers", "ephemeralContainers"] {
        let change = spec(json!({list: [privileged]}));
        check("baseline:latest", change, &format!(r#"privileged (container "x" {words})"#));
    }
    let change =
        spec(json!({"ephemeralContainers": [privileged], "containers": [{"securityContext": {"privileged": true}}]}));
    check("baseline:latest", change, &format!(r#"privileged (containers "c", "x" {words})"#));
    check("baseline:latest", container(json!({"privileged": false})), "");
}

#[test]
fn capabilities() {
    let add = |names: Value| container(json!({"capabilities": {"add": names}}));
    check("baseline:latest", add(json!(["CHOWN", "NET_BIND_SERVICE", "MKNOD"])), "");
    let expected = r#"non-default capabilities (container "c" must not include "NET_RAW", "SYS_ADMIN" in securityContext.capabilities.add)"#;
    check("baseline:latest", add(json!(["SYS_ADMIN", "NET_RAW", "KILL"])), expected);
    // Before `restricted` had a control of its own.
    check("restricted:v1.21", add(json!(["SYS_ADMIN", "NET_RAW"])), expected);
    check("restricted:v1.22", add(json!(["NET_BIND_SERVICE"])), "");
    let expected =
        r#"unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)"#;
    check("restricted:v1.22", add(json!(["CHOWN"])), expected);
    let change = container(json!({"capabilities": {"drop": null, "add": ["SYS_TIME"]}}));
    let expected = r#"unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; container "c" must not include "SYS_TIME" in securityContext.capabilities.add)"#;
    check("restricted:latest", change, expected);
}

#[test]
fn escalation() {
    let expected =
        r#"allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)"#;
    for value in [json!(null), json!(true)] {
        let change = container(json!({"allowPrivilegeEscalation": value}));
        check("restricted:v1.8", change.clone(), expected);
        check("restricted:latest", change.clone(), expected);
        check("restricted:v1.7", change.clone(), "");
        check("baseline:latest", change, "");
    }
}

#[test]
fn windows_pods_need_no_linux_settings_since_1_25() {
    let change = spec(json!({"os": {"name": "windows"}, "securityContext": {"seccompProfile": null},
        "containers": [{"securityContext": null}]}));
    check("restricted:v1.25", change.clone(), "");
    let violations = evaluate(parse("restricted:v1.24"), &hardened(change));
    let expected = "allowPrivilegeEscalation != false, unrestricted capabilities, seccompProfile";
    assert_eq!(violations.reasons(), expected);
}

#[test]
fn app_armor() {
    let profile = |kind: &str| json!({"appArmorProfile": {"type": kind}});
    check("baseline:latest", context(profile("RuntimeDefault")), "");
    check("baseline:latest", container(profile("Localhost")), "");
    let words = "must not set AppArmor profile type to";
    let expected = format!(r#"forbidden AppArmor profile (pod {words} "Unconfined")"#);
    check("baseline:v1.0", context(profile("Unconfined")), &expected);
    let annotated =
        |value: &str| json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": value}}});
    for value in ["", "runtime/default", "localhost/x"] {
        check("baseline:latest", annotated(value), "");
    }
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    let expected = format!(r#"forbidden AppArmor profile (annotation {words} "{key}="unconfined"")"#);
    check("baseline:latest", annotated("unconfined"), &expected);
    let mut both = container(profile("Unconfined"));
    merge(&mut both, annotated("unconfined"));
    let expected = format!(
        r#"forbidden AppArmor profiles (container "c" and annotation {words} "Unconfined", "{key}="unconfined"")"#
    );
    check("baseline:latest", both, &expected);
}

#[test]
fn selinux() {
    let set = |options: Value| json!({"seLinuxOptions": options});
    let words = "set forbidden securityContext.seLinuxOptions:";
    check("baseline:latest", context(set(json!({"type": "container_init_t", "level": "s0"}))), "");
    let expected = format!(r#"seLinuxOptions (pod {words} user may not be set; role may not be set)"#);
    check("baseline:latest", context(set(json!({"user": "u", "role": "r"}))), &expected);
    let engine = container(set(json!({"type": "container_engine_t"})));
    check("baseline:v1.31", engine.clone(), "");
    let expected = format!(r#"seLinuxOptions (container "c" {words} type "container_engine_t")"#);
    check("baseline:v1.30", engine, &expected);
    let both = spec(json!({"securityContext": set(json!({"type": "b"})),
        "containers": [{"securityContext": set(json!({"type": "a", "user": "u"}))}]}));
    let expected = format!(r#"seLinuxOptions (pod and container "c" {words} types "a", "b"; user may not be set)"#);
    check("baseline:latest", both, &expected);
}

#[test]
fn masks_over_proc() {
    let mut open = container(json!({"procMount": "Unmasked"}));
    let expected = r#"procMount (container "c" must not set securityContext.procMount to "Unmasked")"#;
    check("baseline:latest", open.clone(), expected);
    check("restricted:latest", open.clone(), expected);
    merge(&mut open, spec(json!({"hostUsers": false})));
    check("baseline:v1.34", open.clone(), expected);
    check("baseline:v1.35", open.clone(), "");
    check("restricted:v1.35", open, expected);
    check("restricted:latest", container(json!({"procMount": "Default"})), "");
}

#[test]
fn seccomp() {
    let set = |kind: &str| json!({"seccompProfile": {"type": kind}});
    let words = r#"must not set securityContext.seccompProfile.type to "Unconfined""#;
    for policy in ["baseline:v1.19", "baseline:latest", "restricted:v1.19", "restricted:latest"] {
        check(policy, context(set("Unconfined")), &format!("seccompProfile (pod {words})"));
        check(policy, container(set("Unconfined")), &format!(r#"seccompProfile (container "c" {words})"#));
        check(policy, container(set("Localhost")), "");
    }
    let unset = context(json!({"seccompProfile": null}));
    check("baseline:latest", unset.clone(), "");
    let expected = r#"seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#;
    check("restricted:v1.19", unset.clone(), expected);
    check("restricted:v1.18", unset, "");
    let annotation = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    let pod = "seccomp.security.alpha.kubernetes.io/pod";
    let one = "container.seccomp.security.alpha.kubernetes.io/c";
    for value in ["runtime/default", "docker/default", "localhost/x"] {
        check("baseline:v1.18", annotation(pod, value), "");
    }
    check("baseline:v1.19", annotation(pod, "unconfined"), "");
    let mut both = annotation(pod, "unconfined");
    merge(&mut both, annotation(one, ""));
    let expected = format!(r#"seccompProfile (forbidden annotations {one}="", {pod}="unconfined")"#);
    check("restricted:v1.18", both, &expected);
}

#[test]
fn users() {
    let expected = r#"runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)"#;
    let unset = context(json!({"runAsNonRoot": null}));
    check("restricted:v1.0", unset.clone(), expected);
    check("baseline:latest", unset, "");
    let words = "must not set securityContext.runAsNonRoot=false";
    check("restricted:latest", context(json!({"runAsNonRoot": false})), &format!("runAsNonRoot != true (pod {words})"));
    let expected = format!(r#"runAsNonRoot != true (container "c" {words})"#);
    check("restricted:latest", container(json!({"runAsNonRoot": false})), &expected);
    check("restricted:latest", context(json!({"runAsUser": 1})), "");
    check("restricted:v1.22", context(json!({"runAsUser": 0})), "");
    check("restricted:v1.23", context(json!({"runAsUser": 0})), "runAsUser=0 (pod must not set runAsUser=0)");
    let root = spec(json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": false},
        "containers": [{"securityContext": {"runAsUser": 0}}], "hostUsers": false}));
    let expected =
        format!(r#"runAsNonRoot != true (pod {words}), runAsUser=0 (pod and container "c" must not set runAsUser=0)"#);
    check("restricted:v1.34", root.clone(), &expected);
    check("restricted:v1.35", root, "");
}

#[test]
fn volumes() {
    for source in [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ] {
        check("restricted:v1.0", spec(json!({"volumes": [{"name": "v", source: {}}]})), "");
    }
    let volumes = spec(
        json!({"volumes": [{"name": "b", "hostPath": {}}, {"name": "a", "nfs": {}}, {"name": "s", "secret": {}}]}),
    );
    check("baseline:latest", volumes.clone(), r#"hostPath volumes (volume "b")"#);
    let expected = r#"restricted volume types (volumes "b", "a" use restricted volume types "hostPath", "nfs")"#;
    check("restricted:latest", volumes, expected);
    let expected = r#"restricted volume types (volume "v" uses restricted volume type "unknown")"#;
    check("restricted:latest", spec(json!({"volumes": [{"name": "v", "tape": {}}]})), expected);
}

#[test]
fn what_is_wrong_comes_in_the_order_of_controls() {
    let pod = json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}},
        "spec": {"hostPID": true, "volumes": [{"name": "v", "hostPath": {}}],
            "securityContext": {"seLinuxOptions": {"user": "u"}, "sysctls": [{"name": "a"}], "runAsUser": 0,
                "windowsOptions": {"hostProcess": true}, "seccompProfile": {"type": "Unconfined"}},
            "containers": [{"name": "c", "ports": [{"hostPort": 1}], "livenessProbe": {"httpGet": {"host": "h"}},
                "securityContext": {"privileged": true, "procMount": "Unmasked", "capabilities": {"add": ["BPF"]}}}]}});
    let baseline = "forbidden AppArmor profile, non-default capabilities, host namespaces, hostPath volumes, hostPort, \
        probe or lifecycle host, privileged, procMount, seLinuxOptions, seccompProfile, forbidden sysctls, hostProcess";
    assert_eq!(evaluate(parse("baseline:latest"), &pod).reasons(), baseline);
    let restricted = "forbidden AppArmor profile, host namespaces, hostPort, probe or lifecycle host, privileged, \
        seLinuxOptions, forbidden sysctls, hostProcess, allowPrivilegeEscalation != false, unrestricted capabilities, \
        procMount, restricted volume types, runAsNonRoot != true, runAsUser=0, seccompProfile";
    assert_eq!(evaluate(parse("restricted:latest"), &pod).reasons(), restricted);
}

/// What labels say, as `enforce audit warn` and the keys that are wrong.
#[track_caller]
fn check_labels(labels: &[(&str, &str)], expected: &str, wrong: &[&str]) {
    let label = |key: &str| {
        let short = key.strip_prefix("pod-security.kubernetes.io/").expect("no other is asked for");
        labels.iter().find(|(key, _)| *key == short).map(|(_, value)| *value)
    };
    let (policy, errors) = Policy::from_labels(label, &Policy::default());
    assert_eq!(format!("{} {} {}", policy.enforce, policy.audit, policy.warn), expected, "{labels:?}");
    let fields: Vec<String> = errors.into_iter().map(|error| format!("{} {}", error.field, error.detail)).collect();
    assert_eq!(fields, wrong, "{labels:?}");
}

#[test]
fn labels_make_a_policy() {
    let nothing = "privileged:latest privileged:latest privileged:latest";
    check_labels(&[], nothing, &[]);
    let all =
        [("enforce", "baseline"), ("enforce-version", "v1.0"), ("audit", "restricted"), ("warn-version", "v1.35")];
    check_labels(&all, "baseline:v1.0 restricted:latest privileged:v1.35", &[]);
    let wrong = [("enforce", "x"), ("audit", ""), ("warn", "Baseline")];
    let why = |mode: &str| {
        format!("metadata.labels[pod-security.kubernetes.io/{mode}] must be one of privileged, baseline, restricted")
    };
    let expected = [why("enforce"), why("audit"), why("warn")];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_labels(&wrong, "restricted:latest privileged:latest privileged:latest", &expected);
    for version in ["", "1.2", "v1", "v1.", "v1.02", "v2.0", "v1.x", "v1.1.1", "v1.+1", "v1.9223372036854775808"] {
        let why = "metadata.labels[pod-security.kubernetes.io/enforce-version] must be \"latest\" or \"v1.x\"";
        check_labels(&[("enforce-version", version)], nothing, &[why]);
    }
}

#[test]
fn latest_is_newer_than_any_version() {
    assert!(Version::Latest > Version::Minor(i64::MAX) && Version::Minor(10) > Version::Minor(9));
    assert!(Level::Restricted > Level::Baseline && Level::Baseline > Level::Privileged);
}
