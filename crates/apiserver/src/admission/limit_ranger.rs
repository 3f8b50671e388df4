//! LimitRanger: containers take the defaults of their namespace's limit ranges; what pods and claims ask for lies within
//! them.

use std::collections::BTreeSet;

use api::quantity::Quantity;
use api::status::Status;
use serde_json::{Value, json};

use super::documents::Kept;
use super::{Attributes, Handler, Operation, Plugin};
use api::quota::amounts::{self, Amounts};

/// Tells which amounts of a pod came from a limit range.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(set_defaults))],
    validate: &[(Operation::Create, Handler::Now(check)), (Operation::Update, Handler::Now(check))],
    ..Plugin::named("LimitRanger")
};

/// Sets the defaults.
fn set_defaults(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    for range in attributes.all_here(Kept::LimitRanges) {
        apply(&range, object);
    }
    Ok(())
}

/// Refuses what lies outside.
fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    // Only a resize changes what a pod that is there asks for.
    let is_pod = match attributes.operation {
        Operation::Create => attributes.is("", "pods"),
        Operation::Update => attributes.is_subresource("", "pods", "resize"),
        Operation::Delete | Operation::Connect => false,
    };
    let is_claim = attributes.is("", "persistentvolumeclaims");
    if !(is_pod || is_claim) || attributes.old.is_some_and(api::meta::is_deleting) {
        return Ok(());
    }
    for range in attributes.all_here(Kept::LimitRanges) {
        let errors = violations(&range, object, is_pod);
        if !errors.is_empty() {
            return Err(attributes.forbidden(object, aggregate(errors)));
        }
    }
    Ok(())
}

fn limits_of<'a>(range: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let limits = range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten();
    limits.filter(move |limit| limit.get("type").and_then(Value::as_str) == Some(kind))
}

/// Gives containers the defaults of a limit range, and notes which.
fn apply(range: &Value, pod: &mut Value) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for limit in limits_of(range, "Container") {
        requests.extend(amounts::read(limit.get("defaultRequest")));
        limits.extend(amounts::read(limit.get("default")));
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            for (part, defaults, word) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = complete(container, part, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let annotations = api::meta::metadata_mut(pod).entry("annotations").or_insert_with(|| json!({}));
        annotations[ANNOTATION] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// Adds the amounts that a container leaves out; returns their names.
fn complete(container: &mut Value, part: &str, defaults: &Amounts) -> Vec<String> {
    let given = amounts::resources(container, part);
    let missing: Vec<_> = defaults.iter().filter(|(name, _)| !given.contains_key(*name)).collect();
    for (name, amount) in &missing {
        container["resources"][part][name.as_str()] = amount.to_string().into();
    }
    missing.into_iter().map(|(name, _)| name.clone()).collect()
}

/// How an object breaks a limit range.
fn violations(range: &Value, object: &Value, is_pod: bool) -> Vec<String> {
    let mut errors = Vec::new();
    if !is_pod {
        let requests = amounts::resources(&object["spec"], "requests");
        for limit in limits_of(range, "PersistentVolumeClaim") {
            let asked = Asked { what: "PersistentVolumeClaim", requests: &requests, limits: &Amounts::new() };
            asked.check_min(limit, &mut errors);
            asked.check_max_request(limit, &mut errors);
        }
        return errors;
    }
    for limit in range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten() {
        let mut check = |what, requests: &Amounts, limits: &Amounts| {
            let asked = Asked { what, requests, limits };
            asked.check_min(limit, &mut errors);
            asked.check_max(limit, &mut errors);
            asked.check_ratio(limit, &mut errors);
        };
        match limit.get("type").and_then(Value::as_str) {
            Some("Container") => {
                for list in ["containers", "initContainers"] {
                    for container in amounts::containers(object, list) {
                        let of = |part| amounts::resources(container, part);
                        check("Container", &of("requests"), &of("limits"));
                    }
                }
            }
            Some("Pod") => check("Pod", &amounts::of_pod(object, "requests"), &amounts::of_pod(object, "limits")),
            _ => {}
        }
    }
    errors
}

/// What something asks for.
struct Asked<'a> {
    what: &'static str,
    requests: &'a Amounts,
    limits: &'a Amounts,
}

impl Asked<'_> {
    fn check_min(&self, limit: &Value, errors: &mut Vec<String>) {
        for (name, min) in amounts::read(limit.get("min")) {
            let rule = format!("minimum {name} usage per {} is {min}", self.what);
            match (self.requests.get(&name), self.limits.get(&name)) {
                (None, _) => errors.push(format!("{rule}.  No request is specified")),
                (Some(request), _) if *request < min => errors.push(format!("{rule}, but request is {request}")),
                (_, Some(limit)) if *limit < min => errors.push(format!("{rule}, but limit is {limit}")),
                _ => {}
            }
        }
    }

    fn check_max(&self, limit: &Value, errors: &mut Vec<String>) {
        for (name, max) in amounts::read(limit.get("max")) {
            let rule = format!("maximum {name} usage per {} is {max}", self.what);
            match (self.limits.get(&name), self.requests.get(&name)) {
                (None, _) => errors.push(format!("{rule}.  No limit is specified")),
                (Some(limit), _) if *limit > max => errors.push(format!("{rule}, but limit is {limit}")),
                (_, Some(request)) if *request > max => errors.push(format!("{rule}, but request is {request}")),
                _ => {}
            }
        }
    }

    fn check_max_request(&self, limit: &Value, errors: &mut Vec<String>) {
        for (name, max) in amounts::read(limit.get("max")) {
            let rule = format!("maximum {name} usage per {} is {max}", self.what);
            match self.requests.get(&name) {
                None => errors.push(format!("{rule}.  No request is specified")),
                Some(request) if *request > max => errors.push(format!("{rule}, but request is {request}")),
                Some(_) => {}
            }
        }
    }

    fn check_ratio(&self, limit: &Value, errors: &mut Vec<String>) {
        for (name, max) in amounts::read(limit.get("maxLimitRequestRatio")) {
            let rule = format!("{name} max limit to request ratio per {} is {max}", self.what);
            let of = |amounts: &Amounts| amounts.get(&name).copied().filter(|amount| !amount.is_zero());
            match (of(self.requests), of(self.limits)) {
                (None, _) => errors.push(format!("{rule}, but no request is specified or request is 0")),
                (_, None) => errors.push(format!("{rule}, but no limit is specified or limit is 0")),
                (Some(request), Some(limit)) => {
                    let ratio = ratio(limit, request);
                    if ratio > max.as_f64() {
                        errors.push(format!("{rule}, but provided ratio is {ratio:.6}"));
                    }
                }
            }
        }
    }
}

