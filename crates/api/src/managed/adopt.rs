//! A configuration that an admission policy applies: merged as server-side apply does, but nobody owns it.

use serde_json::Value;

use super::apply::list;
use super::check::check;
use super::merge::merge;
use super::shape::Shape;

/// Why a configuration cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It is not of its type.
    #[error("failed to convert patch object to typed object: {}", list(.0))]
    Mistyped(Vec<String>),
    /// It holds parts of what merges as a whole, which would take away all other parts.
    #[error("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}", .0.join(", "))]
    Atomic(Vec<String>),
}

/// The live object with everything that the configuration holds.
///
/// # Errors
///
/// The configuration does not fit the type, or would replace more than it shows.
pub fn adopt(live: &Value, config: &Value, shape: Shape<'_>) -> Result<Value, AdoptError> {
    let errors = check(config, shape);
    if !errors.is_empty() {
        return Err(AdoptError::Mistyped(errors));
    }
    let mut found = Vec::new();
    atomics(config, shape, "", &mut found);
    if found.is_empty() { Ok(merge(live, config, shape)) } else { Err(AdoptError::Atomic(found)) }
}

/// Finds the lists, maps and structs that merge as a whole.
fn atomics(config: &Value, shape: Shape<'_>, path: &str, found: &mut Vec<String>) {
    match (shape, config) {
        (Shape::Leaf, Value::Object(_) | Value::Array(_)) | (Shape::Any | Shape::Custom, Value::Array(_)) => {
            found.push(path.to_owned());
        }
        (_, Value::Object(fields)) => {
            for (name, value) in fields {
                atomics(value, shape.field(name).0, &format!("{path}.{name}"), found);
            }
        }
        (_, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                atomics(item, shape.item(), &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A configuration of a deployment onto a live one.
    #[track_caller]
    fn check_adopted(live: Value, config: Value, expected: Result<Value, &str>) {
        let adopted = adopt(&live, &config, Shape::root("io.k8s.api.apps.v1.Deployment"));
        assert_eq!(adopted.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    fn containers(list: Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": list}}}})
    }

    #[test]
    fn lists_merge_by_their_keys_and_maps_by_name() {
        check_adopted(
            containers(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}])),
            containers(json!([{"name": "b", "env": [{"name": "K", "value": "v"}]}, {"name": "c", "image": "z"}])),
            Ok(containers(json!([
                {"name": "a", "image": "x"},
                {"name": "b", "image": "y", "env": [{"name": "K", "value": "v"}]},
                {"name": "c", "image": "z"}]))),
        );
        check_adopted(json!({"spec": {"replicas": 1}}), json!({"spec": {}}), Ok(json!({"spec": {"replicas": 1}})));
        check_adopted(
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1}}),
            json!({"metadata": {"labels": {"b": "2"}}, "spec": {"replicas": 3}}),
            Ok(json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 3}})),
        );
    }

    #[test]
    fn what_merges_as_a_whole_cannot_be_part_of_it() {
        let atomic = "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: ";
        let why = format!("{atomic}.spec.template.spec.containers[0].command");
        check_adopted(json!({}), containers(json!([{"name": "a", "command": ["x"]}])), Err(&why));
        let why = format!("{atomic}.spec.selector");
        check_adopted(json!({}), json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), Err(&why));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let prefix = "failed to convert patch object to typed object: ";
        check_adopted(
            json!({}),
            json!({"spec": {"no": 1}}),
            Err(&format!("{prefix}.spec.no: field not declared in schema")),
        );
    }
}
