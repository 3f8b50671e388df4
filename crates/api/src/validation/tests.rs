//! Validation against upstream's recorded answers: every recorded create, update and patch of a kind with rules is
//! judged here, and what upstream refused must be refused with the same causes, what it took must be taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};

use regex::Regex;
use serde_json::{Value, json};

use super::{create, rules, status_update, update};
use crate::field::{ErrorList, Path};
use crate::kinds::{self, Resource};
use crate::status::Status;
use crate::{decode, defaults, meta, patch};

mod unrecorded;

/// Refusals that come from elsewhere in the API server, and what refuses there.
const NOT_VALIDATION: [(&str, &str, &str); 29] = [
    ("admission-quota-limits", "priority-immutable", "the priority admission plug-in"),
    ("certificatesigningrequests", "failed-by-status", "the strategy that keeps decisions and dates conditions"),
    ("crd-definitions", "bad-default-bad-type", "v1.35 has a reason for wrong types"),
    ("crd-definitions", "stored-version-not-removable", "v1.35 has other words"),
    ("field-validation", "*", "decoding"),
    ("jobs-cronjobs", "job-selector-without-manual", "the strategy that makes the selector from the UID"),
    ("patches", "json-wrong-type", "decoding"),
    ("patches", "json-kind", "decoding"),
    ("pods-status-binding-eviction", "tolerations-replaced-*", "the toleration admission plug-in"),
    ("services", "back-to-clusterip-drops-nodeports", "the strategy of services"),
    ("services", "to-externalname-drops-ip", "the strategy of services"),
    ("patches", "json-test-fails", "patching"),
    ("patches", "json-remove-missing", "patching"),
    ("patches", "json-add-missing-parent", "patching"),
    ("patches", "json-unknown-op", "patching"),
    ("newer-fields", "cel-compile-error", "the expressions of definitions"),
    ("patches", "force-on-merge", "the options of the request"),
    ("pod-security", "*", "the pod security admission plug-in"),
    ("server-side-apply", "*", "applying"),
    ("services", "bad-dual", "the allocator of cluster IPs"),
    ("services", "bad-ip-out-of-range", "the allocator of cluster IPs"),
    ("services", "bad-ipv6", "the allocator of cluster IPs"),
    ("services", "bad-nodeport-range", "the allocator of node ports"),
    ("services", "fixed-address-taken", "the allocator of cluster IPs"),
    ("services", "fixed-nodeport-taken", "the allocator of node ports"),
    ("validation-metadata", "bad-dryrun", "the options of the request"),
    ("validation-metadata", "fieldManager-too-long", "the options of the request"),
    ("validation-metadata", "fieldManager-unprintable", "the options of the request"),
    ("validation-metadata", "delete-options-*", "the options of the request"),
];

fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("SKIFF_SHARED").map(PathBuf::from);
    let beside = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    [named, Some(beside)].into_iter().flatten().find(|path| path.join("golden/cases").is_dir())
}

/// Fills what the recorder replaced with values of the right shape.
fn concrete(text: &str) -> String {
    let text = text.replace("${NS}", "golden").replace("<uid>", "00000000-0000-4000-8000-000000000001");
    let text = text.replace("<time>", "2024-01-01T00:00:00Z").replace("<microtime>", "2024-01-01T00:00:00.000000Z");
    let text = text.replace("<rand>", "abcde").replace("<ip>", "10.96.0.77").replace("<rv>", "7");
    let text = text.replace("\"<nodePort>\"", "30077");
    let repeat = Regex::new(r"\$\{repeat:(.):(\d+)\}").expect("the pattern is valid");
    let repeated = repeat.replace_all(&text, |found: &regex::Captures<'_>| {
        found[1].repeat(found[2].parse().expect("the pattern has digits"))
    });
    repeated.into_owned()
}

