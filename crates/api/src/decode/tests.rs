//! Tests of decoding.

use serde_json::{Value, json};

use super::*;

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

#[track_caller]
fn check_findings(text: &str, type_name: &str, findings: &[&str]) -> Value {
    let decoded = decode_as(text.as_bytes(), MediaType::Json, type_name).expect("decodes");
    assert_eq!(decoded.findings, findings);
    decoded.value
}

#[track_caller]
fn check_refused(document: Value, type_name: &str, message: &str) {
    let text = document.to_string();
    let err = decode_as(text.as_bytes(), MediaType::Json, type_name).expect_err("is refused");
    assert_eq!((err.code, err.message.as_str()), (400, message));
}

#[track_caller]
fn check_normal(mut document: Value, type_name: &str, expected: Value) {
    check_fields(&mut document, type_name).expect("is of its type");
    normalize(&mut document, type_name);
    assert_eq!(document, expected);
}

#[test]
fn unknown_fields_are_named_in_the_order_of_the_document() {
    let text = r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","imagez":"x"}]}},"bogus":1},"extra":true}"#;
    let findings = [
        r#"unknown field "spec.template.spec.containers[0].imagez""#,
        r#"unknown field "spec.bogus""#,
        r#"unknown field "extra""#,
    ];
    let value = check_findings(text, DEPLOYMENT, &findings);
    assert_eq!(value, json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}));
}

#[test]
fn the_last_duplicate_counts() {
    let value = check_findings(r#"{"data":{"a":"1","a":"2"}}"#, CONFIG_MAP, &[r#"duplicate field "data.a""#]);
    assert_eq!(value, json!({"data": {"a": "2"}}));
}

#[test]
fn empty_lists_stay_until_they_are_stored() {
    const ROLE: &str = "io.k8s.api.rbac.v1.Role";
    let mut role = json!({"metadata": {"labels": {}}, "rules": []});
    normalize_sent(&mut role, ROLE);
    assert_eq!(role, json!({"metadata": {}, "rules": []}));
    settle(&mut role, ROLE);
    assert_eq!(role, json!({"metadata": {}, "rules": null}));
}

#[test]
fn names_of_another_case_are_unknown() {
    check_findings(r#"{"Data":{"a":"b"}}"#, CONFIG_MAP, &[r#"unknown field "Data""#]);
}

#[test]
fn duplicates_of_unknown_types_are_found() {
    let decoded = decode(br#"{"spec":[{"a":1,"a":2}]}"#, MediaType::Json).expect("decodes");
    assert_eq!(decoded.findings, [r#"duplicate field "spec[0].a""#]);
}

#[test]
fn yaml_duplicates_have_lines() {
    let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y-strict\ndata:\n  a: \"1\"\n  a: \"2\"\n";
    let decoded = decode_as(text, MediaType::Yaml, CONFIG_MAP).expect("decodes");
    assert_eq!(decoded.findings, [r#"line 7: key "a" already set in map"#]);
    assert_eq!(decoded.value["data"], json!({"a": "2"}));
    let refusal = decoded.strict_error("ConfigMap", "v1").expect("is refused");
    assert_eq!(
        refusal.message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal \
         errors:\n  line 7: key \"a\" already set in map"
    );
}

#[test]
fn wrong_types_are_refused_in_the_words_of_go() {
    check_refused(
        json!({"spec": {"replicas": "three"}}),
        DEPLOYMENT,
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct \
         field DeploymentSpec.spec.replicas of type int32",
    );
    check_refused(
        json!({"spec": {"containers": [{"env": [{"name": "A", "value": 1}]}]}}),
        POD,
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field \
         EnvVar.spec.containers.env.value of type string",
    );
    check_refused(
        json!({"spec": {"containers": {}}}),
        POD,
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field \
         PodSpec.spec.containers of type []v1.Container",
    );
}

#[test]
fn deep_documents_are_refused() {
    let text = "[".repeat(100_000);
    assert!(decode(text.as_bytes(), MediaType::Json).is_err());
}

#[test]
fn broken_documents_are_refused() {
    let err = decode_as(b"{\"kind\": ", MediaType::Json, CONFIG_MAP).expect_err("is refused");
    assert!(err.message.starts_with("the object provided is unrecognized (must be of type ConfigMap): "), "{err}");
}

#[test]
fn what_is_empty_is_left_out() {
    check_normal(
        json!({"metadata": {"name": "a", "labels": {}, "annotations": null}, "data": {}, "immutable": false}),
        CONFIG_MAP,
        json!({"metadata": {"name": "a"}, "immutable": false}),
    );
    check_normal(
        json!({"metadata": {"name": "a"}, "spec": {"storageClassName": "", "volumeName": ""}}),
        "io.k8s.api.core.v1.PersistentVolumeClaim",
        json!({"metadata": {"name": "a"}, "spec": {"storageClassName": "", "resources": {}}, "status": {}}),
    );
    check_normal(
        json!({"spec": {"hostNetwork": false, "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c"}]}}),
        POD,
        json!({"metadata": {}, "status": {}, "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "resources": {}}]}}),
    );
}

#[test]
fn scalars_get_their_usual_form() {
    let mut pod = json!({"metadata": {"deletionTimestamp": "2024-01-01T02:00:00.5+02:00"},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}});
    check_fields(&mut pod, POD).expect("is of its type");
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2024-01-01T00:00:00Z");
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
}
