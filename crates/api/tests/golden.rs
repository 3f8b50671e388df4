//! Compares the tables of this crate with records of a real API server, where they lie beside the project.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use skiff_api::{kinds, schema, table};

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
                assert_eq!(expected["kind"], *row.kind, "{path}/{name}");
                assert_eq!(expected["namespaced"], row.namespaced, "{path}/{name}");
                assert_eq!(
                    row.short_names.iter().map(|name| &**name).collect::<BTreeSet<_>>(),
                    texts(&expected["shortNames"])
                );
                assert_eq!(
                    row.categories.iter().map(|name| &**name).collect::<BTreeSet<_>>(),
                    texts(&expected["categories"])
                );
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
            let shown = table::columns(&row.group, &row.kind);
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
            // Its marker was dropped since: it never meant anything on text.
            if name.ends_with("LabelSelectorRequirement") {
                continue;
            }
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
    assert!(compared > 30, "only {compared} fields were compared");
}

/// Fields that differ for a reason: filled in by strategies, admission and allocators, or newer than the record.
const FROM_ELSEWHERE: &[&str] = &[
    "* /metadata",
    "CSIDriver /spec/seLinuxMount",
    "CSIDriver /spec/serviceAccountTokenInSecrets",
    "CertificateSigningRequest /spec/extra",
    "CertificateSigningRequest /spec/groups",
    "CertificateSigningRequest /spec/uid",
    "CertificateSigningRequest /spec/username",
    "CustomResourceDefinition /status/storedVersions",
    "EndpointSlice /endpoints/*/hints",
    "Ingress /spec/ingressClassName",
    "Job /spec/podReplacementPolicy",
    "Job /spec/selector",
    "Job /spec/template/metadata/labels",
    "Namespace /spec/finalizers",
    "Node /spec/taints",
    "PersistentVolumeClaim /spec/storageClassName",
    "Pod /spec/containers/*/resources",
    "Pod /spec/containers/*/volumeMounts",
    "Pod /spec/imagePullSecrets",
    "Pod /spec/initContainers/*/volumeMounts",
    "Pod /spec/nodeName",
    "Pod /spec/nodeSelector",
    "Pod /spec/overhead",
    "Pod /spec/preemptionPolicy",
    "Pod /spec/priority",
    "Pod /spec/serviceAccount",
    "Pod /spec/tolerations",
    "Pod /spec/volumes",
    "Pod /status/qosClass",
    "Service /spec/clusterIP",
    "Service /spec/healthCheckNodePort",
    "Service /spec/internalTrafficPolicy",
    "Service /spec/ipFamil",
    "Service /spec/ports/*/nodePort",
    "StatefulSet /spec/persistentVolumeClaimRetentionPolicy",
    "StatefulSet /spec/updateStrategy/rollingUpdate/maxUnavailable",
];

/// Steps whose object is another than the one that was sent.
const SKIPPED_STEPS: &[&str] = &["body-no-version", "create-v2-to-read-as-v1"];

