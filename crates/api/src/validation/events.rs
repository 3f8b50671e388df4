//! Events, of the core group and of their own.

use k8s_openapi::api::{core::v1 as core_v1, events::v1 as events_v1};

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

/// Judges an event of the core group, which older clients write.
pub(super) fn core_event(event: &core_v1::Event, errors: &mut ErrorList) {
    let namespace = check::text(&event.metadata.namespace);
    let path = Path::new("involvedObject").child("namespace");
    let involved = check::text(&event.involved_object.namespace);
    // Events about objects without a namespace are kept in "default".
    if involved.is_empty() {
        if !["", "default"].contains(&namespace) {
            errors.push(FieldError::invalid(&path, involved, "does not match event.namespace"));
        }
    } else if involved != namespace {
        errors.push(FieldError::invalid(&path, involved, "does not match event.namespace"));
    }
    if event.event_time.is_some() {
        reporter(
            check::text(&event.reporting_component),
            check::text(&event.reporting_instance),
            check::text(&event.action),
            check::text(&event.reason),
            errors,
        );
        at_most_bytes(check::text(&event.message), "message", 1024, errors);
    }
}

/// Judges an event.
pub(super) fn event(event: &events_v1::Event, errors: &mut ErrorList) {
    if event.event_time.is_none() {
        errors.push(FieldError::required(&Path::new("eventTime"), ""));
    } else {
        reporter(
            check::text(&event.reporting_controller),
            check::text(&event.reporting_instance),
            check::text(&event.action),
            check::text(&event.reason),
            errors,
        );
        at_most_bytes(check::text(&event.note), "message", 1024, errors);
    }
    let kind = check::text(&event.type_);
    if !["Normal", "Warning"].contains(&kind) {
        let why = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid(&Path::new("type"), kind, why));
    }
    for (field, unset) in [
        ("firstTimestamp", event.deprecated_first_timestamp.is_none()),
        ("lastTimestamp", event.deprecated_last_timestamp.is_none()),
        ("count", event.deprecated_count.unwrap_or(0) == 0),
    ] {
        if !unset {
            errors.push(FieldError::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
}

fn reporter(controller: &str, instance: &str, action: &str, reason: &str, errors: &mut ErrorList) {
    let path = Path::new("reportingController");
    if check::required(errors, &path, controller) {
        check::invalid(errors, &path, controller, names::qualified_name(controller));
    }
    for (field, value) in [("reportingInstance", instance), ("action", action), ("reason", reason)] {
        if check::required(errors, &Path::new(field), value) {
            at_most_bytes(value, field, 128, errors);
        }
    }
}

fn at_most_bytes(value: &str, field: &str, limit: usize, errors: &mut ErrorList) {
    if value.len() > limit {
        let why = format!("can have at most {limit} characters");
        errors.push(FieldError::invalid(&Path::new(field), "", why));
    }
}

/// Judges an update of an event: only its series may change.
pub(super) fn event_update(new: &events_v1::Event, old: &events_v1::Event, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("involvedObject"), &new.regarding, &old.regarding);
    check::immutable(errors, &Path::new("reason"), &new.reason, &old.reason);
    check::immutable(errors, &Path::new("message"), &new.note, &old.note);
    check::immutable(errors, &Path::new("type"), &new.type_, &old.type_);
    check::immutable(errors, &Path::new("eventTime"), &new.event_time, &old.event_time);
    check::immutable(errors, &Path::new("action"), &new.action, &old.action);
    check::immutable(errors, &Path::new("related"), &new.related, &old.related);
    check::immutable(errors, &Path::new("reportingController"), &new.reporting_controller, &old.reporting_controller);
    check::immutable(errors, &Path::new("reportingInstance"), &new.reporting_instance, &old.reporting_instance);
}
