//! Nodes.

use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};

use super::{check, names, pods};
use crate::field::{ErrorList, FieldError, Path};

/// Judges a new node.
pub(super) fn node(node: &Node, errors: &mut ErrorList) {
    resources(node, errors);
    let Some(spec) = &node.spec else {
        return;
    };
    // Upstream tells of taints as if they were metadata.
    taints(spec.taints.as_deref().unwrap_or_default(), &Path::new("metadata").child("taints"), errors);
    pod_cidrs(spec, errors);
}

/// What a node has and what it gives to pods.
fn resources(node: &Node, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = node.status.clone().unwrap_or_default();
    for (field, amounts) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
        for (name, amount) in amounts.iter().flatten() {
            pods::resources::amount(name, amount, &path.child(field).key(name), errors);
        }
    }
}

fn taints(taints: &[Taint], list: &Path, errors: &mut ErrorList) {
    for (index, taint) in taints.iter().enumerate() {
        let path = list.index(index);
        check::invalid(errors, &path.child("key"), taint.key.as_str(), names::qualified_name(&taint.key));
        let value = check::text(&taint.value);
        let judged = names::label_value(value);
        if !judged.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, judged.join(";")));
        }
        if check::required(errors, &path.child("effect"), &taint.effect) {
            pods::taint_effect(&taint.effect, &path.child("effect"), errors);
        }
        if taints[..index].iter().any(|earlier| earlier.key == taint.key && earlier.effect == taint.effect) {
            errors.push(FieldError::duplicate(&path, check::json(taint)));
        }
    }
}

fn pod_cidrs(spec: &NodeSpec, errors: &mut ErrorList) {
    let path = Path::new("spec").child("podCIDRs");
    let cidrs = spec.pod_cidrs.as_deref().unwrap_or_default();
    for (index, cidr) in cidrs.iter().enumerate() {
        check::invalid(errors, &path.index(index), cidr.as_str(), names::cidr(cidr));
    }
    if cidrs.len() > 2 {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(&path, cidrs.to_vec(), why));
    }
    if let [first, second] = cidrs
        && first.contains(':') == second.contains(':')
    {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(&path, cidrs.to_vec(), why));
    }
}

/// Judges an update of a node.
pub(super) fn node_update(new: &Node, old: &Node, errors: &mut ErrorList) {
    resources(new, errors);
    let addresses = new.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    for (index, address) in addresses.iter().enumerate().filter(|(index, found)| addresses[..*index].contains(found)) {
        let path = Path::new("status").child("addresses").index(index);
        errors.push(FieldError::duplicate(&path, check::json(address)));
    }
    let path = Path::new("spec");
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    taints(new.taints.as_deref().unwrap_or_default(), &Path::new("metadata").child("taints"), errors);
    let before = old.pod_cidrs.clone().unwrap_or_default();
    if !before.is_empty() && new.pod_cidrs.clone().unwrap_or_default() != before {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("podCIDRs"), why));
    } else if before.is_empty() {
        pod_cidrs(&new, errors);
    }
    let provider = check::text(&old.provider_id);
    if !provider.is_empty() && check::text(&new.provider_id) != provider {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("providerID"), why));
    }
}