/// The places at which two documents differ, with `*` for indexes.
fn differences(ours: &Value, theirs: &Value, place: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let at = format!("{place}/{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(a, b, &at, found),
                    (a, b) => found.push(format!("{at}: {a:?} for {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| differences(a, b, &format!("{place}/*"), found));
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{place}: {a} for {b}")),
    }
}

/// What a create would answer, as far as decoding and defaulting decide it.
fn created(row: &kinds::Resource, sent: &Value) -> Option<Value> {
    let mut object = sent.clone();
    skiff_api::decode::check_fields(&mut object, row.schema).ok()?;
    skiff_api::decode::normalize(&mut object, row.schema);
    skiff_api::defaults::apply(row, &mut object);
    skiff_api::decode::normalize(&mut object, row.schema);
    Some(object)
}

/// The recorded requests and answers, by file; nothing, with a remark, where there are none.
fn cases() -> Vec<(String, Value)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/cases"));
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no {}", folder.display());
        return Vec::new();
    };
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_slice(&std::fs::read(&path).expect("a case")).expect("JSON"))
    };
    entries.map(|entry| read(entry.expect("an entry").path())).collect()
}

/// The row of the table for an object.
fn row_of(object: &Value) -> Option<&'static Arc<kinds::Resource>> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kinds::find_kind(group, version, object["kind"].as_str().unwrap_or_default())
}

#[test]
fn rows_are_those_of_the_record() {
    let cases = cases();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (file, case) in &cases {
        // Objects as they were last seen, by what a table says about its rows.
        let mut objects = std::collections::BTreeMap::new();
        for step in case["steps"].as_array().expect("steps") {
            let (path, got) = (step["request"]["path"].as_str().unwrap_or_default(), &step["response"]["body"]);
            let items = got["items"].as_array().map_or(std::slice::from_ref(got), Vec::as_slice);
            for object in items.iter().filter(|object| row_of(object).is_some()) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                objects.insert((path.split('?').next().unwrap_or_default().to_owned(), name.clone()), object);
                let object_path = path.strip_suffix("/status").unwrap_or(path);
                let above = object_path.rsplit_once('/').map_or(path, |(above, _)| above);
                objects.insert((above.to_owned(), name), object);
            }
            for shown in got["rows"].as_array().into_iter().flatten() {
                let name = shown["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let collection = path.split('?').next().unwrap_or_default().to_owned();
                let Some(object) = objects.get(&(collection, name.clone())) else { continue };
                let Some(row) = row_of(object) else { continue };
                // Rows are made of objects as they are stored.
                if row.group == "events.k8s.io" {
                    continue;
                }
                compared += 1;
                let columns = table::columns(&row.group, &row.kind);
                let cells = table::row(&row.group, &row.kind, object, "2024-01-01T00:00:00Z".parse().expect("a time"));
                for (index, column) in got["columnDefinitions"].as_array().into_iter().flatten().enumerate() {
                    let heading = column["name"].as_str().unwrap_or_default();
                    let at = columns.iter().position(|column| column.name == heading);
                    let at = at.unwrap_or_else(|| panic!("{file}: no column {heading}"));
                    let (ours, theirs) = (&cells[at], &shown["cells"][index]);
                    let changes = theirs.as_str().is_some_and(|text| {
                        ["<age>", "<time>", "<ip>", "<nodePort>"].iter().any(|mark| text.contains(mark))
                    });
                    if ours != theirs && !changes && heading != "Targets" && heading != "Last Schedule" {
                        wrong.push(format!(
                            "{file} {}: {} {name} {heading}: {ours} for {theirs}",
                            step["name"], row.kind
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "of {compared} rows:\n{}", wrong.join("\n"));
    assert!(cases.is_empty() || compared > 60, "only {compared} rows were compared");
}

#[test]
fn created_objects_are_defaulted_as_in_the_record() {
    let cases = cases();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (file, case) in &cases {
        for step in case["steps"].as_array().expect("steps") {
            let (sent, got) = (&step["request"]["body"], &step["response"]["body"]);
            let name = step["name"].as_str().unwrap_or_default();
            let is_create = step["request"]["method"] == "POST" && step["response"]["status"] == 201;
            if !is_create || sent["kind"] != got["kind"] || SKIPPED_STEPS.contains(&name) {
                continue;
            }
            let Some(row) = row_of(got).filter(|row| row.is_stored()) else { continue };
            let kind = &*row.kind;
            let Some(ours) = created(row, sent) else { continue };
            compared += 1;
            let mut found = Vec::new();
            differences(&ours, got, "", &mut found);
            found.retain(|at| {
                let elsewhere = |rule: &str| {
                    let (of, prefix) = rule.split_once(' ').unwrap_or(("", rule));
                    (of == "*" || of == kind) && at.starts_with(prefix)
                };
                !FROM_ELSEWHERE.iter().any(|rule| elsewhere(rule))
            });
            wrong.extend(found.into_iter().map(|at| format!("{file} {name}: {kind} {at}")));
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} objects:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.is_empty() || compared > 300, "only {compared} objects were compared");
}
