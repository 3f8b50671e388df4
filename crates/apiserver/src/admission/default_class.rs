//! DefaultStorageClass and DefaultIngressClass: claims and ingresses that name no class get the default one.

use std::cmp::Reverse;

use api::status::Status;
use serde_json::Value;

use super::documents::Kept;
use super::{Attributes, Handler, Operation, Plugin};

pub(super) const STORAGE: Plugin =
    Plugin { admit: &[(Operation::Create, Handler::Now(storage))], ..Plugin::named("DefaultStorageClass") };

pub(super) const INGRESS: Plugin =
    Plugin { admit: &[(Operation::Create, Handler::Now(ingress))], ..Plugin::named("DefaultIngressClass") };

/// Gives a claim the default storage class.
fn storage(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let names_class = object["spec"].get("storageClassName").is_some()
        || api::meta::annotation(object, api::quota::STORAGE_CLASS).is_some();
    if attributes.is("", "persistentvolumeclaims") && !names_class {
        let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        if let Some(name) = default(attributes, Kept::StorageClasses, &marks) {
            object["spec"]["storageClassName"] = name.into();
        }
    }
    Ok(())
}

/// Gives an ingress the default ingress class.
fn ingress(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let names_class = object["spec"].get("ingressClassName").is_some()
        || api::meta::annotation(object, "kubernetes.io/ingress.class").is_some();
    if attributes.is("networking.k8s.io", "ingresses") && !names_class {
        let marks = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(name) = default(attributes, Kept::IngressClasses, &marks) {
            object["spec"]["ingressClassName"] = name.into();
        }
    }
    Ok(())
}

/// The newest class that is marked as the default, the first by name of several.
fn default(attributes: &Attributes<'_>, kept: Kept, marks: &[&str]) -> Option<String> {
    let classes = attributes.all(kept).into_iter();
    let defaults = classes.filter(|class| marks.iter().any(|mark| api::meta::annotation(class, mark) == Some("true")));
    let ranked = defaults.map(|class| {
        let created = class.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default();
        (Reverse(created.to_owned()), api::meta::name(&class).to_owned())
    });
    ranked.min().map(|(_, name)| name)
}
