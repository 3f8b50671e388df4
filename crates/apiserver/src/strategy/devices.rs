//! Taints of devices: since when they are.

use serde_json::{Map, Value};

fn taint(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/spec/taint")?.as_object()
}

fn set_time(taint: &mut Map<String, Value>, now: jiff::Timestamp) {
    taint.insert("timeAdded".to_owned(), api::meta::format_time(now).into());
}

/// Dates the taint of a rule; a new effect begins anew, unless the client says since when it is.
pub(super) fn date_rule(new: &mut Value, old: Option<&Value>, now: jiff::Timestamp) {
    let before = old.and_then(taint).cloned().unwrap_or_default();
    let Some(taint) = new.pointer_mut("/spec/taint").and_then(Value::as_object_mut) else { return };
    let has_new_effect = !before.is_empty() && taint.get("effect") != before.get("effect");
    let is_undated = taint.get("timeAdded").is_none_or(Value::is_null);
    if is_undated || has_new_effect && taint.get("timeAdded") == before.get("timeAdded") {
        set_time(taint, now);
    }
}

/// Dates the taints that a driver publishes.
pub(super) fn date_slice(slice: &mut Value, now: jiff::Timestamp) {
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut).into_iter().flatten();
    let taints = devices.filter_map(|device| device.get_mut("taints")?.as_array_mut()).flatten();
    for taint in taints.filter_map(Value::as_object_mut) {
        if taint.get("timeAdded").is_none_or(Value::is_null) {
            set_time(taint, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_taint_is_dated_when_its_effect_begins() {
        let at = |time: &str| time.parse::<jiff::Timestamp>().expect("a time");
        let (first, second) = (at("2020-01-01T00:00:00Z"), at("2021-01-01T00:00:00Z"));
        let mut rule = json!({"spec": {"taint": {"key": "k", "effect": "NoSchedule"}}});
        date_rule(&mut rule, None, first);
        assert_eq!(rule["spec"]["taint"]["timeAdded"], "2020-01-01T00:00:00Z");
        let mut same = rule.clone();
        date_rule(&mut same, Some(&rule), second);
        assert_eq!(same, rule);
        let mut other = rule.clone();
        other["spec"]["taint"]["effect"] = "NoExecute".into();
        date_rule(&mut other, Some(&rule), second);
        assert_eq!(other["spec"]["taint"]["timeAdded"], "2021-01-01T00:00:00Z");

        let mut slice = json!({"spec": {"devices": [{"name": "d", "taints": [{"key": "k", "effect": "None"}]}]}});
        date_slice(&mut slice, first);
        assert_eq!(slice["spec"]["devices"][0]["taints"][0]["timeAdded"], "2020-01-01T00:00:00Z");
    }
}
