//! RuntimeClass: a pod carries the overhead of its runtime class and goes where the class says that it runs.

use std::sync::Arc;

use api::quota::amounts;
use api::status::Status;
use serde_json::{Value, json};

use super::documents::Kept;
use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(complete))],
    validate: &[(Operation::Create, Handler::Now(check))],
    ..Plugin::named("RuntimeClass")
};

/// Sets overhead, node selector and tolerations.
fn complete(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let Some(class) = class(attributes, object)? else { return Ok(()) };
    if let Some(overhead) = class.get("overhead") {
        check_overhead(attributes, object, overhead)?;
        if let Some(fixed) = overhead.get("podFixed") {
            object["spec"]["overhead"] = fixed.clone();
        }
    }
    let Some(scheduling) = class.get("scheduling") else { return Ok(()) };
    add_node_selector(attributes, object, scheduling)?;
    add_tolerations(object, scheduling);
    Ok(())
}

/// Refuses an overhead that is not the class's.
fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let class = class(attributes, object)?;
    match class.as_ref().and_then(|class| class.get("overhead")) {
        Some(overhead) => check_overhead(attributes, object, overhead),
        None if object["spec"].get("overhead").is_some() => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(attributes.forbidden(object, why))
        }
        None => Ok(()),
    }
}

fn class(attributes: &Attributes<'_>, object: &Value) -> Result<Option<Arc<Value>>, Status> {
    let Some(name) = object.pointer("/spec/runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    match attributes.named(Kept::RuntimeClasses, name) {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("pod rejected: RuntimeClass {} not found", api::field::quote(name));
            Err(attributes.forbidden(object, why))
        }
    }
}

fn check_overhead(attributes: &Attributes<'_>, object: &Value, overhead: &Value) -> Result<(), Status> {
    let given = object["spec"].get("overhead");
    if given.is_none() || amounts::read(given) == amounts::read(overhead.get("podFixed")) {
        return Ok(());
    }
    Err(attributes.forbidden(object, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
}

fn add_node_selector(attributes: &Attributes<'_>, object: &mut Value, scheduling: &Value) -> Result<(), Status> {
    let wanted = scheduling.get("nodeSelector").and_then(Value::as_object);
    for (key, value) in wanted.into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(given) = object["spec"].get("nodeSelector").and_then(|selector| selector.get(key))
            && given != value
        {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(given)
            );
            return Err(attributes.forbidden(object, why));
        }
        object["spec"]["nodeSelector"][key.as_str()] = value.clone();
    }
    Ok(())
}

/// Adds the class's tolerations, without those that another one covers.
fn add_tolerations(object: &mut Value, scheduling: &Value) {
    let Some(added) = scheduling.get("tolerations").and_then(Value::as_array).filter(|added| !added.is_empty()) else {
        return;
    };
    let given = object.pointer("/spec/tolerations").and_then(Value::as_array);
    let all: Vec<&Value> = given.into_iter().flatten().chain(added).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let is_kept = !merged.iter().any(|kept| covers(kept, toleration));
        if is_kept && !all[index + 1..].iter().any(|later| *later != *toleration && covers(later, toleration)) {
            merged.push((*toleration).clone());
        }
    }
    object["spec"]["tolerations"] = json!(merged);
}

/// Whether a toleration tolerates all that another one does.
fn covers(toleration: &Value, other: &Value) -> bool {
    fn text<'a>(toleration: &'a Value, field: &str) -> &'a str {
        toleration.get(field).and_then(Value::as_str).unwrap_or_default()
    }
    let seconds = |toleration: &Value| toleration.get("tolerationSeconds").and_then(Value::as_i64);
    if toleration == other {
        return true;
    }
    let (key, operator, effect) = (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
    if key != text(other, "key") && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if !effect.is_empty() && effect != text(other, "effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(longest) = seconds(toleration)
        && seconds(other).is_none_or(|seconds| seconds > longest)
    {
        return false;
    }
    match operator {
        "Exists" => true,
        "" | "Equal" => {
            matches!(text(other, "operator"), "" | "Equal") && text(toleration, "value") == text(other, "value")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_merged(given: Value, added: Value, expected: Value) {
        let mut pod = json!({"spec": {"tolerations": given}});
        add_tolerations(&mut pod, &json!({"tolerations": added}));
        assert_eq!(pod["spec"]["tolerations"], expected);
    }

    #[test]
    fn tolerations_that_others_cover_go() {
        let (all, a, b) = (json!({"operator": "Exists"}), json!({"key": "a", "value": "1"}), json!({"key": "b"}));
        check_merged(json!([a]), json!([b]), json!([a, b]));
        check_merged(json!([a]), json!([a]), json!([a]));
        check_merged(json!([a, b]), json!([all]), json!([all]));
        check_merged(json!([all]), json!([a]), json!([all]));
        let short = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 50});
        check_merged(json!([short]), json!([long]), json!([long]));
    }
}
