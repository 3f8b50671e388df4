//! OwnerReferencesPermissionEnforcement: an object gets owners only from those who may delete it, and owners that hold up
//! their own deletion for it only from those who may set their finalizers.

use api::kinds::Resource;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};
use crate::access::attributes::{Attributes as Question, ResourceAttributes};
use crate::access::authorization::Decision;

pub(super) const PLUGIN: Plugin = Plugin {
    validate: &[(Operation::Create, Handler::Now(check)), (Operation::Update, Handler::Now(check))],
    ..Plugin::off("OwnerReferencesPermissionEnforcement")
};

fn references(object: &Value) -> Vec<&Value> {
    object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten().collect()
}

fn blocks(reference: &Value) -> bool {
    reference["blockOwnerDeletion"] == true
}

fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let new = references(object);
    let old = attributes.old.map(references).unwrap_or_default();
    if new == old {
        return Ok(());
    }
    let resource = attributes.scope.resource;
    // Upstream tells the reason and, behind it, what has failed, which is most often nothing.
    let refuse = |why: &str, verb: &str, asked: ResourceAttributes<'_>| {
        let question = Question::of_verb(attributes.caller.identity, verb, asked);
        match attributes.registry.authorization.decide_now(&question) {
            Decision::Allow(_) => None,
            Decision::Deny(refused) | Decision::NoOpinion(refused) => {
                Some(format!("{why}: {}, {}", refused.reason, refused.error.as_deref().unwrap_or("<nil>")))
            }
        }
    };
    // What is about to be made has no name that roles could know, and whoever makes it may give it owners.
    if attributes.operation == Operation::Update {
        let asked = ResourceAttributes {
            group: &resource.group,
            resource: &resource.plural,
            subresource: attributes.caller.subresource,
            namespace: attributes.scope.namespace.unwrap_or_default(),
            name: attributes.name(Some(object)),
            ..ResourceAttributes::default()
        };
        if let Some(why) = refuse("cannot set an ownerRef on a resource you can't delete", "delete", asked) {
            return Err(attributes.forbidden(object, why));
        }
    }
    let was_blocking = |reference: &Value| old.iter().any(|old| blocks(old) && old["uid"] == reference["uid"]);
    for reference in new.iter().filter(|reference| blocks(reference) && !was_blocking(reference)) {
        let Some(owner) = owner(attributes, reference) else {
            let text = |field: &str| reference[field].as_str().unwrap_or_default();
            let (version, kind) = (text("apiVersion"), text("kind"));
            let why = format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind \
                 {kind}: no matches for kind {} in version {}",
                api::field::quote(kind),
                api::field::quote(version)
            );
            return Err(attributes.forbidden(object, why));
        };
        let asked = ResourceAttributes {
            group: &owner.group,
            resource: &owner.plural,
            subresource: "finalizers",
            namespace: if owner.namespaced { attributes.scope.namespace.unwrap_or_default() } else { "" },
            name: reference["name"].as_str().unwrap_or_default(),
            ..ResourceAttributes::default()
        };
        let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
        if let Some(why) = refuse(why, "update", asked) {
            return Err(attributes.forbidden(object, why));
        }
    }
    Ok(())
}

fn owner(attributes: &Attributes<'_>, reference: &Value) -> Option<Resource> {
    let (group, version) = api::meta::split_api_version(reference["apiVersion"].as_str()?);
    let kinds = attributes.registry.kinds();
    kinds.find_kind(group, version, reference["kind"].as_str()?).map(|found| Resource::clone(found))
}
