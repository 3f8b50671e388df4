//! The names of definitions, and whether they are established.

use api::custom::conditions::{self, Condition};
use api::custom::names::{NAMES_ACCEPTED, Taken, accept};
use api::validation::api_approval::{self, Approval};
use jiff::Timestamp;
use serde_json::Value;

use crate::cache::Snapshot;

/// The condition that says whether a definition in a group of Kubernetes was approved.
const APPROVED: &str = "KubernetesAPIApprovalPolicyConformant";

/// The definition with the names that it gets among all that are there.
pub(super) fn named(crd: &Value, all: &Snapshot, now: Timestamp) -> Value {
    let mut taken = Taken::default();
    let group = &crd["spec"]["group"];
    for other in all.range(None) {
        let other = other.value();
        if other["spec"]["group"] == *group && api::meta::uid(&other) != api::meta::uid(crd) {
            taken.add(&other);
        }
    }
    taken.add(crd);
    let naming = accept(crd, &taken);
    let mut named = crd.clone();
    named["status"]["acceptedNames"] = naming.accepted;
    naming.condition.set(&mut named, now);
    if let Some(established) = naming.established {
        established.set(&mut named, now);
    }
    if let Some(approval) = approval(crd) {
        approval.set(&mut named, now);
    }
    named
}

fn approval(crd: &Value) -> Option<Condition> {
    let approval = api_approval::of(crd)?;
    let reason = match &approval {
        Approval::Approved(_) => "ApprovedAnnotation",
        Approval::Bypassed(_) => "UnapprovedAnnotation",
        Approval::Invalid(_) => "InvalidAnnotation",
        Approval::Missing(_) => "MissingAnnotation",
    };
    let holds = matches!(approval, Approval::Approved(_));
    Some(Condition::new(APPROVED, holds, reason, approval.into_message()))
}

/// The definitions that wait for a name which another has.
pub(super) fn refused(all: &Snapshot) -> Vec<String> {
    let is_refused = |crd: &Value| conditions::find(crd, NAMES_ACCEPTED).is_some_and(|found| found["status"] != "True");
    all.range(None).filter(|crd| is_refused(&crd.value())).map(|crd| crd.name().to_owned()).collect()
}
