//! Pods of a kubelet: it makes mirror pods of its own manifests, and reports and ends those that are bound to it.

use api::field::quote;
use api::quota::amounts;
use serde_json::Value;

use super::{Asked, Refusal, present, text};
use crate::admission::{MIRROR, Operation};

impl Asked<'_> {
    pub(super) fn pod(&self) -> Refusal {
        match self.attributes.operation {
            Operation::Create => self.mirror_pod(),
            Operation::Delete if self.is_bound_here(self.object) => Ok(()),
            Operation::Delete => {
                Err(format!("node {} can only delete pods with spec.nodeName set to itself", self.quoted()))
            }
            Operation::Update | Operation::Connect => Err(format!(
                "unexpected operation {}, node {} can only create and delete mirror pods",
                quote(self.attributes.operation.as_str()),
                self.quoted()
            )),
        }
    }

    fn is_bound_here(&self, pod: &Value) -> bool {
        text(pod, "/spec/nodeName") == self.node
    }

    fn mirror_pod(&self) -> Refusal {
        let (pod, node) = (self.object, self.quoted());
        if api::meta::annotation(pod, MIRROR).is_none() {
            let mirror = quote(MIRROR);
            return Err(format!("pod does not have {mirror} annotation, node {node} can only create mirror pods"));
        }
        if !self.is_bound_here(pod) {
            return Err(format!("node {node} can only create pods with spec.nodeName set to itself"));
        }
        self.owner(pod)?;
        let refers = |what: &str| Err(format!("node {node} can not create pods that reference {what}"));
        if !text(pod, "/spec/serviceAccountName").is_empty() {
            return refers("a service account");
        }
        let volumes = || pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
        let has = |field: &str| volumes().any(|volume| volume.get(field).is_some());
        let variables = |path: &str| containers(pod).any(|container| mentions(container, path));
        if has("secret")
            || variables("secretRef")
            || variables("secretKeyRef")
            || present(pod, "/spec/imagePullSecrets").is_some()
        {
            return refers("secrets");
        }
        if has("configMap") || variables("configMapRef") || variables("configMapKeyRef") {
            return refers("configmaps");
        }
        let projected = volumes().flat_map(|volume| volume.pointer("/projected/sources").and_then(Value::as_array));
        for source in projected.flatten() {
            match () {
                () if source.get("secret").is_some() => return refers("secrets"),
                () if source.get("configMap").is_some() => return refers("configmaps"),
                () if source.get("serviceAccountToken").is_some() => return refers("service account tokens"),
                () if source.get("clusterTrustBundle").is_some() => return refers("cluster trust bundles"),
                () if source.get("podCertificate").is_some() => return refers("pod certificates"),
                () => {}
            }
        }
        if has("persistentVolumeClaim") || has("ephemeral") {
            return refers("persistentvolumeclaims");
        }
        if present(pod, "/spec/resourceClaims").is_some() {
            return refers("resourceclaims");
        }
        Ok(())
    }

    /// A mirror pod belongs to its node, so that it goes with it.
    fn owner(&self, pod: &Value) -> Refusal {
        let node = self.quoted();
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array).map(Vec::as_slice);
        let owner = match owners.unwrap_or_default() {
            [owner] => owner,
            [] => return Err(format!("node {node} can only create pods with an owner reference set to itself")),
            _ => return Err(format!("node {node} can only create pods with a single owner reference set to itself")),
        };
        let is_node =
            (text(owner, "/apiVersion"), text(owner, "/kind"), text(owner, "/name")) == ("v1", "Node", self.node);
        if !is_node {
            return Err(format!("node {node} can only create pods with an owner reference set to itself"));
        }
        let flag = |field: &str| owner.get(field).and_then(Value::as_bool) == Some(true);
        if !flag("controller") {
            return Err(format!("node {node} can only create pods with a controller owner reference set to itself"));
        }
        if flag("blockOwnerDeletion") {
            return Err(format!("node {node} must not set blockOwnerDeletion on an owner reference"));
        }
        let Some(found) = self.attributes.registry.cached_by("", "v1", "nodes", None, self.node) else {
            return Err(format!("node {node} not found"));
        };
        let uid = text(owner, "/uid");
        if uid != &*found.uid {
            return Err(format!("node {} UID mismatch: expected {uid} got {}", self.node, found.uid));
        }
        Ok(())
    }

    pub(super) fn pod_status(&self) -> Refusal {
        let Some(old) = self.attributes.old else { return Ok(()) };
        let node = self.quoted();
        if !self.is_bound_here(old) {
            return Err(format!("node {node} can only update pod status for pods with spec.nodeName set to itself"));
        }
        if present(self.object, "/metadata/labels") != present(old, "/metadata/labels") {
            return Err(format!("node {node} cannot update labels through pod status"));
        }
        for (path, what) in [
            ("/status/resourceClaimStatuses", "resource claim statuses"),
            ("/status/extendedResourceClaimStatus", "extended resource claim status"),
        ] {
            if present(self.object, path) != present(old, path) {
                return Err(format!("node {node} cannot update {what}"));
            }
        }
        Ok(())
    }

    pub(super) fn pod_eviction(&self) -> Refusal {
        let (attributes, name) = (self.attributes, self.attributes.name(Some(self.object)));
        let pod = attributes.registry.cached_by("", "v1", "pods", attributes.scope.namespace, name);
        // What is not there is not evicted.
        if pod.is_none_or(|pod| pod.field("spec.nodeName") == Some(self.node)) {
            return Ok(());
        }
        Err(format!("node {} can only evict pods with spec.nodeName set to itself", self.quoted()))
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| amounts::containers(pod, list))
}

/// Whether a container's environment comes from such a source.
fn mentions(container: &Value, source: &str) -> bool {
    let list = |field: &str| container.get(field).and_then(Value::as_array).into_iter().flatten();
    list("envFrom").any(|from| from.get(source).is_some())
        || list("env").any(|variable| variable.get("valueFrom").is_some_and(|from| from.get(source).is_some()))
}
