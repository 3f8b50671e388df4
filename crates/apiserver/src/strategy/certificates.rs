//! Certificate signing requests: the conditions of their status.

use serde_json::Value;

fn conditions(object: &Value) -> &[Value] {
    object.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A status update leaves conditions of some types as they were, so that what it leaves out of them is no change. Those
/// that come or go are for validation to judge.
pub(super) fn keep_conditions(types: &[&str], new: &mut Value, old: &Value) {
    for decision in types.iter().copied() {
        let is_it = |condition: &&Value| condition["type"] == decision;
        let before: Vec<Value> = conditions(old).iter().filter(is_it).cloned().collect();
        if before.len() != conditions(new).iter().filter(is_it).count() {
            continue;
        }
        let now = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten();
        for (condition, kept) in now.filter(|condition| condition["type"] == decision).zip(before) {
            *condition = kept;
        }
    }
}

/// Says of new conditions since when they are.
pub(super) fn date_conditions(new: &mut Value, old: &Value, at: jiff::Timestamp) {
    let now = Value::from(api::meta::format_time(at));
    let all = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten();
    for condition in all.filter(|condition| condition.is_object()) {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.clone();
        }
    }
    date_transitions(new, old, at);
}

/// Says of conditions without a time since when they have their status.
pub(super) fn date_transitions(new: &mut Value, old: &Value, now: jiff::Timestamp) {
    let now = Value::from(api::meta::format_time(now));
    let all = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten();
    for condition in all.filter(|condition| condition.is_object()) {
        if condition["lastTransitionTime"].is_null() {
            let same = |each: &&Value| each["type"] == condition["type"] && each["status"] == condition["status"];
            let since = conditions(old).iter().find(same).map(|each| each["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.filter(|since| !since.is_null()).unwrap_or_else(|| now.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_dated_once_and_decisions_kept() {
        let at = |time: &str| time.parse::<jiff::Timestamp>().expect("a time");
        let old = json!({"status": {"conditions": [{
            "type": "Denied", "status": "True", "reason": "R",
            "lastUpdateTime": "2020-01-01T00:00:00Z", "lastTransitionTime": "2020-01-01T00:00:00Z",
        }]}});
        let mut new = json!({"status": {"conditions": [
            {"type": "Denied", "status": "True"},
            {"type": "Failed", "status": "True", "lastUpdateTime": null},
        ]}});
        keep_conditions(&["Approved", "Denied"], &mut new, &old);
        date_conditions(&mut new, &old, at("2021-01-01T00:00:00Z"));
        assert_eq!(new["status"]["conditions"][0], old["status"]["conditions"][0]);
        let failed = &new["status"]["conditions"][1];
        assert_eq!(failed["lastUpdateTime"], "2021-01-01T00:00:00Z");
        assert_eq!(failed["lastTransitionTime"], "2021-01-01T00:00:00Z");
    }
}
