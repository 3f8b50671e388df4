//! Webhook configurations and admission policies.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{UNSET, age, count, name, string, string_or};
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
    let shown = match (reference.is_null(), string(&reference["name"])) {
        (true, _) => UNSET.to_owned(),
        (false, "") => format!("{}/<selector>", string_or(&reference["namespace"], "*")),
        (false, name) => format!("{}/{name}", string_or(&reference["namespace"], "*")),
    };
    vec![name(object), string(&spec["policyName"]).into(), shown.into(), age(object, now)]
}
