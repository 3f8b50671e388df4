//! Brings the cluster's roles and bindings up to the tables: what is missing is added, what is more stays, as upstream
//! leaves it. In roles and bindings that are this server's alone it does not stay: it is what an older version needed.
//!
//! An object that says `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

use api::status::{Status, reason};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::{AUTOUPDATE, objects, skiff};
use crate::access::Identity;
use crate::access::rbac::cover::uncovered;
use crate::access::rbac::rule::Rule;
use crate::http::options::DeleteOptions;
use crate::registry::{Caller, DeleteTarget, NewObject, Part, Registry, Scope, complete};

/// How many objects are written at a time: the datastore puts them into one commit.
const AT_A_TIME: usize = 32;

/// Makes what is missing. The first namespaces must be there.
pub(crate) async fn reconcile(registry: &Registry) -> Result<(), Status> {
    let (kinds, config) = (registry.kinds(), &registry.config.runtime_config);
    let of_resource = |name: &str| {
        let mut rows = api::kinds::all().iter().filter(|row| config.serves(row));
        rows.any(|row| name.split_once('.') == Some((&*row.plural, &*row.group)))
    };
    let is_served = |name: &str| kinds.groups().iter().any(|served| served.name == name) || of_resource(name);
    let wanted = futures::stream::iter(objects(is_served));
    let work = wanted.map(|wanted| reconcile_one(registry, wanted)).buffer_unordered(AT_A_TIME);
    work.try_collect::<()>().await
}

async fn reconcile_one(registry: &Registry, wanted: Value) -> Result<(), Status> {
    let wanted = &wanted;
    let resource = api::kinds::find_kind("rbac.authorization.k8s.io", "v1", api::meta::kind(wanted))
        .ok_or_else(Status::no_such_resource)?;
    let scope = Scope { resource, namespace: api::meta::namespace(wanted) };
    let name = api::meta::name(wanted);
    let identity = Identity::server();
    let caller = Caller::server(&identity);
    let Some(found) = registry.cached(resource, &scope.key(name)) else {
        return create(registry, scope, wanted.clone(), caller).await;
    };
    let found = found.value();
    if found.get("roleRef") != wanted.get("roleRef") && is_kept_up(&found) {
        // The role of a binding cannot be changed.
        let options = DeleteOptions { uid: api::meta::uid(&found).map(str::to_owned), ..DeleteOptions::default() };
        registry.delete(DeleteTarget { scope, name, options: &options, caller }).await?;
        return create(registry, scope, anew(&found, wanted), caller).await;
    }
    if merged(&found, wanted).is_none() {
        return Ok(());
    }
    let change = |current: &Value| Ok(merged(current, wanted).unwrap_or_else(|| current.clone()));
    registry.update(scope, name, Part::Main, caller, &change).await.map(drop)
}

async fn create(registry: &Registry, scope: Scope<'_>, mut value: Value, caller: Caller<'_>) -> Result<(), Status> {
    complete(scope.resource, &mut value);
    match registry.create(scope, NewObject { value, by_update: false }, caller).await {
        // Another server was first.
        Err(status) if status.reason == reason::ALREADY_EXISTS => Ok(()),
        other => other.map(drop),
    }
}

fn is_kept_up(object: &Value) -> bool {
    api::meta::annotation(object, AUTOUPDATE) != Some("false")
}

