//! The conditions of a definition.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::meta;

/// A condition as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its type, such as `Established`.
    pub ty: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

impl Condition {
    /// A condition that holds or does not.
    pub fn new(ty: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { ty, holds, reason, message: message.into() }
    }

    /// Sets it in a definition; the time of its transition stays unless it holds no more, or now.
    pub fn set(&self, crd: &mut Value, now: Timestamp) {
        let status = if self.holds { "True" } else { "False" };
        let mut condition = json!({
            "type": self.ty, "status": status, "lastTransitionTime": meta::format_time(now), "reason": self.reason,
            "message": self.message,
        });
        let conditions = &mut crd["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        let Some(conditions) = conditions.as_array_mut() else { return };
        match conditions.iter_mut().find(|each| each["type"] == self.ty) {
            Some(there) => {
                if there["status"] == status && there["lastTransitionTime"].is_string() {
                    condition["lastTransitionTime"] = there["lastTransitionTime"].take();
                }
                *there = condition;
            }
            None => conditions.push(condition),
        }
    }
}

/// Whether a condition of a definition holds.
pub fn is_true(crd: &Value, ty: &str) -> bool {
    find(crd, ty).is_some_and(|condition| condition["status"] == "True")
}

/// A condition of a definition.
pub fn find<'a>(crd: &'a Value, ty: &str) -> Option<&'a Value> {
    let conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
    { conditions }.find(|each| each["type"] == ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_transition() {
        let mut crd = json!({"status": {"conditions": null}});
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        Condition::new("Established", false, "Installing", "soon").set(&mut crd, at(1));
        Condition::new("Established", false, "NotAccepted", "later").set(&mut crd, at(2));
        let found = find(&crd, "Established").expect("it was set");
        assert_eq!(
            (&found["reason"], &found["lastTransitionTime"]),
            (&json!("NotAccepted"), &json!("1970-01-01T00:00:01Z"))
        );
        Condition::new("Established", true, "InitialNamesAccepted", "").set(&mut crd, at(3));
        assert!(is_true(&crd, "Established") && !is_true(&crd, "Terminating"));
        assert_eq!(find(&crd, "Established").map(|c| &c["lastTransitionTime"]), Some(&json!("1970-01-01T00:00:03Z")));
    }
}
