//! The names of definitions, and whether they are established.

use api::custom::conditions::Condition;
use api::custom::names::{Taken, accept};
use api::validation::api_approval::{self, Approval};
use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::Kinds;

/// The condition that says whether a definition in a group of Kubernetes was approved.
const APPROVED: &str = "KubernetesAPIApprovalPolicyConformant";

/// The definition with the names that it gets among all that are there.
pub(super) fn named(crd: &Value, all: &Kinds, now: Timestamp) -> Value {
    let mut taken = Taken::default();
    let (group, name) = (&crd["spec"]["group"], api::meta::name(crd));
    for other in all.definitions().filter(|other| *group == *other.group && other.name != name) {
        taken.add(&other.accepted);
    }
    taken.add(&crd["status"]["acceptedNames"]);
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
pub(super) fn refused(all: &Kinds) -> impl Iterator<Item = String> {
    all.definitions().filter(|definition| definition.is_refused).map(|definition| definition.name.clone())
}
