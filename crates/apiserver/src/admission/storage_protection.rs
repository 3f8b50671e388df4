//! StorageObjectInUseProtection: claims and volumes stay until nothing uses them.

use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Handler, Operation, Plugin};

/// The finalizer of each kind, which its protection controller takes away.
const FINALIZERS: [(&str, &str); 2] =
    [("persistentvolumeclaims", "kubernetes.io/pvc-protection"), ("persistentvolumes", "kubernetes.io/pv-protection")];

pub(super) const PLUGIN: Plugin =
    Plugin { admit: &[(Operation::Create, Handler::Now(create))], ..Plugin::named("StorageObjectInUseProtection") };

fn create(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let Some((_, finalizer)) = FINALIZERS.iter().find(|(plural, _)| attributes.is("", plural)) else {
        return Ok(());
    };
    if api::meta::finalizers(object).all(|found| found != *finalizer) {
        let finalizers = api::meta::metadata_mut(object).entry("finalizers").or_insert_with(|| json!([]));
        if let Some(finalizers) = finalizers.as_array_mut() {
            finalizers.push((*finalizer).into());
        }
    }
    Ok(())
}
