//! Which of the names that a definition asks for it gets: those that no other definition of its group has.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::conditions::{self, Condition};
use crate::validation::definitions::invalid_bundle;

/// The type of the condition that says whether all names were accepted.
pub const NAMES_ACCEPTED: &str = "NamesAccepted";
/// The type of the condition that says whether the resource is served.
pub const ESTABLISHED: &str = "Established";

/// The names that definitions of a group have.
#[derive(Debug, Default)]
pub struct Taken {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Taken {
    /// Adds the accepted names of a definition.
    pub fn add(&mut self, names: &Value) {
        let text = |field: &str| names[field].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        self.resources.extend(["plural", "singular"].iter().filter_map(|field| text(field)));
        self.resources.extend(strings(&names["shortNames"]).map(str::to_owned));
        self.kinds.extend(["kind", "listKind"].iter().filter_map(|field| text(field)));
    }

    /// Why a name cannot be had.
    fn conflict(&self, names: &HashSet<String>, wanted: &str, accepted: &str) -> Option<String> {
        (wanted != accepted && names.contains(wanted))
            .then(|| format!("{} is already in use", crate::field::quote(wanted)))
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The names that a definition gets, and what its conditions say then.
#[derive(Debug)]
pub struct Naming {
    /// `status.acceptedNames`.
    pub accepted: Value,
    /// Whether all names were accepted.
    pub condition: Condition,
    /// Whether the resource is served, if that changes.
    pub established: Option<Condition>,
}

/// Gives a definition its names. `taken` holds the accepted names of its group, its own included.
pub fn accept(crd: &Value, taken: &Taken) -> Naming {
    let wanted = &crd["spec"]["names"];
    let before = &crd["status"]["acceptedNames"];
    let mut accepted: Map<String, Value> = before.as_object().cloned().unwrap_or_default();
    let mut condition = None;
    let mut refuse = |reason, message| condition = Some(Condition::new(NAMES_ACCEPTED, false, reason, message));
    let single = [
        ("plural", &taken.resources, "PluralConflict"),
        ("singular", &taken.resources, "SingularConflict"),
        ("kind", &taken.kinds, "KindConflict"),
        ("listKind", &taken.kinds, "ListKindConflict"),
    ];
    for (index, (field, names, reason)) in single.into_iter().enumerate() {
        if index == 2 {
            // Upstream looks at short names here; the last conflict is the one that is told.
            match short_names(wanted, before, taken) {
                Ok(()) => copy(&mut accepted, wanted, "shortNames"),
                Err(message) => refuse("ShortNamesConflict", message),
            }
        }
        let text = |names: &Value| names[field].as_str().unwrap_or_default().to_owned();
        match taken.conflict(names, &text(wanted), &text(before)) {
            None => copy(&mut accepted, wanted, field),
            Some(message) => refuse(reason, message),
        }
    }
    copy(&mut accepted, wanted, "categories");
    for required in ["plural", "kind"] {
        accepted.entry(required).or_insert_with(|| json!(""));
    }
    let condition =
        condition.unwrap_or_else(|| Condition::new(NAMES_ACCEPTED, true, "NoConflicts", "no conflicts found"));
    let established = match conditions::is_true(crd, ESTABLISHED) {
        true => None,
        false if condition.holds && invalid_bundle(crd).is_some() => {
            let message = "The conversion webhook CABundle is invalid";
            Some(Condition::new(ESTABLISHED, false, "InvalidCABundle", message))
        }
        false if condition.holds => {
            let message = "the initial names have been accepted";
            Some(Condition::new(ESTABLISHED, true, "InitialNamesAccepted", message))
        }
        false if conditions::find(crd, ESTABLISHED).is_some() => None,
        false => Some(Condition::new(ESTABLISHED, false, "NotAccepted", "not all names are accepted")),
    };
    Naming { accepted: Value::Object(accepted), condition, established }
}

fn copy(names: &mut Map<String, Value>, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => names.insert(field.to_owned(), value.clone()),
        None => names.remove(field),
    };
}

fn short_names(wanted: &Value, before: &Value, taken: &Taken) -> Result<(), String> {
    if wanted.get("shortNames") == before.get("shortNames") {
        return Ok(());
    }
    let own: Vec<&str> = strings(&before["shortNames"]).collect();
    let fresh = strings(&wanted["shortNames"]).filter(|name| !own.contains(name));
    let conflicts: Vec<String> = fresh.filter_map(|name| taken.conflict(&taken.resources, name, "")).collect();
    match conflicts.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, accepted: Value) -> Value {
        let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": ["s"]});
        json!({"spec": {"names": names}, "status": {"acceptedNames": accepted}})
    }

    #[test]
    fn the_first_definition_gets_all_its_names() {
        let crd = definition("minis", "Mini", json!({"plural": "", "kind": ""}));
        let naming = accept(&crd, &Taken::default());
        assert_eq!(naming.accepted, crd["spec"]["names"]);
        assert_eq!((naming.condition.reason, naming.established.map(|e| e.holds)), ("NoConflicts", Some(true)));
    }

    #[test]
    fn a_webhook_that_cannot_be_trusted_establishes_nothing() {
        let mut crd = definition("minis", "Mini", json!({"plural": "", "kind": ""}));
        crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "YWJj"}}});
        let naming = accept(&crd, &Taken::default());
        assert_eq!(naming.established.map(|e| (e.holds, e.reason)), Some((false, "InvalidCABundle")));
        crd["spec"]["conversion"]["webhook"]["clientConfig"] = json!({});
        assert!(accept(&crd, &Taken::default()).established.is_some_and(|established| established.holds));
    }

    #[test]
    fn names_that_another_has_are_refused() {
        let first = definition("minis", "Mini", Value::Null);
        let first = definition("minis", "Mini", first["spec"]["names"].clone());
        let mut taken = Taken::default();
        taken.add(&first["status"]["acceptedNames"]);
        let second = accept(&definition("others", "Mini", json!({"plural": "", "kind": ""})), &taken);
        assert_eq!(second.accepted, json!({"plural": "others", "kind": ""}));
        assert_eq!(
            (second.condition.reason, &*second.condition.message),
            ("ListKindConflict", "\"MiniList\" is already in use")
        );
        assert_eq!(second.established.map(|e| (e.holds, e.reason)), Some((false, "NotAccepted")));
        // Who has the names keeps them.
        assert!(accept(&first, &taken).condition.holds);
    }
}
