//! Bundles of trust anchors.

use std::collections::BTreeMap;

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::signer_name;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

const MAX_BUNDLE: usize = 1024 * 1024;

/// Judges a new bundle.
pub(in crate::validation) fn trust_bundle(bundle: &ClusterTrustBundle, errors: &mut ErrorList) {
    named(bundle, errors);
    anchors(&bundle.spec.trust_bundle, &Path::new("spec").child("trustBundle"), errors);
}

/// Judges an update of a bundle; anchors that did not change were good enough once.
pub(in crate::validation) fn trust_bundle_update(
    new: &ClusterTrustBundle,
    old: &ClusterTrustBundle,
    errors: &mut ErrorList,
) {
    named(new, errors);
    let path = Path::new("spec");
    if new.spec.trust_bundle != old.spec.trust_bundle {
        anchors(&new.spec.trust_bundle, &path.child("trustBundle"), errors);
    }
    let signer_path = path.child("signerName");
    check::immutable(errors, &signer_path, check::text(&new.spec.signer_name), check::text(&old.spec.signer_name));
}

fn named(bundle: &ClusterTrustBundle, errors: &mut ErrorList) {
    let name = check::text(&bundle.metadata.name);
    let signer = check::text(&bundle.spec.signer_name);
    check::invalid(errors, &Path::new("metadata").child("name"), name, trust_bundle_name(name, signer));
    if !signer.is_empty() {
        signer_name(errors, &Path::new("spec").child("signerName"), signer);
    }
}

/// A bundle is named after its signer, if it has one.
pub(in crate::validation) fn trust_bundle_name(name: &str, signer: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()],
            false => names::dns_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        None => vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")],
        Some(rest) => names::dns_subdomain(rest),
    }
}

fn anchors(bundle: &str, path: &Path, errors: &mut ErrorList) {
    if bundle.len() > MAX_BUNDLE {
        errors.push(FieldError::too_long(path, MAX_BUNDLE));
        return;
    }
    let mut told = Vec::new();
    let mut seen: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (index, block) in Pem::iter_from_buffer(bundle.as_bytes()).map_while(Result::ok).enumerate() {
        match anchor(&block) {
            Some(why) => told.push(format!("entry {index} {why}")),
            None => seen.entry(block.contents).or_default().push(index),
        }
    }
    if told.is_empty() {
        if seen.is_empty() {
            told.push("at least one trust anchor must be provided".to_owned());
        }
        for indexes in seen.values().filter(|indexes| indexes.len() > 1) {
            let list: Vec<String> = indexes.iter().map(usize::to_string).collect();
            told.push(format!("duplicate trust anchor (indices [{}])", list.join(" ")));
        }
    }
    check::invalid(errors, path, "<value omitted>", told);
}

/// What is wrong with one anchor.
fn anchor(block: &Pem) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    match X509Certificate::from_der(&block.contents) {
        Err(_) => Some("does not parse as X.509".to_owned()),
        Ok((_, certificate)) => (!certificate.is_ca()).then(|| "does not have the CA bit set".to_owned()),
    }
}
