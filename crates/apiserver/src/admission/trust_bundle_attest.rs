//! ClusterTrustBundleAttest: only who may attest for a signer writes the bundles of its authorities.

use api::field::quote;
use api::status::Status;
use serde_json::Value;

use super::certificates::may_on_signer;
use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    validate: &[(Operation::Create, Handler::Now(check)), (Operation::Update, Handler::Now(check))],
    ..Plugin::named("ClusterTrustBundleAttest")
};

const GROUP: &str = "certificates.k8s.io";

fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let signer = object.pointer("/spec/signerName").and_then(Value::as_str).unwrap_or_default();
    if !attributes.is(GROUP, "clustertrustbundles") || signer.is_empty() {
        return Ok(());
    }
    if attributes.old.is_some_and(|old| old["spec"] == object["spec"]) {
        return Ok(());
    }
    if may_on_signer(attributes, signer, "attest") {
        return Ok(());
    }
    Err(attributes.forbidden(object, format!("user not permitted to attest for signerName {}", quote(signer))))
}
