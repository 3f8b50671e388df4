//! PersistentVolumeClaimResize: only claims that are bound, of a storage class that allows it, grow.

use api::quota::amounts;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin =
    Plugin { validate: &[(Operation::Update, Handler::Now(check))], ..Plugin::named("PersistentVolumeClaimResize") };

fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let Some(old) = attributes.old.filter(|_| attributes.is("", "persistentvolumeclaims")) else { return Ok(()) };
    let size =
        |claim: &Value| amounts::resources(&claim["spec"], "requests").get("storage").copied().unwrap_or_default();
    if size(object) <= size(old) {
        return Ok(());
    }
    if old.pointer("/status/phase").and_then(Value::as_str) != Some("Bound") {
        return Err(attributes.forbidden(object, "Only bound persistent volume claims can be expanded"));
    }
    let class = api::quota::storage_class(object);
    let allows = class == api::quota::storage_class(old)
        && attributes
            .registry
            .cached_by("storage.k8s.io", "v1", "storageclasses", None, class)
            .is_some_and(|class| class.value().get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true));
    if allows {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
               resize";
    Err(attributes.forbidden(object, why))
}
