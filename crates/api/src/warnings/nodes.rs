//! Nodes and what selects them.

use serde_json::Value;

use super::{Found, entries, has, list, text};
use crate::field::Path;

/// Labels of the first years, and what to use in their place.
const DEPRECATED_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
];

/// What is said of a label that should not be used any more.
pub(super) fn deprecated_label(key: &str) -> Option<String> {
    let (_, since, other) = DEPRECATED_LABELS.iter().find(|(known, _, _)| *known == key)?;
    Some(format!("deprecated since {since}; use \"{other}\" instead"))
}

/// One term of a selector of nodes.
pub(super) fn selector_term(term: &Value, path: &Path, found: &mut Found) {
    for (index, expression) in list(term, "/matchExpressions").iter().enumerate() {
        let key = text(expression, "/key");
        if let Some(why) = deprecated_label(key) {
            let path = path.child("matchExpressions").index(index).child("key");
            found.add(&path, format_args!("{key} is {why}"));
        }
    }
}

pub(super) fn node(object: &Value, _: Option<&Value>, found: &mut Found) {
    let path = Path::new("spec");
    if has(object, "/spec/configSource") {
        found.add(&path.child("configSource"), "the feature is removed");
    }
    if !text(object, "/spec/externalID").is_empty() {
        found.add(&path.child("externalID"), "this field is deprecated, and is unused by Kubernetes");
    }
}

pub(super) fn runtime_class(object: &Value, _: Option<&Value>, found: &mut Found) {
    for why in entries(object, "/scheduling/nodeSelector").filter_map(|(key, _)| deprecated_label(key)) {
        found.add(&Path::new("scheduling").child("nodeSelector"), why);
    }
}

pub(super) fn storage_capacity(object: &Value, _: Option<&Value>, found: &mut Found) {
    let path = Path::new("nodeTopology");
    selector_term(&object["nodeTopology"], &path, found);
    for (key, _) in entries(object, "/nodeTopology/matchLabels") {
        if let Some(why) = deprecated_label(key) {
            found.add(&path.child("matchLabels").key(key), why);
        }
    }
}