/// What a request path names.
struct Target {
    resource: &'static Resource,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

fn target(path: &str) -> Option<Target> {
    let mut parts = path.split('?').next()?.trim_matches('/').split('/');
    let (group, version) = match parts.next()? {
        "api" => ("", parts.next()?),
        "apis" => (parts.next()?, parts.next()?),
        _ => return None,
    };
    let mut parts: Vec<&str> = parts.collect();
    let mut namespace = None;
    if parts.len() > 2 && parts[0] == "namespaces" && kinds::find(group, version, parts[2]).is_some() {
        namespace = Some(parts[1].to_owned());
        parts.drain(..2);
    }
    let mut parts = parts.into_iter().map(str::to_owned);
    let resource = kinds::find(group, version, &parts.next()?)?;
    Some(Target { resource, namespace, name: parts.next(), subresource: parts.next() })
}

/// An object as validation sees it.
fn prepared(target: &Target, mut object: Value) -> Option<Value> {
    if !object.is_object() {
        return None;
    }
    decode::check_fields(&mut object, target.resource.schema).ok()?;
    decode::normalize(&mut object, target.resource.schema);
    defaults::apply(target.resource, &mut object);
    if let (true, Some(namespace)) = (target.resource.namespaced, &target.namespace) {
        meta::set_namespace(&mut object, namespace);
    }
    Some(object)
}

/// Does by hand what strategies and admission do before validation.
fn admitted(target: &Target, object: &mut Value) {
    if let Some(prefix) = meta::generate_name(object).map(str::to_owned)
        && meta::name(object).is_empty()
    {
        let prefix: String = prefix.chars().take(58).collect();
        meta::set_name(object, &format!("{prefix}abcde"));
    }
    meta::remove(object, "deletionTimestamp");
    let has_text = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
    };
    cluster_ips(target, object);
    match &*target.resource.kind {
        "Pod" if !has_text(object, "/spec/serviceAccountName") && object.get("spec").is_some() => {
            object["spec"]["serviceAccountName"] = "default".into();
        }
        "Namespace" => {
            let name = meta::name(object).to_owned();
            meta::set_label(object, "kubernetes.io/metadata.name", &name);
        }
        "Job" if object.pointer("/spec/manualSelector") != Some(&true.into()) && object.get("spec").is_some() => {
            meta::set_uid(object, "1");
            let name = meta::name(object).to_owned();
            let labels = &mut object["spec"]["template"]["metadata"]["labels"];
            for (label, value) in [("controller-uid", "1"), ("job-name", &name)] {
                labels[label] = value.into();
                labels[format!("batch.kubernetes.io/{label}")] = value.into();
            }
            object["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = "1".into();
        }
        _ => {}
    }
}

/// The strategy notes the version in which a definition's objects are stored.
fn stored_versions(object: &mut Value) {
    if object["kind"] != "CustomResourceDefinition" || object.pointer("/status/storedVersions/0").is_some() {
        return;
    }
    let versions = object.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let mut stored = versions.filter(|version| version["storage"] == true).map(|version| version["name"].clone());
    let first = stored.next().into_iter().collect();
    object["status"]["storedVersions"] = Value::Array(first);
}

/// Does what the strategy of services does: the list of addresses follows the single one.
fn cluster_ips(target: &Target, object: &mut Value) {
    if target.resource.kind != "Service" {
        return;
    }
    if let Some(address) = object.pointer("/spec/clusterIP").cloned() {
        object["spec"]["clusterIPs"] = json!([address]);
    }
}

/// The causes that a client sees. Values that are no scalars are not compared: older servers printed them as Go source.
fn causes(status: &Value) -> Vec<(String, String, String)> {
    let structured = Regex::new(r"^((?:Invalid|Unsupported|Duplicate) value: )([\[{].*[\]}]|null)(: |$)")
        .expect("the pattern is valid");
    let uid = Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("the pattern is valid");
    let supported = Regex::new("supported values: (.*)$").expect("the pattern is valid");
    let causes = status.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
    let mut list: Vec<_> = causes
        .map(|cause| {
            let text = |field: &str| cause.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let message = structured.replace(&text("message"), "$1<value>$3").into_owned();
            let message = uid.replace_all(&message, "<uid>").into_owned();
            let message = supported.replace(&message, |found: &regex::Captures<'_>| {
                let mut values: Vec<&str> = found[1].split(", ").collect();
                values.sort_unstable();
                format!("supported values: {}", values.join(", "))
            });
            (text("field"), text("reason"), message.into_owned())
        })
        .collect();
    list.sort();
    list
}

/// One recorded exchange, judged by our rules.
struct Outcome {
    status: Option<Value>,
    name: String,
}

