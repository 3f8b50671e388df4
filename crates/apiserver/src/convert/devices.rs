//! Claims and slices of devices: the first beta has one level less or more than the stable version in places.

use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// What an exact request consists of, besides its name.
const EXACT: [&str; 7] =
    ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

/// The objects of the list at a path.
fn entries<'a>(object: &'a mut Object, path: &[&str]) -> impl Iterator<Item = &'a mut Object> + use<'a> {
    let list = path.split_last().and_then(|(last, parents)| {
        let parent = parents.iter().try_fold(object, |object, key| object.get_mut(*key)?.as_object_mut())?;
        parent.get_mut(*last)?.as_array_mut()
    });
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Where requests and devices lie: in claims, in their templates, in slices.
const CLAIM: &[&str] = &["spec", "devices", "requests"];
const TEMPLATE: &[&str] = &["spec", "spec", "devices", "requests"];
const SLICE: &[&str] = &["spec", "devices"];

fn nest(request: &mut Object) {
    let exact: Object = EXACT.iter().filter_map(|field| request.remove_entry(*field)).collect();
    if !exact.is_empty() {
        request.insert("exactly".to_owned(), Value::Object(exact));
    }
}

fn flatten(object: &mut Object, member: &str) {
    if let Some(Value::Object(fields)) = object.remove(member) {
        object.extend(fields);
    }
}

/// Turns a claim of the beta into a stable one.
pub(super) fn claim_from_beta(object: &mut Object) {
    entries(object, CLAIM).for_each(nest);
}

/// Turns a stable claim into one of the beta.
pub(super) fn claim_to_beta(object: &mut Object) {
    entries(object, CLAIM).for_each(|request| flatten(request, "exactly"));
}

/// Turns a template of claims of the beta into a stable one.
pub(super) fn template_from_beta(object: &mut Object) {
    entries(object, TEMPLATE).for_each(nest);
}

/// Turns a stable template of claims into one of the beta.
pub(super) fn template_to_beta(object: &mut Object) {
    entries(object, TEMPLATE).for_each(|request| flatten(request, "exactly"));
}

/// Turns a slice of the beta into a stable one.
pub(super) fn slice_from_beta(object: &mut Object) {
    entries(object, SLICE).for_each(|device| flatten(device, "basic"));
}

/// Turns a stable slice into one of the beta.
pub(super) fn slice_to_beta(object: &mut Object) {
    for device in entries(object, SLICE) {
        let name = device.remove_entry("name");
        let basic = std::mem::take(device);
        device.extend(name);
        device.insert("basic".to_owned(), Value::Object(basic));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Turn = fn(&mut Object);

    #[track_caller]
    fn check((to_beta, from_beta): (Turn, Turn), stable: Value, beta: Value) {
        let mut object = stable.as_object().cloned().expect("an object");
        to_beta(&mut object);
        assert_eq!(Value::Object(object.clone()), beta);
        from_beta(&mut object);
        assert_eq!(Value::Object(object), stable);
    }

    #[test]
    fn levels_come_and_go() {
        check(
            (claim_to_beta, claim_from_beta),
            json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "count": 1}}]}}}),
            json!({"spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "c", "count": 1}]}}}),
        );
        check(
            (template_to_beta, template_from_beta),
            json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "firstAvailable": []}]}}}}),
            json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "firstAvailable": []}]}}}}),
        );
        check(
            (slice_to_beta, slice_from_beta),
            json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}}),
            json!({"spec": {"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}]}}),
        );
    }
}
