//! Expressions in objects of built-in kinds: compiled whenever one is written, so that its author learns of mistakes.

use api::field::{ErrorList, FieldError, Path};
use api::kinds::Resource;
use api::validation::MAX_DEVICE_EXPRESSION;
use cel::admission::{Environment, Purpose};
use cel::device;
use serde_json::Value;

type Judge = fn(&Value, &mut ErrorList);

/// The kinds that have expressions, by group and plural.
const KINDS: &[((&str, &str), Judge)] = &[
    (("admissionregistration.k8s.io", "mutatingadmissionpolicies"), policy),
    (("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), webhooks),
    (("admissionregistration.k8s.io", "validatingadmissionpolicies"), policy),
    (("admissionregistration.k8s.io", "validatingwebhookconfigurations"), webhooks),
    (("resource.k8s.io", "deviceclasses"), device_class),
    (("resource.k8s.io", "resourceclaims"), claim),
    (("resource.k8s.io", "resourceclaimtemplates"), claim_template),
];

/// Where the kinds have their expressions.
const FIELDS: [&str; 2] = ["spec", "webhooks"];

/// Adds what is wrong with the expressions of an object that is about to be written; `old` is what it replaces.
pub(crate) fn judge(resource: &Resource, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let key = (&*resource.group, &*resource.plural);
    let Some((_, judge)) = KINDS.iter().find(|(kind, _)| *kind == key) else { return };
    // What an update leaves as it was has been judged before.
    let is_same = |old: &Value| FIELDS.iter().all(|field| old.get(field) == new.get(field));
    if !old.is_some_and(is_same) {
        judge(new, errors);
    }
}

/// The entries of a list with their paths.
fn entries<'v>(value: &'v Value, field: &str, path: &Path) -> Vec<(&'v Value, Path)> {
    let list = path.child(field);
    let entries = value[field].as_array().into_iter().flatten().enumerate();
    entries.map(|(index, entry)| (entry, list.index(index))).collect()
}

/// The text of an expression; nothing where validation misses it.
fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value[field].as_str().filter(|text| !text.trim().is_empty())
}

/// Compiles the expression at a field.
fn compile(
    environment: &Environment,
    purpose: Purpose,
    value: &Value,
    field: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(source) = text(value, field) else { return };
    // Upstream does not show blanks around these, and counts columns without them.
    let compiled = match purpose {
        Purpose::AuditAnnotation => environment.compile(purpose, source.trim()),
        _ => environment.compile(purpose, source),
    };
    if let Some(error) = compiled.error() {
        errors.push(FieldError::invalid(&path.child(field), source, error.to_string()));
    }
}

/// Compiles match conditions, which know no variables.
fn match_conditions(value: &Value, has_params: bool, path: &Path, errors: &mut ErrorList) {
    let environment = Environment::new(has_params);
    for (condition, path) in entries(value, "matchConditions", path) {
        let Some(source) = text(condition, "expression") else { continue };
        if let Some(error) = environment.compile(Purpose::Condition, source.trim()).error() {
            errors.push(FieldError::invalid(&path.child("expression"), source.trim(), error.to_string()));
        }
    }
}

fn webhooks(configuration: &Value, errors: &mut ErrorList) {
    let list = Path::new("webhooks");
    for (index, hook) in configuration["webhooks"].as_array().into_iter().flatten().enumerate() {
        match_conditions(hook, false, &list.index(index), errors);
    }
}

/// A validating policy, or a mutating one.
fn policy(policy: &Value, errors: &mut ErrorList) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    let has_params = spec["paramKind"].is_object();
    match_conditions(spec, has_params, &path, errors);
    let mut environment = Environment::new(has_params);
    for (variable, path) in entries(spec, "variables", &path) {
        let Some(source) = text(variable, "expression") else { continue };
        if let Some(error) = environment.add_variable(variable["name"].as_str().unwrap_or_default(), source) {
            errors.push(FieldError::invalid(&path.child("expression"), source, error.to_string()));
        }
    }
    let environment = &environment;
    for (validation, path) in entries(spec, "validations", &path) {
        compile(environment, Purpose::Condition, validation, "expression", &path, errors);
        compile(environment, Purpose::Message, validation, "messageExpression", &path, errors);
    }
    for (annotation, path) in entries(spec, "auditAnnotations", &path) {
        compile(environment, Purpose::AuditAnnotation, annotation, "valueExpression", &path, errors);
    }
    for (mutation, path) in entries(spec, "mutations", &path) {
        for (field, purpose) in [("applyConfiguration", Purpose::ApplyConfiguration), ("jsonPatch", Purpose::JsonPatch)]
        {
            compile(environment, purpose, &mutation[field], "expression", &path.child(field), errors);
        }
    }
}

fn device_class(class: &Value, errors: &mut ErrorList) {
    selectors(&class["spec"], &Path::new("spec"), errors);
}

fn claim(claim: &Value, errors: &mut ErrorList) {
    claim_spec(&claim["spec"], &Path::new("spec"), errors);
}

fn claim_template(template: &Value, errors: &mut ErrorList) {
    claim_spec(&template["spec"]["spec"], &Path::new("spec").child("spec"), errors);
}

fn claim_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (request, path) in entries(&spec["devices"], "requests", &path.child("devices")) {
        selectors(&request["exactly"], &path.child("exactly"), errors);
        for (alternative, path) in entries(request, "firstAvailable", &path) {
            selectors(alternative, &path, errors);
        }
    }
}

