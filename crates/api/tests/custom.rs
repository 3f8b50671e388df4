//! Compares what schemas of custom resources do with records of a real API server, where they lie beside the project.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use regex::Regex;
use serde_json::Value;
use skiff_api::field::{ErrorList, Path};
use skiff_api::status::Status;
use skiff_api::structural::{Malformed, Structural, check};

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

fn steps(case: &Value) -> impl Iterator<Item = &Value> {
    case["steps"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The schemas that a case defines, by kind and version; what is stored in another version is changed by that.
fn schemas(case: &Value) -> BTreeMap<(String, String), Structural> {
    let mut schemas = BTreeMap::new();
    for step in steps(case).filter(|step| step["response"]["status"] == 201) {
        let definition = &step["request"]["body"];
        if definition["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        for version in versions.filter(|version| version["storage"] == true) {
            let api_version = format!("{}/{}", text(definition, "/spec/group"), text(version, "/name"));
            let tree = Structural::parse(&version["schema"]["openAPIV3Schema"]).expect("the server took the schema");
            schemas.insert((text(definition, "/spec/names/kind").to_owned(), api_version), tree);
        }
    }
    schemas
}

/// What is wrong according to the record, in the words of v1.35 where they are known.
fn recorded(step: &Value) -> BTreeSet<(String, String)> {
    let causes = step["response"]["body"]["details"]["causes"].as_array();
    causes
        .into_iter()
        .flatten()
        .map(|cause| (text(cause, "/field").to_owned(), text(cause, "/message").to_owned()))
        .collect()
}

/// Whether the errors are those of a step, and if not, what they are.
fn refused(step: &Value, errors: ErrorList, kind: &str) -> Result<(), String> {
    let status = Status::invalid("g", kind, "n", errors);
    if let Some(pattern) = step["match"]["message"].as_str() {
        // The replayer's expressions are Python's, which these read alike.
        let is_match = Regex::new(pattern).expect("a pattern").is_match(&status.message);
        return if is_match { Ok(()) } else { Err(format!("{} for {pattern}", status.message)) };
    }
    let ours: BTreeSet<(String, String)> = status.to_json()["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cause| (text(cause, "/field").to_owned(), text(cause, "/message").to_owned()))
        .collect();
    // Values that are no scalars are not recorded.
    let same = |theirs: &(String, String)| {
        let (before, after) = theirs.1.split_once("<value>").unwrap_or((&theirs.1, ""));
        ours.iter()
            .any(|(field, message)| *field == theirs.0 && message.starts_with(before) && message.ends_with(after))
    };
    let theirs = recorded(step);
    if theirs.len() == ours.len() && theirs.iter().all(same) { Ok(()) } else { Err(format!("{ours:?} for {theirs:?}")) }
}

#[test]
fn custom_resources_are_conformed_and_refused_as_in_the_record() {
    let cases = cases();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (file, case) in &cases {
        let schemas = schemas(case);
        for step in steps(case).filter(|step| step["request"]["method"] == "POST") {
            let (sent, got) = (&step["request"]["body"], &step["response"]["body"]);
            let name = text(step, "/name");
            let key = (text(sent, "/kind").to_owned(), text(sent, "/apiVersion").to_owned());
            let Some(schema) = schemas.get(&key) else { continue };
            let mut object = sent.clone();
            let conformed = schema.conform(&mut object, Malformed::Refuse);
            match step["response"]["status"].as_u64() {
                Some(201) => {
                    compared += 1;
                    if object["spec"] != got["spec"] {
                        wrong.push(format!("{file} {name}: {} for {}", object["spec"], got["spec"]));
                    }
                    let errors = schema.validate(&object, None);
                    if !errors.is_empty() {
                        wrong.push(format!("{file} {name}: {errors:?}"));
                    }
                }
                Some(400) if text(got, "/message").contains("cannot be handled") => {
                    compared += 1;
                    let unknown = conformed.unwrap_or_else(|_| vec!["malformed".to_owned()]);
                    if unknown.is_empty() {
                        wrong.push(format!("{file} {name}: taken for {}", got["message"]));
                    }
                    for path in unknown.iter().filter(|path| *path != "malformed") {
                        if !text(got, "/message").contains(&skiff_api::decode::unknown_field(path)) {
                            wrong.push(format!("{file} {name}: {path} for {}", got["message"]));
                        }
                    }
                }
                Some(422) => {
                    let is_schemas = |(field, _): &(String, String)| !field.starts_with("metadata");
                    let errors = schema.validate(&object, None);
                    // Rules are not run here.
                    let is_rules = errors.is_empty() && schema.any(&|node| !node.extensions.validations.is_empty());
                    if !is_rules && recorded(step).iter().all(is_schemas) {
                        compared += 1;
                        let judged = refused(step, errors, &key.0);
                        wrong.extend(judged.err().map(|found| format!("{file} {name}: {found}")));
                    }
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} custom resources:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.is_empty() || compared > 45, "only {compared} custom resources were compared");
}

/// What is wrong with the parts of a definition that this crate's checks know, as if all versions had the same.
fn judged(definition: &Value) -> ErrorList {
    let spec = Path::new("spec");
    let mut errors = ErrorList::new();
    for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
        let schema = &version["schema"]["openAPIV3Schema"];
        let has_status = version["subresources"]["status"].is_object();
        errors.extend(check::schema(schema, &spec.child("validation").child("openAPIV3Schema"), has_status));
        for (index, column) in version["additionalPrinterColumns"].as_array().into_iter().flatten().enumerate() {
            errors.extend(check::printer_column(column, &spec.child("additionalPrinterColumns").index(index)));
        }
        if let Some(scale) = version["subresources"].get("scale") {
            errors.extend(check::scale(scale, &spec.child("subresources").child("scale")));
        }
    }
    errors
}

#[test]
fn definitions_are_refused_as_in_the_record() {
    let is_ours = |field: &str| {
        let ours = ["spec.validation.", "spec.additionalPrinterColumns", "spec.subresources"];
        // Whether rules compile is not looked at here.
        ours.iter().any(|prefix| field.starts_with(prefix)) && !field.ends_with(".rule")
    };
    let cases = cases();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (file, case) in &cases {
        for step in steps(case) {
            let definition = &step["request"]["body"];
            if definition["kind"] != "CustomResourceDefinition" || step["request"]["method"] != "POST" {
                continue;
            }
            let name = text(step, "/name");
            match step["response"]["status"].as_u64() {
                Some(201) => {
                    compared += 1;
                    let errors = judged(definition);
                    if !errors.is_empty() {
                        wrong.push(format!("{file} {name}: {errors:?}"));
                    }
                }
                Some(422) if recorded(step).iter().any(|(field, _)| is_ours(field)) => {
                    compared += 1;
                    let found = refused(step, judged(definition), "CustomResourceDefinition");
                    wrong.extend(found.err().map(|found| format!("{file} {name}: {found}")));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} definitions:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.is_empty() || compared > 20, "only {compared} definitions were compared");
}