/// The object with what it lacks of the wanted one; `None` if it lacks nothing or is not kept up.
fn merged(found: &Value, wanted: &Value) -> Option<Value> {
    if !is_kept_up(found) {
        return None;
    }
    let mut object = found.clone();
    for map in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][map].as_object().into_iter().flatten() {
            if found.pointer(&format!("/metadata/{map}")).and_then(|there| there.get(key)).is_none() {
                object["metadata"][map][key] = value.clone();
            }
        }
    }
    if skiff::is_own(api::meta::name(wanted)) {
        for part in ["rules", "subjects"] {
            if let Some(value) = wanted.get(part) {
                object[part] = value.clone();
            }
        }
        return (object != *found).then_some(object);
    }
    let rules = |object: &Value| -> Vec<Rule> { serde_json::from_value(object["rules"].clone()).unwrap_or_default() };
    let missing = uncovered(&rules(found), &rules(wanted));
    append(&mut object, "/rules", missing.iter().map(|rule| json!(rule)));
    let lacks = |path: &str| {
        let there = found.pointer(path).and_then(Value::as_array);
        let wanted = wanted.pointer(path).and_then(Value::as_array).into_iter().flatten();
        wanted.filter(|value| there.is_none_or(|there| !there.contains(value))).cloned().collect::<Vec<_>>()
    };
    append(&mut object, "/subjects", lacks("/subjects").into_iter());
    let selectors = lacks("/aggregationRule/clusterRoleSelectors");
    if !selectors.is_empty() && found.get("aggregationRule").is_none_or(Value::is_null) {
        object["aggregationRule"] = json!({"clusterRoleSelectors": []});
    }
    append(&mut object, "/aggregationRule/clusterRoleSelectors", selectors.into_iter());
    (object != *found).then_some(object)
}

/// A binding for the wanted role, with what it lacks, that can be made in the place of the found one.
fn anew(found: &Value, wanted: &Value) -> Value {
    let mut object = merged(found, wanted).unwrap_or_else(|| found.clone());
    object["roleRef"] = wanted["roleRef"].clone();
    api::meta::metadata_mut(&mut object)
        .retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    object
}

/// Adds to a list that may be absent.
fn append(object: &mut Value, path: &str, values: impl Iterator<Item = Value>) {
    let values: Vec<Value> = values.collect();
    if values.is_empty() {
        return;
    }
    match object.pointer_mut(path) {
        Some(Value::Array(list)) => list.extend(values),
        Some(other) => *other = values.into(),
        None => object[path.trim_start_matches('/')] = values.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Value, wanted: Value, expected: Option<Value>) {
        assert_eq!(merged(&found, &wanted), expected);
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let role = |verbs: Value| json!({"metadata": {"name": "r"}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]});
        check(role(json!(["get", "list"])), role(json!(["get"])), None);
        check(role(json!(["*"])), role(json!(["get"])), None);
        let mut more = role(json!(["get"]));
        more["rules"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}));
        check(role(json!(["get"])), role(json!(["get", "list"])), Some(more));
        let mut left = role(json!(["get"]));
        left["metadata"]["annotations"] = json!({AUTOUPDATE: "false"});
        check(left, role(json!(["list"])), None);
        let bound = |subjects: Value| json!({"metadata": {}, "subjects": subjects});
        check(bound(json!(["a"])), bound(json!(["a", "b"])), Some(bound(json!(["a", "b"]))));
        check(json!({"metadata": {}}), bound(json!(["a"])), Some(bound(json!(["a"]))));
        check(bound(json!(["a", "b"])), bound(json!(["a"])), None);
    }

    #[test]
    fn what_is_this_servers_own_is_as_it_is_wanted() {
        let own = |rules: Value, kept_up: &str| {
            let annotations = json!({AUTOUPDATE: kept_up});
            json!({"metadata": {"name": "skiff:agent", "annotations": annotations}, "rules": rules})
        };
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let wanted = own(json!([rule("get")]), "true");
        check(own(json!([rule("get"), rule("list")]), "true"), wanted.clone(), Some(wanted.clone()));
        check(wanted.clone(), wanted.clone(), None);
        check(own(json!([rule("list")]), "false"), wanted, None);
        let bound = |subjects: Value| json!({"metadata": {"name": "skiff:agent"}, "subjects": subjects});
        check(bound(json!(["a", "b"])), bound(json!(["a"])), Some(bound(json!(["a"]))));
    }
}
