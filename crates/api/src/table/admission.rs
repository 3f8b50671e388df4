//! Webhook configurations and admission policies.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{UNSET, age, count, list, name, string, string_or};
use super::{AGE, Column, NAME, Printer, integer, text};

const ADMISSION: &str = "admissionregistration.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: ADMISSION, kind: "MutatingAdmissionPolicy", columns: MUTATING, cells: mutating },
    Printer { group: ADMISSION, kind: "MutatingAdmissionPolicyBinding", columns: BINDING, cells: binding },
    Printer { group: ADMISSION, kind: "MutatingWebhookConfiguration", columns: WEBHOOKS, cells: webhooks },
    Printer { group: ADMISSION, kind: "ValidatingAdmissionPolicy", columns: VALIDATING, cells: validating },
    Printer { group: ADMISSION, kind: "ValidatingAdmissionPolicyBinding", columns: BINDING, cells: binding },
    Printer { group: ADMISSION, kind: "ValidatingWebhookConfiguration", columns: WEBHOOKS, cells: webhooks },
];

const WEBHOOKS: &[Column] = &[NAME, integer("Webhooks"), AGE];

fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(&object["webhooks"]).into(), age(object, now)]
}

const VALIDATING: &[Column] = &[NAME, integer("Validations"), text("ParamKind"), AGE];

fn validating(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(&object["spec"]["validations"]).into(), param_kind(object).into(), age(object, now)]
}

const MUTATING: &[Column] = &[NAME, integer("Mutations"), text("ParamKind"), AGE];

fn mutating(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(&object["spec"]["mutations"]).into(), param_kind(object).into(), age(object, now)]
}

fn param_kind(object: &Value) -> String {
    let kind = &object["spec"]["paramKind"];
    match kind.is_null() {
        true => UNSET.to_owned(),
        false => format!("{}/{}", string(&kind["apiVersion"]), string(&kind["kind"])),
    }
}

const BINDING: &[Column] = &[NAME, text("PolicyName"), text("ParamRef"), AGE];

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let reference = &spec["paramRef"];
    let shown = match string(&reference["name"]) {
        "" if reference["selector"].is_null() => UNSET.to_owned(),
        "" => selector(&reference["selector"]),
        name => format!("{}/{name}", string_or(&reference["namespace"], "*")),
    };
    vec![name(object), string(&spec["policyName"]).into(), shown.into(), age(object, now)]
}

/// A label selector in the notation that upstream has for its types.
fn selector(value: &Value) -> String {
    let labels = value["matchLabels"].as_object().into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", string(value))).collect();
    let expressions = list(&value["matchExpressions"]).iter().map(|expression| {
        let values: Vec<&str> = list(&expression["values"]).iter().map(string).collect();
        let (key, operator) = (string(&expression["key"]), string(&expression["operator"]));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    });
    let expressions: String = expressions.collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
