use serde_json::{Value, json};

use super::{create, status_update, update};

fn crd() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    json!({
        "metadata": {"name": "xs.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
        "status": {"acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]},
    })
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
    let mut crd = crd();
    change(&mut crd);
    let mut errors = Vec::new();
    create(&crd, &mut errors);
    let found: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.detail)).collect();
    assert_eq!(found, expected);
}

#[test]
fn definitions_are_judged_as_upstream_does() {
    check(|_| {}, &[]);
    check(|crd| crd["metadata"]["name"] = "x".into(), &["metadata.name: must be spec.names.plural+\".\"+spec.group"]);
    check(|crd| crd["spec"]["scope"] = "".into(), &["spec.scope: "]);
    check(
        |crd| crd["spec"]["names"]["listKind"] = "X".into(),
        &["spec.names.listKind: kind and listKind may not be the same"],
    );
    check(
        |crd| crd["spec"]["versions"][0]["deprecationWarning"] = "w".into(),
        &["spec.versions[0].deprecationWarning: can only be set for deprecated versions"],
    );
    check(
        |crd| crd["status"]["storedVersions"] = json!([]),
        &["status.storedVersions: must have at least one stored version"],
    );
    check(
        |crd| {
            crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {},
            "conversionReviewVersions": ["v2"]}})
        },
        &[
            "spec.conversion.webhookClientConfig: exactly one of url or service is required",
            "spec.conversion.conversionReviewVersions: must include at least one of v1, v1beta1",
        ],
    );
}

#[test]
fn what_has_defaults_is_pruned() {
    check(
        |crd| {
            crd["spec"]["preserveUnknownFields"] = true.into();
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] =
                json!({"a": {"type": "string", "default": "x"}});
        },
        &[
            "spec.preserveUnknownFields: must be false in order to use defaults in the schema",
            "spec.preserveUnknownFields: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ],
    );
}

#[test]
fn what_versions_share_has_one_place() {
    let wrong = json!({"openAPIV3Schema": {"type": "string"}});
    let why = "must be object at the root";
    let mut second = crd()["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    let both = |schema: Value| {
        let (wrong, second) = (wrong.clone(), second.clone());
        move |crd: &mut Value| {
            crd["spec"]["versions"][0]["schema"] = wrong;
            let versions = crd["spec"]["versions"].as_array_mut().expect("versions");
            versions.push(second);
            versions[1]["schema"] = schema;
        }
    };
    check(both(wrong.clone()), &[&format!("spec.validation.openAPIV3Schema.type: {why}")]);
    check(
        both(json!({"openAPIV3Schema": {"type": "object"}})),
        &[&format!("spec.versions[0].schema.openAPIV3Schema.type: {why}")],
    );
    check(
        |crd| crd["spec"]["versions"][0]["schema"] = wrong.clone(),
        &[&format!("spec.validation.openAPIV3Schema.type: {why}")],
    );
}

#[test]
fn what_is_established_stays_what_it_is() {
    let mut old = crd();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    new["spec"]["names"]["kind"] = "Y".into();
    let webhook = json!({"clientConfig": {"url": "https://a", "caBundle": "YWJj"}, "conversionReviewVersions": ["v1"]});
    new["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": webhook});
    let changed = |new: &Value, old: &Value| {
        let mut errors = Vec::new();
        update(new, old, &mut errors);
        errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    assert_eq!(changed(&new, &old), ["spec.conversion.webhookClientConfig.caBundle", "spec.scope", "spec.names.kind"]);
    // What could not be read before may stay.
    old["spec"]["conversion"] = new["spec"]["conversion"].clone();
    assert_eq!(changed(&new, &old), ["spec.scope", "spec.names.kind"]);
}

#[test]
fn a_migration_may_forget_versions() {
    let old = crd();
    let mut new = old.clone();
    new["status"]["storedVersions"] = json!([]);
    let mut errors = Vec::new();
    status_update(&new, &old, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
}