fn judged(target: &Target, errors: ErrorList, object: &Value) -> Outcome {
    let (group, kind) = (&*target.resource.group, &*target.resource.kind);
    let name = meta::name(object).to_owned();
    let status = (!errors.is_empty()).then(|| Status::invalid(group, kind, &name, errors).to_json());
    Outcome { status, name }
}

fn run(method: &str, target: &Target, request: &Value, live: &BTreeMap<String, Value>, path: &str) -> Option<Outcome> {
    let body = request.get("body").cloned();
    match (method, target.subresource.as_deref()) {
        ("POST", None) if target.name.is_none() => {
            let mut object = prepared(target, body?)?;
            admitted(target, &mut object);
            stored_versions(&mut object);
            Some(judged(target, create(target.resource, &object), &object))
        }
        ("PUT" | "PATCH", None | Some("status" | "ephemeralcontainers")) => {
            let main = match &target.subresource {
                Some(subresource) => path.strip_suffix(&format!("/{subresource}"))?,
                None => path,
            };
            let old = prepared(target, live.get(main)?.clone())?;
            let content_type = request.pointer("/headers/Content-Type").and_then(Value::as_str).unwrap_or_default();
            let mut new = match (method, content_type) {
                ("PUT", _) => body?,
                (_, "application/json-patch+json") => patch::json::apply(old.clone(), &body?).ok()?,
                (_, "application/merge-patch+json") => patch::merge::apply(old.clone(), body?).ok()?,
                (_, "application/strategic-merge-patch+json") => {
                    patch::strategic::apply(old.clone(), body?, target.resource.schema).ok()?
                }
                _ => return None,
            };
            // The server fills in what identifies the object, and keeps the part that the request is not about.
            for field in ["uid", "generation", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds"] {
                if let (Some(value), None) = (old["metadata"].get(field), new["metadata"].get(field)) {
                    meta::set(&mut new, field, value.clone());
                }
            }
            if let Some(value) = old["metadata"].get("creationTimestamp") {
                meta::set(&mut new, "creationTimestamp", value.clone());
            }
            let mut new = prepared(target, new)?;
            if new.pointer("/spec/clusterIP") != old.pointer("/spec/clusterIP") {
                cluster_ips(target, &mut new);
            }
            let keep = |new: &mut Value, field: &str| match old.get(field) {
                Some(value) => new[field] = value.clone(),
                None => {
                    new.as_object_mut().expect("an object").remove(field);
                }
            };
            let errors = match target.subresource.as_deref() {
                Some("status") => {
                    keep(&mut new, "spec");
                    status_update(target.resource, &new, &old, jiff::Timestamp::UNIX_EPOCH)
                }
                Some(_) => super::ephemeral_containers_update(target.resource, &new, &old),
                None => {
                    if target.resource.subresources.iter().any(|found| found.name == "status") {
                        keep(&mut new, "status");
                    }
                    update(target.resource, &new, &old)
                }
            };
            Some(judged(target, errors, &new))
        }
        _ => None,
    }
}

fn is_elsewhere(topic: &str, step: &str) -> bool {
    NOT_VALIDATION.iter().any(|(found, name, _)| {
        *found == topic
            && match name.strip_suffix('*') {
                Some(prefix) => step.starts_with(prefix),
                None => *name == step,
            }
    })
}

/// What differs between a recorded answer and ours.
fn difference(step: &Value, ours: Option<&Value>) -> Option<String> {
    let theirs = &step["response"]["body"];
    let refused = step["response"]["status"] == 422;
    match (refused, ours) {
        (false, None) => None,
        (false, Some(ours)) => Some(format!("refused what upstream takes: {}", ours["message"])),
        (true, None) => Some(format!("takes what upstream refuses: {}", theirs["message"])),
        (true, Some(ours)) => {
            if let Some(pattern) = step.pointer("/match/message").and_then(Value::as_str) {
                let pattern = Regex::new(&concrete(&pattern.replace(r"\$\{NS\}", "golden")))
                    .expect("the recorded pattern is valid");
                let message = ours["message"].as_str().unwrap_or_default();
                return (!pattern.is_match(message)).then(|| format!("{message} does not match {pattern}"));
            }
            let (ours, theirs) = (causes(ours), causes(theirs));
            (ours != theirs).then(|| format!("ours {ours:#?}\n  theirs {theirs:#?}"))
        }
    }
}

