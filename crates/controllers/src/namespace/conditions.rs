//! What a namespace in deletion says about its end.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::content::Left;

/// One condition: its type, what it says when all is well, and what when not.
struct Statement {
    type_: &'static str,
    well: (&'static str, &'static str),
    reason: &'static str,
    trouble: Option<String>,
}

fn statements(left: &Left) -> Vec<Statement> {
    let counted = |counts: &std::collections::BTreeMap<String, usize>, verb: &str| {
        let parts: Vec<String> =
            counts.iter().map(|(what, count)| format!("{what} {verb} {count} resource instances")).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    };
    let listed = |lead: &str, what: &str, list: &[String]| {
        (!list.is_empty()).then(|| format!("{lead}, {} {what}: {}", list.len(), list.join("; ")))
    };
    vec![
        Statement {
            type_: "NamespaceDeletionDiscoveryFailure",
            well: ("ResourcesDiscovered", "All resources successfully discovered"),
            reason: "DiscoveryFailed",
            trouble: listed("Discovery failed for some groups", "failing", &left.undiscovered),
        },
        Statement {
            type_: "NamespaceDeletionGroupVersionParsingFailure",
            well: ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            reason: "GroupVersionParsingFailed",
            trouble: None,
        },
        Statement {
            type_: "NamespaceDeletionContentFailure",
            well: ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            reason: "ContentDeletionFailed",
            trouble: listed("Failed to delete all resource types", "remaining", &left.failures),
        },
        Statement {
            type_: "NamespaceContentRemaining",
            well: ("ContentRemoved", "All content successfully removed"),
            reason: "SomeResourcesRemain",
            trouble: counted(&left.objects, "has").map(|text| format!("Some resources are remaining: {text}")),
        },
        Statement {
            type_: "NamespaceFinalizersRemaining",
            well: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            reason: "SomeFinalizersRemain",
            trouble: counted(&left.finalizers, "in")
                .map(|text| format!("Some content in the namespace has finalizers remaining: {text}")),
        },
    ]
}

/// Brings phase and conditions up to date. Returns whether something changed.
pub(super) fn update(status: &mut NamespaceStatus, left: &Left, now: Timestamp) -> bool {
    let mut changed = status.phase.as_deref() != Some("Terminating");
    status.phase = Some("Terminating".to_owned());
    let conditions = status.conditions.get_or_insert_default();
    for Statement { type_, well, reason, trouble } in statements(left) {
        let (truth, reason, message) = match trouble {
            Some(message) => ("True", reason, message),
            None => ("False", well.0, well.1.to_owned()),
        };
        let known = conditions.iter_mut().find(|condition| condition.type_ == type_);
        if let Some(known) = &known
            && known.status == truth
            && known.reason.as_deref() == Some(reason)
            && known.message.as_deref() == Some(&message)
        {
            continue;
        }
        changed = true;
        let since = match &known {
            Some(known) if known.status == truth => known.last_transition_time.clone(),
            _ => Some(Time(now)),
        };
        let condition = NamespaceCondition {
            type_: type_.to_owned(),
            status: truth.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since,
        };
        match known {
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use testkit::at;

    use super::*;

    #[test]
    fn what_is_left_is_told_once() {
        let mut left = Left::default();
        left.objects.insert("pods.".to_owned(), 2);
        left.finalizers.insert("example.com/hold".to_owned(), 1);
        let mut status = NamespaceStatus::default();
        assert!(update(&mut status, &left, at(0)));
        assert!(!update(&mut status, &left, at(5)));
        let troubles: Vec<_> = status.conditions.iter().flatten().filter(|known| known.status == "True").collect();
        let messages: Vec<_> = troubles.iter().filter_map(|known| known.message.as_deref()).collect();
        assert_eq!(
            messages,
            [
                "Some resources are remaining: pods. has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
            ]
        );
    }
}
