//! Nodes.

use k8s_openapi::api::core::v1::{ConfigMapNodeConfigSource, Node, NodeConfigSource, NodeSpec, Taint};

use super::{check, names, pods};
use crate::field::{ErrorList, FieldError, Path};

/// Judges a node.
pub(super) fn node(node: &Node, errors: &mut ErrorList) {
    let metadata = Path::new("metadata");
    let default = NodeSpec::default();
    let spec = node.spec.as_ref().unwrap_or(&default);
    // Upstream tells of taints, and below of swap, as if they were metadata.
    taints(spec.taints.as_deref().unwrap_or_default(), &metadata.child("taints"), errors);
    resources(node, errors);
    let swap = node.status.as_ref().and_then(|status| status.node_info.as_ref()).and_then(|info| info.swap.as_ref());
    if let Some(capacity) = swap.and_then(|swap| swap.capacity).filter(|capacity| *capacity <= 0) {
        let path = metadata.child("nodeSwapStatus").child("capacity");
        errors.push(FieldError::invalid(&path, capacity, "must be greater than zero"));
    }
    pod_cidrs(spec, errors);
}

/// What a node has and what it gives to pods.
fn resources(node: &Node, errors: &mut ErrorList) {
    let path = Path::new("status");
    let status = node.status.clone().unwrap_or_default();
    for (field, amounts) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
        for (name, amount) in amounts.iter().flatten() {
            pods::resources::amount(name, amount, &path.child(field).child(name), errors);
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
            let mut error = FieldError::duplicate(&path, check::json(taint));
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
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

/// Judges what changes in a node.
pub(super) fn node_update(new: &Node, old: &Node, errors: &mut ErrorList) {
    resources(new, errors);
    let status = new.status.clone().unwrap_or_default();
    let addresses = status.addresses.as_deref().unwrap_or_default();
    for (index, address) in addresses.iter().enumerate().filter(|(index, found)| addresses[..*index].contains(found)) {
        let path = Path::new("status").child("addresses").index(index);
        errors.push(FieldError::duplicate(&path, check::json(address)));
    }
    let path = Path::new("spec");
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let (now, before) = (new.pod_cidrs.clone().unwrap_or_default(), old.pod_cidrs.clone().unwrap_or_default());
    let changes = match before.len() == now.len() {
        _ if before.is_empty() => 0,
        true => now.iter().zip(&before).filter(|(now, before)| now != before).count(),
        false => 1,
    };
    for _ in 0..changes {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("podCIDRs"), why));
    }
    let provider = check::text(&old.provider_id);
    if !provider.is_empty() && check::text(&new.provider_id) != provider {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("providerID"), why));
    }
    if let Some(source) = &new.config_source {
        config_source(source, false, &path.child("configSource"), errors);
    }
    if let Some(config) = &status.config {
        let path = Path::new("status").child("config");
        for (field, source) in
            [("assigned", &config.assigned), ("active", &config.active), ("lastKnownGood", &config.last_known_good)]
        {
            source.iter().for_each(|source| config_source(source, true, &path.child(field), errors));
        }
    }
    taints(new.taints.as_deref().unwrap_or_default(), &Path::new("metadata").child("taints"), errors);
    if check::text(&new.external_id) != check::text(&old.external_id) {
        errors.push(FieldError::forbidden(&path.child("externalID"), "may not be updated"));
    }
}

/// Judges where a kubelet takes its configuration from, which none does any more; a status names the version.
fn config_source(source: &NodeConfigSource, in_status: bool, path: &Path, errors: &mut ErrorList) {
    let Some(map) = &source.config_map else {
        let why = "exactly one reference subfield must be non-nil";
        errors.push(FieldError::invalid(path, check::json(source), why));
        return;
    };
    let path = path.child("configMap");
    version(map, in_status, &path, errors);
    check::required_name(errors, &path.child("namespace"), &map.namespace, names::dns_label);
    check::required_name(errors, &path.child("name"), &map.name, names::dns_subdomain);
    check::required_name(errors, &path.child("kubeletConfigKey"), &map.kubelet_config_key, names::config_map_key);
}

fn version(map: &ConfigMapNodeConfigSource, in_status: bool, path: &Path, errors: &mut ErrorList) {
    for (field, value) in [("uid", &map.uid), ("resourceVersion", &map.resource_version)] {
        let (path, value) = (path.child(field), check::text(value));
        if in_status {
            check::required(errors, &path, value);
        } else if !value.is_empty() {
            errors.push(FieldError::forbidden(&path, format!("{field} must not be set in spec")));
        }
    }
}
