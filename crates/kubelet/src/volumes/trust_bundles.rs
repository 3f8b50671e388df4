//! The certificates of ClusterTrustBundles as the file of a volume.
//!
//! The file holds each certificate once and nothing else. Their order means nothing; it is that of their bytes, so that
//! the file stays as it is while the set does.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::selector::LabelSelector;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;

use crate::pods::References;

/// The file that a volume's source asks for; an error is a message for the user.
pub async fn file(source: &ClusterTrustBundleProjection, references: &References) -> Result<String, String> {
    let known = references.trust_bundles(source).await;
    let known = known.map_err(|err| format!("failed to read ClusterTrustBundles: {err}"))?;
    let bundles = select(source, known.values())?;
    if bundles.is_empty() && source.optional != Some(true) {
        return Err(match &source.name {
            Some(name) => format!("ClusterTrustBundle \"{name}\" not found"),
            None => "combination of signerName and labelSelector matched zero ClusterTrustBundles".to_owned(),
        });
    }
    let certificates: BTreeSet<_> =
        bundles.iter().flat_map(|bundle| pki::read_certificates(&bundle.spec.trust_bundle)).collect();
    Ok(pki::write_certificates(&certificates))
}

/// Those of some bundles that a source means: that of its name, or those of its signer that its selector selects.
fn select<'a>(
    source: &ClusterTrustBundleProjection,
    bundles: impl Iterator<Item = &'a Arc<ClusterTrustBundle>>,
) -> Result<Vec<&'a ClusterTrustBundle>, String> {
    // No selector selects nothing, an empty one everything.
    let selector = source.label_selector.as_ref().map(LabelSelector::from_k8s).transpose();
    let selector = selector.map_err(|err| format!("cannot read the label selector: {err}"))?;
    let is_meant = |bundle: &&ClusterTrustBundle| match &source.name {
        Some(_) => bundle.metadata.name == source.name,
        None => {
            let labels = bundle.metadata.labels.clone().unwrap_or_default();
            bundle.spec.signer_name == source.signer_name
                && selector.as_ref().is_some_and(|selector| selector.matches(&labels))
        }
    };
    Ok(bundles.map(|bundle| &**bundle).filter(is_meant).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testkit::object;

    use super::*;

    fn bundle(name: &str, signer: Option<&str>, label: &str) -> Arc<ClusterTrustBundle> {
        let maker = object::<ClusterTrustBundle>(name).label("part", label);
        Arc::new(maker.with(|bundle| bundle.spec.signer_name = signer.map(str::to_owned)).build())
    }

    #[track_caller]
    fn check(source: Value, expected: &[&str]) {
        let bundles = [
            bundle("plain", None, "a"),
            bundle("s:1", Some("example.com/s"), "a"),
            bundle("s:2", Some("example.com/s"), "b"),
            bundle("t:1", Some("example.com/t"), "a"),
        ];
        let source = serde_json::from_value(source).expect("a source");
        let selected = select(&source, bundles.iter()).expect("selected");
        let names: Vec<_> = selected.iter().filter_map(|bundle| bundle.metadata.name.as_deref()).collect();
        assert_eq!(names, expected, "{source:?}");
    }

    #[test]
    fn bundles_are_selected_by_name_or_by_signer_and_labels() {
        check(json!({"path": "p", "name": "plain"}), &["plain"]);
        check(json!({"path": "p", "name": "s:1"}), &["s:1"]);
        check(json!({"path": "p", "name": "gone"}), &[]);
        check(json!({"path": "p", "signerName": "example.com/s"}), &[]);
        check(json!({"path": "p", "signerName": "example.com/s", "labelSelector": {}}), &["s:1", "s:2"]);
        let labels = json!({"matchLabels": {"part": "a"}});
        check(json!({"path": "p", "signerName": "example.com/s", "labelSelector": labels}), &["s:1"]);
    }
}
