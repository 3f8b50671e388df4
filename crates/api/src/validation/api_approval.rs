//! The approval that definitions in the groups of Kubernetes need, as an annotation says it.

use serde_json::Value;

use crate::field::quote;
use crate::meta;

/// The annotation: the URL of the approval, or a reason why there is none.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation of a definition says; the text says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// There is one.
    Approved(String),
    /// There is none, and that is said.
    Bypassed(String),
    /// The annotation makes no sense.
    Invalid(String),
    /// There is no annotation.
    Missing(String),
}

impl Approval {
    /// Why.
    #[must_use]
    pub fn into_message(self) -> String {
        match self {
            Self::Approved(why) | Self::Bypassed(why) | Self::Invalid(why) | Self::Missing(why) => why,
        }
    }

    /// Whether both are of one sort, whatever they say.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The approval of a definition; `None` if its group needs none.
#[must_use]
pub fn of(crd: &Value) -> Option<Approval> {
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    let is_protected = group == "k8s.io"
        || group == "kubernetes.io"
        || group.ends_with(".k8s.io")
        || group.ends_with(".kubernetes.io");
    if !is_protected {
        return None;
    }
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let annotation = meta::annotation(crd, ANNOTATION).unwrap_or_default();
    let must = format!("protected groups must have approval annotation {}", quote(ANNOTATION));
    Some(match annotation {
        "" => Approval::Missing(format!("{must}, {see}")),
        reason if reason.starts_with("unapproved") => Approval::Bypassed(format!("not approved: {}", quote(reason))),
        url if is_url(url) => Approval::Approved(format!("approved in {url}")),
        _ => Approval::Invalid(format!("{must} with either a URL or a reason starting with \"unapproved\", {see}")),
    })
}

/// Whether a text has a scheme and a host.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        is_scheme && !rest.is_empty() && !rest.starts_with(['/', '?', '#']) && !rest.contains(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(group: &str, annotation: &str, expected: Option<&str>) {
        let crd = json!({"metadata": {"annotations": {ANNOTATION: annotation}}, "spec": {"group": group}});
        assert_eq!(of(&crd).map(|approval| format!("{approval:?}")).as_deref().map(|text| &text[..4]), expected);
    }

    #[test]
    fn only_groups_of_kubernetes_need_approval() {
        check("example.com", "", None);
        check("networking.k8s.io", "", Some("Miss"));
        check("a.kubernetes.io", "unapproved, experimental", Some("Bypa"));
        check("a.kubernetes.io", "https://github.com/kubernetes/kubernetes/pull/1", Some("Appr"));
        check("a.kubernetes.io", "yes", Some("Inva"));
    }
}