/// Compiles selectors of devices.
fn selectors(value: &Value, path: &Path, errors: &mut ErrorList) {
    for (selector, path) in entries(value, "selectors", path) {
        let path = path.child("cel").child("expression");
        let Some(source) =
            selector["cel"]["expression"].as_str().filter(|source| source.len() <= MAX_DEVICE_EXPRESSION)
        else {
            continue;
        };
        match device::compile(source) {
            Ok(program) if program.max_cost() > device::MAX_COST => {
                errors.push(FieldError::forbidden(&path, "too complex, exceeds cost limit"));
            }
            Ok(_) => {}
            Err(error) => errors.push(FieldError::invalid(&path, source, error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The errors of an object, each with its field and a part of its text.
    #[track_caller]
    fn check(plural: &str, object: &Value, expected: &[(&str, &str)]) {
        let (_, judge) = KINDS.iter().find(|((_, known), _)| *known == plural).expect("a kind with expressions");
        let mut errors = ErrorList::new();
        judge(object, &mut errors);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, expected.iter().map(|(field, _)| *field).collect::<Vec<_>>(), "{errors:?}");
        for (error, (_, part)) in errors.iter().zip(expected) {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn mistakes_in_policies_are_told() {
        let spec = json!({
            "matchConditions": [{"name": "a", "expression": "variables.x"}, {"name": "b", "expression": "1"}],
            "variables": [{"name": "x", "expression": "object.y"}, {"name": "z", "expression": "nothing"}],
            "validations": [
                {"expression": "variables.x == variables.z && params.a == 1"},
                {"expression": "variables.x", "messageExpression": "1"},
                {"expression": " "}],
            "auditAnnotations": [{"key": "k", "valueExpression": "  1"}],
        });
        check(
            "validatingadmissionpolicies",
            &json!({"spec": spec}),
            &[
                ("spec.matchConditions[0].expression", "undeclared reference to 'variables'"),
                ("spec.matchConditions[1].expression", "must evaluate to bool but got int"),
                (
                    "spec.variables[1].expression",
                    "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing'",
                ),
                ("spec.validations[0].expression", "undeclared reference to 'params'"),
                ("spec.validations[1].expression", "must evaluate to bool but got dyn"),
                ("spec.validations[1].messageExpression", "must evaluate to string but got int"),
                ("spec.auditAnnotations[0].valueExpression", "must evaluate to one of [string null_type] but got int"),
            ],
        );
        let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{a: params.b}"}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}}]});
        check(
            "mutatingadmissionpolicies",
            &json!({"spec": spec}),
            &[("spec.mutations[1].jsonPatch.expression", "must evaluate to list(JSONPatch) but got Object")],
        );
    }

    #[test]
    fn mistakes_in_match_conditions_of_webhooks_are_told() {
        let hooks = json!({"webhooks": [{}, {"matchConditions": [{"expression": "request.operation == 'CREATE'"},
            {"expression": " [1"}, {"expression": "params == null"}]}]});
        check(
            "validatingwebhookconfigurations",
            &hooks,
            &[
                ("webhooks[1].matchConditions[1].expression", "compilation failed: ERROR: <input>:1:3: Syntax error"),
                ("webhooks[1].matchConditions[2].expression", "undeclared reference to 'params'"),
            ],
        );
    }

    #[test]
    fn mistakes_in_selectors_of_devices_are_told() {
        let selectors = |sources: &[&str]| {
            let selectors: Vec<Value> = sources.iter().map(|source| json!({"cel": {"expression": source}})).collect();
            json!({"selectors": selectors})
        };
        let good = [
            "device.driver == 'a.b'",
            "device.attributes['a.b'].healthy",
            "true",
            "device.capacity['a.b'].memory.compareTo(quantity('1Gi')) >= 0",
        ];
        let slow = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, true))))";
        check("deviceclasses", &json!({"spec": selectors(&good)}), &[]);
        check(
            "deviceclasses",
            &json!({"spec": selectors(&["1", "device.nothing", slow])}),
            &[
                ("spec.selectors[0].cel.expression", "must evaluate to bool or the unknown type, not int"),
                ("spec.selectors[1].cel.expression", "undefined field 'nothing'"),
                ("spec.selectors[2].cel.expression", "too complex, exceeds cost limit"),
            ],
        );
        let requests = json!([{"exactly": selectors(&["x"])}, {"firstAvailable": [selectors(&["true", "y"])]}]);
        let expected = [
            ("requests[0].exactly.selectors[0].cel.expression", "undeclared reference to 'x'"),
            ("requests[1].firstAvailable[0].selectors[1].cel.expression", "undeclared reference to 'y'"),
        ];
        let spec = json!({"devices": {"requests": requests}});
        let at = |prefix: &str| expected.map(|(field, part)| (format!("{prefix}.{field}"), part));
        for (plural, object, prefix) in [
            ("resourceclaims", json!({"spec": spec}), "spec.devices"),
            ("resourceclaimtemplates", json!({"spec": {"spec": spec}}), "spec.spec.devices"),
        ] {
            let expected = at(prefix);
            check(plural, &object, &expected.each_ref().map(|(field, part)| (field.as_str(), *part)));
        }
    }
}
