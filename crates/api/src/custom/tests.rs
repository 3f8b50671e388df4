use std::sync::Arc;

use serde_json::{Value, json};

use super::Definition;

fn widgets() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList",
                "shortNames": ["wd"]},
            "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n",
                        "statusReplicasPath": ".status.n"}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]},
            ],
        },
        "status": {
            "acceptedNames": {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"},
            "conditions": [{"type": "Established", "status": "True"}],
        },
    })
}

#[test]
fn every_version_is_a_row() {
    let definition = Arc::new(Definition::read(&widgets()));
    let rows = definition.rows();
    let seen: Vec<_> = rows.iter().map(|row| (&*row.version, &*row.storage_version, row.subresources.len())).collect();
    assert_eq!(seen, [("v1beta1", "v1", 0), ("v1", "v1", 2)]);
    assert!(rows[1].is_storage_version() && rows[1].allows("create") && definition.is_served);
    // Short names that were not accepted are not in use.
    assert!(rows[1].short_names.is_empty());
    let version = |index: usize| rows[index].custom.as_ref().expect("it is custom").version();
    assert_eq!(
        version(0).deprecation.as_deref(),
        Some("example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget")
    );
    assert_eq!(version(0).columns[0].name, "Age");
    assert_eq!(version(1).columns[0].name, "Color");
    assert_eq!(&*version(1).selectable, ["spec.color"]);
}

#[test]
fn what_is_on_its_way_out_cannot_be_made() {
    let mut crd = widgets();
    crd["status"]["conditions"] = json!([{"type": "Terminating", "status": "True"}]);
    let definition = Arc::new(Definition::read(&crd));
    assert!(!definition.is_served && definition.is_terminating);
    assert!(!definition.rows()[0].allows("create"));
}

#[test]
fn only_what_changes_objects_makes_them_read_again() {
    let before = Definition::read(&widgets());
    let mut crd = widgets();
    crd["status"]["acceptedNames"]["shortNames"] = json!(["wd"]);
    assert!(before.reads_like(&Definition::read(&crd)));
    crd["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"] = json!({"spec": {"type": "object"}});
    assert!(!before.reads_like(&Definition::read(&crd)));
}