fn ratio(limit: Quantity, request: Quantity) -> f64 {
    limit.as_f64() / request.as_f64()
}

/// One message for several: each once, in brackets if there is more than one.
fn aggregate(errors: Vec<String>) -> String {
    let mut seen = BTreeSet::new();
    let errors: Vec<_> = errors.into_iter().filter(|error| seen.insert(error.clone())).collect();
    match errors.as_slice() {
        [error] => error.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: &Value, object: &Value, expected: &str) {
        let errors =
            violations(&json!({"spec": {"limits": [limit]}}), object, limit["type"] != "PersistentVolumeClaim");
        assert_eq!(errors.join("|"), expected);
    }

    #[test]
    fn what_lies_outside_is_named() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        let max = json!({"type": "Container", "max": {"cpu": "1"}});
        check(&max, &pod(json!({"limits": {"cpu": "1"}})), "");
        check(&max, &pod(json!({})), "maximum cpu usage per Container is 1.  No limit is specified");
        check(&max, &pod(json!({"limits": {"cpu": "2"}})), "maximum cpu usage per Container is 1, but limit is 2");
        let min = json!({"type": "Pod", "min": {"cpu": "1"}});
        check(&min, &pod(json!({})), "minimum cpu usage per Pod is 1.  No request is specified");
        check(&min, &pod(json!({"requests": {"cpu": "1m"}})), "minimum cpu usage per Pod is 1, but request is 1m");
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "1500m"}});
        let given = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
        check(
            &ratio,
            &pod(given),
            "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
        );
        let claims = json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}});
        let claim = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        check(&claims, &claim, "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi");
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let limit =
            json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "1m"}});
        let mut pod = json!({"spec": {
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}],
            "initContainers": [{"name": "i"}],
        }});
        apply(&json!({"spec": {"limits": [limit]}}), &mut pod);
        let container = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(*container, json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1m"}}));
        let note = "LimitRanger plugin set: cpu request for container c; memory limit for container c; cpu request for \
                    init container i; cpu, memory limit for init container i";
        assert_eq!(pod["metadata"]["annotations"][ANNOTATION], note);
    }
}