#[test]
fn upstreams_answers_are_given() {
    let Some(shared) = shared() else {
        eprintln!("skipped: no golden records (set SKIFF_SHARED)");
        return;
    };
    let mut differences = Vec::new();
    let mut compared = 0;
    let files: BTreeSet<PathBuf> = std::fs::read_dir(shared.join("golden/cases"))
        .expect("the cases can be listed")
        .map(|entry| entry.expect("the entry can be read").path())
        .collect();
    for file in files {
        let topic = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let text = concrete(&std::fs::read_to_string(&file).expect("the case can be read"));
        let case: Value = serde_json::from_str(&text).expect("the case is JSON");
        let mut live: BTreeMap<String, Value> = BTreeMap::new();
        for step in case["steps"].as_array().expect("a case has steps") {
            let request = &step["request"];
            let path = request["path"].as_str().unwrap_or_default();
            let plain = path.split('?').next().unwrap_or_default();
            let (Some(target), Some(method)) = (target(path), request["method"].as_str()) else {
                continue;
            };
            let step_name = step["name"].as_str().unwrap_or_default();
            let status = step["response"]["status"].as_u64().unwrap_or(0);
            let answered = [200, 201, 422].contains(&status);
            if answered
                && rules::find(target.resource).is_some()
                && !is_elsewhere(&topic, step_name)
                && let Some(outcome) = run(method, &target, request, &live, plain)
            {
                compared += 1;
                if let Some(difference) = difference(step, outcome.status.as_ref()) {
                    differences.push(format!("{topic} {step_name} ({}): {difference}", outcome.name));
                }
            }
            let body = &step["response"]["body"];
            if (200..202).contains(&status) && body.get("kind").and_then(Value::as_str) == Some(&target.resource.kind) {
                let key = if target.name.is_some() {
                    match &target.subresource {
                        Some(subresource) => plain.trim_end_matches(&format!("/{subresource}")).to_owned(),
                        None => plain.to_owned(),
                    }
                } else {
                    format!("{plain}/{}", meta::name(body))
                };
                live.insert(key, body.clone());
            }
        }
    }
    assert!(compared > 500, "only {compared} recorded exchanges were compared");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn a_kind_has_its_rules_once() {
    let mut seen = BTreeSet::new();
    for rules in rules::all() {
        assert!(seen.insert(rules.key()), "{:?} is listed twice", rules.key());
        let (group, version, kind) = rules.key();
        assert!(kinds::find_kind(group, version, kind).is_some(), "{:?} is a kind", rules.key());
    }
}

#[test]
fn kinds_without_rules_have_their_metadata_judged() {
    let resource = kinds::find("", "v1", "serviceaccounts").expect("service accounts are built in");
    let object = json!({"metadata": {"name": "Bad_", "namespace": "a"}});
    let errors = create(resource, &object);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].field, Path::new("metadata").child("name").to_string());
}

/// Judges an update of a pod of which `change` changes the spec.
#[track_caller]
fn check_pod_update(change: impl Fn(&mut Value), expected: &[&str]) {
    let target = target("/api/v1/namespaces/a/pods/p").expect("pods are built in");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "default",
        "containers": [{"name": "c", "image": "i:1"}], "tolerations": [{"key": "a", "operator": "Exists"}]}});
    let old = prepared(&target, pod).expect("the pod is well formed");
    let mut new = old.clone();
    change(&mut new["spec"]);
    let errors = update(target.resource, &new, &old);
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, expected, "{errors:?}");
}

#[test]
fn few_fields_of_a_pod_may_change() {
    check_pod_update(|_| {}, &[]);
    check_pod_update(|spec| spec["containers"][0]["image"] = "i:2".into(), &[]);
    check_pod_update(|spec| spec["activeDeadlineSeconds"] = 5.into(), &[]);
    check_pod_update(
        |spec| spec["tolerations"] = json!([{"key": "a", "operator": "Exists"}, {"operator": "Exists"}]),
        &[],
    );
    check_pod_update(|spec| spec["tolerations"] = json!([]), &["spec.tolerations"]);
    check_pod_update(|spec| spec["nodeName"] = "n".into(), &["spec"]);
    check_pod_update(|spec| spec["containers"][0]["args"] = json!(["x"]), &["spec"]);
    check_pod_update(|spec| spec["containers"] = json!([]), &["spec.containers", "spec.containers"]);
}
