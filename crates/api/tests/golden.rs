//! Compares the tables of this crate with records of a real API server, where they lie beside the project.

use std::collections::BTreeSet;
use std::path::PathBuf;

use skiff_api::{kinds, schema, table};
use serde_json::Value;

/// One of the records; nothing, with a remark, where there are none.
fn golden(name: &str) -> Option<Value> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/data")).join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("the record is JSON")),
        Err(err) => {
            eprintln!("skipped: {}: {err}", path.display());
            None
        }
    }
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `/api/v1` and `/apis/apps/v1` as group and version.
fn group_version(path: &str) -> (&str, &str) {
    let rest = path.strip_prefix("/apis/").or_else(|| path.strip_prefix("/api/")).expect("a path of the API");
    rest.split_once('/').unwrap_or(("", rest))
}

#[test]
fn every_stable_resource_of_the_record_is_served_with_its_verbs_and_names() {
    let Some(record) = golden("discovery.json") else { return };
    for (path, resources) in record["resources"].as_object().expect("resources by path") {
        let (group, version) = group_version(path);
        if version.contains("beta") {
            continue;
        }
        let resources = resources.as_array().or_else(|| resources["resources"].as_array()).expect("a list");
        for expected in resources {
            let name = expected["name"].as_str().expect("a name");
            let (plural, sub) = name.split_once('/').map_or((name, None), |(plural, sub)| (plural, Some(sub)));
            let row = kinds::find(group, version, plural).unwrap_or_else(|| panic!("{path}/{plural}"));
            let verbs = match sub {
                None => row.verbs,
                Some(sub) => row.subresource(sub).unwrap_or_else(|| panic!("{path}/{name}")).verbs,
            };
            assert_eq!(verbs.iter().copied().collect::<BTreeSet<_>>(), texts(&expected["verbs"]), "{path}/{name}");
            if sub.is_none() {
                assert_eq!(expected["kind"], row.kind, "{path}/{name}");
                assert_eq!(expected["namespaced"], row.namespaced, "{path}/{name}");
                assert_eq!(row.short_names.iter().copied().collect::<BTreeSet<_>>(), texts(&expected["shortNames"]));
                assert_eq!(row.categories.iter().copied().collect::<BTreeSet<_>>(), texts(&expected["categories"]));
            }
        }
    }
}

#[test]
fn every_column_of_the_record_is_shown() {
    let Some(record) = golden("tables.json") else { return };
    for (api_version, kinds_of) in record["tables"].as_object().expect("tables by version") {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        for (kind, columns) in kinds_of.as_object().expect("tables by kind") {
            let Some(row) = kinds::find_kind(group, version, kind) else { continue };
            let shown = table::columns(row);
            for expected in columns.as_array().expect("columns") {
                let name = expected["name"].as_str().expect("a name");
                let column = shown.iter().find(|column| column.name == name);
                let column = column.unwrap_or_else(|| panic!("{api_version} {kind} lacks {name}"));
                let ours = (column.ty, column.format, i64::from(column.priority));
                let theirs = (
                    expected["type"].as_str().unwrap_or_default(),
                    expected["format"].as_str().unwrap_or_default(),
                    expected["priority"].as_i64().unwrap_or_default(),
                );
                assert_eq!(ours, theirs, "{api_version} {kind} {name}");
            }
        }
    }
}

#[test]
fn lists_and_patches_merge_as_in_the_record() {
    let Some(record) = golden("openapi-facts.json") else { return };
    let mut compared = 0;
    for (name, expected) in record["v2"].as_object().expect("types") {
        let Some(ty) = schema::type_by_name(name) else { continue };
        for (field, facts) in expected["properties"].as_object().into_iter().flatten() {
            let Some(ours) = ty.field(field) else { continue };
            if let Some(key) = facts["x-kubernetes-patch-merge-key"].as_str() {
                assert_eq!(ours.patch_merge_key, Some(key), "{name}.{field}");
                compared += 1;
            }
            if let Some(strategy) = facts["x-kubernetes-patch-strategy"].as_str() {
                assert_eq!(ours.patch_strategy.merges(), strategy.contains("merge"), "{name}.{field}");
                assert_eq!(ours.patch_strategy.retains_keys(), strategy.contains("retainKeys"), "{name}.{field}");
            }
            if facts["x-kubernetes-list-type"] == "map" {
                let keys: Vec<&str> = ours.map_keys.to_vec();
                assert_eq!(keys.iter().copied().collect::<BTreeSet<_>>(), texts(&facts["x-kubernetes-list-map-keys"]));
            }
        }
    }
    assert!(compared > 40, "only {compared} fields were compared");
}
