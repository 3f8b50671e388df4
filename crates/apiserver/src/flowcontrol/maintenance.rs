//! Keeps the objects of the configuration: those that every cluster has, and the conditions of all schemas.
//!
//! Mandatory objects are as they must be. A suggested one is kept up as long as its annotation says so, or as nobody has
//! changed it; what this server once wrote and does not suggest any more goes.

use std::sync::Arc;
use std::time::Duration;

use api::kinds::Resource;
use api::status::{Status, reason};
use base::Drain;
use serde_json::{Value, json};

use super::{GROUP, bootstrap};
use crate::access::Identity;
use crate::cache::{Selection, Watcher};
use crate::registry::{Caller, DeleteTarget, NewObject, Part, Registry, Scope, Writer, complete};

/// Whether this server keeps the specification of an object up.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Upstream's names for the writers of objects and of their status.
const PRODUCER: Writer<'static> = Writer { manager: "api-priority-and-fairness-config-producer-v1", subresource: "" };
const CONSUMER: Writer<'static> =
    Writer { manager: "api-priority-and-fairness-config-consumer-v1", subresource: "status" };

/// A safety net: changes are seen as they happen.
const RESYNC: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the objects until `drain`.
pub(crate) async fn run(registry: Arc<Registry>, drain: Drain) {
    while drain.until(follow(&registry)).await.is_some() {
        // The watch fell behind: start again from what is there.
    }
}

async fn follow(registry: &Registry) {
    let _ = registry.wait_for(1).await;
    let watch = |kind: &Kind| {
        let cache = registry.resource_cache(kind.resource).ok()?;
        Some(Watcher::from_now(registry.cache.clone(), cache, Selection::everything()).1)
    };
    let Some([levels, schemas]) = kinds() else { return };
    let Some((mut level_changes, mut schema_changes)) = watch(&levels).zip(watch(&schemas)) else { return };
    loop {
        let pause = match sync(registry, &levels, &schemas).await {
            Ok(()) => RESYNC,
            Err(status) => {
                tracing::warn!(err = %status.message, "priority levels and flow schemas could not be kept up");
                RETRY
            }
        };
        tokio::select! {
            changes = level_changes.changes() => if changes.is_err() { return },
            changes = schema_changes.changes() => if changes.is_err() { return },
            () = registry.env.sleep(pause) => {}
        }
    }
}

/// One of the two kinds, and its objects that every cluster has.
struct Kind {
    resource: &'static Arc<Resource>,
    mandatory: Vec<Value>,
    suggested: Vec<Value>,
}

fn kinds() -> Option<[Kind; 2]> {
    let kind = |plural, mandatory: Vec<Value>, suggested: Vec<Value>| {
        let resource = api::kinds::find(GROUP, "v1", plural)?;
        let completed = |mut objects: Vec<Value>| {
            objects.iter_mut().for_each(|object| complete(resource, object));
            objects
        };
        Some(Kind { resource, mandatory: completed(mandatory), suggested: completed(suggested) })
    };
    let levels = bootstrap::mandatory_levels().to_vec();
    Some([
        kind("prioritylevelconfigurations", levels, bootstrap::suggested_levels())?,
        kind("flowschemas", bootstrap::mandatory_schemas(), bootstrap::suggested_schemas())?,
    ])
}

async fn sync(registry: &Registry, levels: &Kind, schemas: &Kind) -> Result<(), Status> {
    registry.fresh().await?;
    for kind in [levels, schemas] {
        for (objects, is_mandatory) in [(&kind.mandatory, true), (&kind.suggested, false)] {
            for wanted in objects {
                keep(registry, kind, wanted, is_mandatory).await?;
            }
        }
        remove(registry, kind).await?;
    }
    conditions(registry, levels, schemas).await
}

/// Makes an object, or brings it up to date.
async fn keep(registry: &Registry, kind: &Kind, wanted: &Value, is_mandatory: bool) -> Result<(), Status> {
    let identity = Identity::server();
    let caller = Caller { writer: Some(PRODUCER), ..Caller::of(&identity) };
    let (scope, name) = (Scope { resource: kind.resource, namespace: None }, api::meta::name(wanted));
    let Some(found) = registry.cached(kind.resource, name) else {
        let mut value = wanted.clone();
        value["metadata"]["annotations"] = json!({AUTOUPDATE: "true"});
        return match registry.create(scope, NewObject { value, by_update: false }, caller).await {
            // Another server was first.
            Err(status) if status.reason == reason::ALREADY_EXISTS => Ok(()),
            other => other.map(drop),
        };
    };
    let found = found.value();
    if kept(&found, wanted, is_mandatory) == found {
        return Ok(());
    }
    let change = |current: &Value| Ok(kept(current, wanted, is_mandatory));
    registry.update(scope, name, Part::Main, caller, &change).await.map(drop)
}

