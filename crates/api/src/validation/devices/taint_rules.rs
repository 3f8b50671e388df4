//! Rules that taint devices, whatever driver publishes them.

use k8s_openapi::api::resource::v1alpha3::{DeviceTaint, DeviceTaintRule, DeviceTaintSelector};

use super::{TAINT_EFFECTS, pool_name};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::storage::driver_name;
use crate::validation::{check, names};

const MAX_CONDITIONS: usize = 8;

/// Judges a new rule.
pub(in crate::validation) fn taint_rule(rule: &DeviceTaintRule, errors: &mut ErrorList) {
    judge(rule, None, errors);
}

/// Judges an update of a rule; an effect that did not change was good enough once.
pub(in crate::validation) fn taint_rule_update(new: &DeviceTaintRule, old: &DeviceTaintRule, errors: &mut ErrorList) {
    judge(new, Some(old.spec.taint.effect.as_str()), errors);
}

/// Judges an update of the status of a rule.
pub(in crate::validation) fn taint_rule_status(new: &DeviceTaintRule, _: &DeviceTaintRule, errors: &mut ErrorList) {
    let conditions = new.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let list = Path::new("status").child("conditions");
    check::conditions(errors, &list, conditions);
    if conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(&list, conditions.len(), MAX_CONDITIONS));
    }
}

fn judge(rule: &DeviceTaintRule, old_effect: Option<&str>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(selector) = &rule.spec.device_selector {
        devices(selector, &path.child("deviceSelector"), errors);
    }
    taint(&rule.spec.taint, old_effect, &path.child("taint"), errors);
}

fn devices(selector: &DeviceTaintSelector, path: &Path, errors: &mut ErrorList) {
    if let Some(driver) = &selector.driver {
        driver_name(driver, &path.child("driver"), errors);
    }
    if let Some(pool) = &selector.pool {
        pool_name(pool, &path.child("pool"), errors);
    }
    if let Some(device) = &selector.device {
        check::invalid(errors, &path.child("device"), device.as_str(), names::dns_label(device));
    }
}

fn taint(taint: &DeviceTaint, old_effect: Option<&str>, path: &Path, errors: &mut ErrorList) {
    check::invalid(errors, &path.child("key"), taint.key.as_str(), names::label_key(&taint.key));
    check::optional_name(errors, &path.child("value"), check::text(&taint.value), names::label_value);
    if old_effect != Some(&taint.effect) {
        check::required_one_of(errors, &path.child("effect"), &taint.effect, &TAINT_EFFECTS);
    }
}
