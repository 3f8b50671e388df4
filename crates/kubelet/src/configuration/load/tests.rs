use super::*;

use serde_json::json;

const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

/// Files of a directory: `config.yaml`, and drop-ins in `conf.d`.
fn load(files: &[(&str, &str)], flags: Value) -> Result<KubeletConfiguration, String> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(dir.path().join("conf.d/more")).expect("made");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), format!("{HEAD}{text}")).expect("written");
    }
    let sources = Sources {
        defaults: json!({"clusterDomain": "cluster.local"}).as_object().cloned().unwrap_or_default(),
        file: Some(dir.path().join("config.yaml")).filter(|file| file.exists()),
        dir: Some(dir.path().join("conf.d")),
        flags: flags.as_object().cloned().unwrap_or_default(),
    };
    let place = format!("{}/", dir.path().display());
    sources.load().map_err(|err| err.to_string().replace(&place, ""))
}

#[track_caller]
fn check(files: &[(&str, &str)], flags: Value, expected: Value) {
    let written = serde_json::to_value(load(files, flags).expect("a configuration")).expect("a document");
    for (pointer, value) in expected.as_object().expect("expectations") {
        assert_eq!(written.pointer(pointer), Some(value).filter(|value| !value.is_null()), "{pointer}");
    }
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let err = load(&[("config.yaml", text)], json!({})).expect_err("the file is wrong");
    assert!(err.contains(expected), "{err}");
}

#[test]
fn nothing_said_is_upstreams_default() {
    let expected = json!({
        "/port": 10250, "/healthzPort": 10248, "/maxPods": 110, "/syncFrequency": "1m0s", "/cpuCFSQuotaPeriod": "100ms",
        "/nodeStatusReportFrequency": "5m0s", "/authentication/webhook/cacheTTL": "2m0s", "/authorization/mode": "Webhook",
        "/evictionHard/memory.available": "100Mi", "/crashLoopBackOff/maxContainerRestartPeriod": "5m0s",
        "/shutdownGracePeriod": "0s", "/clusterDomain": "cluster.local", "/staticPodPath": null, "/memorySwap": {},
        "/logging/options/json/infoBufferSize": "0", "/maxParallelImagePulls": null, "/rotateCertificates": null,
    });
    check(&[], json!({}), expected);
}

#[test]
fn drop_ins_stand_over_the_file_and_flags_over_both() {
    let files = [
        (
            "config.yaml",
            "maxPods: 1\nclusterDNS: [10.0.0.1, 10.0.0.2]\nkubeReserved: {cpu: 1m, memory: 1Mi}\nport: 1\n",
        ),
        ("conf.d/20.conf", "maxPods: 3\nkubeReserved: {cpu: 2m}\nauthentication: {webhook: {cacheTTL: 1s}}\n"),
        ("conf.d/10.conf", "maxPods: 2\nclusterDNS: [10.0.0.3]\nevictionHard: {memory.available: 1Mi}\n"),
        ("conf.d/more/x.conf", "port: 7\n"),
        ("conf.d/ignored.yaml", "port: 9\n"),
    ];
    let merged = json!({
        "/maxPods": 3, "/clusterDNS": ["10.0.0.3"], "/kubeReserved": {"cpu": "2m", "memory": "1Mi"}, "/port": 7,
        "/evictionHard": {"memory.available": "1Mi"},
        "/authentication/webhook": {"enabled": true, "cacheTTL": "1s"},
    });
    check(&files, json!({}), merged);
    let flags =
        json!({"maxPods": 4, "kubeReserved": {"cpu": "3m"}, "authentication": {"anonymous": {"enabled": true}}});
    let merged = json!({
        "/maxPods": 4, "/kubeReserved": {"cpu": "3m"}, "/authentication/anonymous/enabled": true,
        "/authentication/webhook/cacheTTL": "1s",
    });
    check(&files, flags, merged);
}

#[test]
fn some_zeros_say_nothing_and_some_fields_follow_others() {
    let files = [
        ("config.yaml", "port: 11\nmaxPods: null\nregistryPullQPS: 0\nsyncFrequency: 0s\n"),
        ("conf.d/a.conf", "port: 0\nnodeStatusUpdateFrequency: 3s\nmaxParallelImagePulls: 2\nstaticPodPath: ''\n"),
    ];
    let merged = json!({
        "/port": 11, "/maxPods": 110, "/registryPullQPS": 0, "/syncFrequency": "1m0s",
        "/nodeStatusReportFrequency": "3s", "/serializeImagePulls": false,
    });
    check(&files, json!({}), merged);
}

#[test]
fn paths_start_where_the_file_lies() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.yaml");
    let text = format!(
        "{HEAD}staticPodPath: pods\ntlsCertFile: /abs\ntlsPrivateKeyFile: key\nauthentication: {{x509: {{clientCAFile: ca}}}}\n"
    );
    std::fs::write(&file, text).expect("written");
    let loaded = Sources { file: Some(file), ..Sources::default() }.load().expect("a configuration");
    let below = |name: &str| dir.path().join(name).display().to_string();
    assert_eq!(loaded.static_pod_path, below("pods"));
    assert_eq!(loaded.authentication.x509.client_ca_file, below("ca"));
    assert_eq!(loaded.tls_cert_file, "/abs");
}

#[test]
fn wrong_files_name_the_field() {
    check_error("maxPodz: 1", "config.yaml: unknown field \"maxPodz\"; did you mean \"maxPods\"?");
    check_error("authentication: {webhook: {cacheTTl: 1s}}", "unknown field \"authentication.webhook.cacheTTl\"");
    check_error("maxPods: many", "maxPods: invalid type: string \"many\"");
    check_error("syncFrequency: 1 day", "syncFrequency: invalid duration \"1 day\"");
    check_error("shutdownGracePeriodByPodPriority: [{priority: x}]", "shutdownGracePeriodByPodPriority[0].priority:");
    check_error("maxPods: 1\nmaxPods: 2", "maxPods");
    check_error("kind: Pod", "kind");
    check_error("- a", "config.yaml");
    check_error("maxPods: -1", "invalid kubelet configuration: maxPods -1 must not be negative");
    let other = load(&[("conf.d/a.conf", "port: x")], json!({})).expect_err("the drop-in is wrong");
    assert!(other.starts_with("conf.d/a.conf: port:"), "{other}");
    let flag = load(&[], json!({"maxPods": "x"})).expect_err("the flag is wrong");
    assert!(flag.starts_with("invalid kubelet flags: maxPods:"), "{flag}");
}

#[test]
fn a_document_says_what_it_is() {
    for (head, expected) in [
        ("kind: KubeletConfiguration", "not \"KubeletConfiguration\" of \"\""),
        ("apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration", "of \"kubelet.config.k8s.io/v1\""),
    ] {
        let err = parse(head).expect_err("it is wrong");
        assert!(err.contains(expected), "{err}");
    }
    assert!(is_configuration(HEAD) && !is_configuration("data-dir: /x") && !is_configuration(": ["));
}