/// An object as it should be.
fn kept(found: &Value, wanted: &Value, is_mandatory: bool) -> Value {
    let is_kept_up = is_mandatory || is_kept_up(found);
    let mut object = found.clone();
    object["metadata"]["annotations"][AUTOUPDATE] = is_kept_up.to_string().into();
    if is_kept_up {
        object["spec"] = wanted["spec"].clone();
        // Administrators may set the shares of the exempt level.
        if let Some(exempt) = found["spec"].get("exempt").filter(|_| wanted["spec"].get("exempt").is_some()) {
            object["spec"]["exempt"] = exempt.clone();
        }
    }
    object
}

fn is_kept_up(object: &Value) -> bool {
    match api::meta::annotation(object, AUTOUPDATE).map(parse_bool) {
        Some(Some(said)) => said,
        // Nobody has said anything: what nobody has changed since it was made is ours.
        Some(None) | None => object["metadata"]["generation"] == 1,
    }
}

/// The words that Go reads as booleans.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Removes what this server kept up and does not suggest any more.
async fn remove(registry: &Registry, kind: &Kind) -> Result<(), Status> {
    let identity = Identity::server();
    let snapshot = registry.resource_cache(kind.resource)?.snapshot(0);
    for object in snapshot.range(None) {
        let is_ours = |own: &Value| api::meta::name(own) == object.name();
        if kind.mandatory.iter().chain(&kind.suggested).any(is_ours) {
            continue;
        }
        if api::meta::annotation(&object.value(), AUTOUPDATE).and_then(parse_bool) != Some(true) {
            continue;
        }
        let scope = Scope { resource: kind.resource, namespace: None };
        let caller = Caller::of(&identity);
        let target = DeleteTarget { scope, name: object.name(), options: &Default::default(), caller };
        match registry.delete(target).await {
            Err(status) if status.reason == reason::NOT_FOUND => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Says of every schema whether its level exists.
async fn conditions(registry: &Registry, levels: &Kind, schemas: &Kind) -> Result<(), Status> {
    let identity = Identity::server();
    let caller = Caller { subresource: "status", writer: Some(CONSUMER), ..Caller::of(&identity) };
    let scope = Scope { resource: schemas.resource, namespace: None };
    let snapshot = registry.resource_cache(schemas.resource)?.snapshot(0);
    for object in snapshot.range(None) {
        let found = object.value();
        let level = found["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let is_there = registry.cached(levels.resource, level).is_some();
        let now = api::meta::format_time(registry.env.now());
        if with_condition(&found, level, is_there, &now) == found {
            continue;
        }
        let change = |current: &Value| Ok(with_condition(current, level, is_there, &now));
        match registry.update(scope, object.name(), Part::Status, caller, &change).await {
            Err(status) if status.reason == reason::NOT_FOUND => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// The schema with its condition; its time is kept while it stays as it is.
fn with_condition(schema: &Value, level: &str, is_there: bool, now: &str) -> Value {
    let (status, reason, end) = match is_there {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let quoted = api::field::quote(level);
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {quoted} {end}");
    let listed = schema.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = listed.cloned().unwrap_or_default();
    let position = conditions.iter().position(|condition| condition["type"] == "Dangling");
    let since = position.map(|at| &conditions[at]).filter(|old| old["status"] == status);
    let since = since.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(now);
    let condition = json!({
        "type": "Dangling", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    match position {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    let mut schema = schema.clone();
    schema["status"]["conditions"] = conditions.into();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotation: Option<&str>, generation: u64) -> Value {
        let mut object = json!({"metadata": {"name": "x", "generation": generation}, "spec": {"type": "changed"}});
        if let Some(annotation) = annotation {
            object["metadata"]["annotations"] = json!({AUTOUPDATE: annotation});
        }
        object
    }

    /// What becomes of an object: its annotation, and whether its specification is ours.
    #[track_caller]
    fn check(found: &Value, is_mandatory: bool, expected: (&str, bool)) {
        let kept = kept(found, &json!({"spec": {"type": "ours"}}), is_mandatory);
        let annotation = kept["metadata"]["annotations"][AUTOUPDATE].as_str().expect("an annotation");
        assert_eq!((annotation, kept["spec"]["type"] == "ours"), expected, "{found}");
    }

    #[test]
    fn suggested_objects_are_kept_up_as_their_annotation_says() {
        check(&object(Some("true"), 7), false, ("true", true));
        check(&object(Some("false"), 1), false, ("false", false));
        check(&object(None, 1), false, ("true", true));
        check(&object(None, 2), false, ("false", false));
        check(&object(Some("perhaps"), 2), false, ("false", false));
        check(&object(Some("false"), 7), true, ("true", true));
    }

    #[test]
    fn the_shares_of_the_exempt_level_are_left_alone() {
        let spec = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 10}});
        let found = json!({"metadata": {"name": "exempt", "annotations": {AUTOUPDATE: "true"}}, "spec": spec});
        assert_eq!(kept(&found, &bootstrap::mandatory_levels()[0], true), found);
    }

    #[test]
    fn conditions_keep_their_time_while_nothing_changes() {
        let first = with_condition(&json!({}), "gold", false, "then");
        let condition = &first["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
        assert_eq!(with_condition(&first, "gold", false, "later"), first);
        let found = with_condition(&first, "gold", true, "later");
        assert_eq!(found["status"]["conditions"][0]["lastTransitionTime"], "later");
    }
}
