//! NodeRestriction: a kubelet changes its own node and the pods that are bound to it, and nothing of others.
//!
//! The Node authorizer says which resources a kubelet may write; this plugin looks at the objects.

mod certificates;
mod labels;
mod pods;
mod tokens;

use api::field::quote;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};
use crate::access::node::NodeAuthorizer;

const LEASES: &str = "kube-node-lease";

/// Why a kubelet may not; [`Attributes::forbidden`] makes a 403 of it.
type Refusal = Result<(), String>;

/// A write of a kubelet.
struct Asked<'a> {
    attributes: &'a Attributes<'a>,
    /// The kubelet's node.
    node: &'a str,
    /// The new object, or the one that is to be deleted.
    object: &'a Value,
}

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[
        (Operation::Create, Handler::Now(judge)),
        (Operation::Update, Handler::Now(judge)),
        (Operation::Delete, Handler::Now(judge)),
    ],
    ..Plugin::named("NodeRestriction")
};

fn judge(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let Some(node) = NodeAuthorizer::node_of(attributes.caller.identity) else { return Ok(()) };
    let asked = Asked { attributes, node, object };
    let refusal = match node {
        "" => Err(format!("could not determine node from user {}", quote(&attributes.caller.identity.user))),
        _ => asked.judge(),
    };
    refusal.map_err(|why| attributes.forbidden(object, why))
}

impl Asked<'_> {
    fn judge(&self) -> Refusal {
        let resource = self.attributes.scope.resource;
        let subresource = self.attributes.caller.subresource;
        match (&*resource.group, &*resource.plural, subresource) {
            ("", "pods", "") => self.pod(),
            ("", "pods", "status") => self.pod_status(),
            ("", "pods", "eviction") => self.pod_eviction(),
            ("", "pods", other) => {
                Err(format!("unexpected pod subresource {}, only 'status' and 'eviction' are allowed", quote(other)))
            }
            ("", "nodes", _) => self.node(),
            ("", "persistentvolumeclaims", "status") => self.claim_status(),
            ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
            ("", "serviceaccounts", "token") => self.token(),
            ("coordination.k8s.io", "leases", _) => self.lease(),
            ("storage.k8s.io", "csinodes", _) if api::meta::name(self.object) != self.node => {
                Err("can only access CSINode with the same name as the requesting node".to_owned())
            }
            ("resource.k8s.io", "resourceslices", _) => self.resource_slice(),
            ("certificates.k8s.io", "certificatesigningrequests", "") => self.certificate_request(),
            ("certificates.k8s.io", "podcertificaterequests", "") => self.pod_certificate_request(),
            _ => Ok(()),
        }
    }

    fn quoted(&self) -> String {
        quote(self.node)
    }

    fn node(&self) -> Refusal {
        let name = api::meta::name(self.object);
        let old = self.attributes.old;
        let changed = labels::forbidden_changes(self.object, old);
        if self.attributes.operation == Operation::Create && !changed.is_empty() {
            return Err(format!("is not allowed to set the following labels: {}", changed.join(", ")));
        }
        if name != self.node {
            return Err(format!("node {} is not allowed to modify node {}", self.quoted(), quote(name)));
        }
        let Some(old) = old else { return Ok(()) };
        let differs = |path: &str| present(self.object, path) != present(old, path);
        if differs("/spec/taints") {
            return Err(format!("node {} is not allowed to modify taints", self.quoted()));
        }
        if differs("/metadata/ownerReferences") {
            return Err(format!("node {} is not allowed to modify ownerReferences", self.quoted()));
        }
        if !changed.is_empty() {
            return Err(format!("is not allowed to modify labels: {}", changed.join(", ")));
        }
        Ok(())
    }

    /// What a kubelet reports of a claim is its size and how a resize goes on.
    fn claim_status(&self) -> Refusal {
        let Some(old) = self.attributes.old else { return Ok(()) };
        let rest = |claim: &Value| {
            let mut claim = claim.clone();
            if let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) {
                for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
                    status.remove(field);
                }
            }
            for field in ["managedFields", "resourceVersion"] {
                api::meta::remove(&mut claim, field);
            }
            claim
        };
        if rest(self.object) == rest(old) {
            return Ok(());
        }
        Err(format!(
            "node {} is not allowed to update fields other than status.quantity and status.conditions",
            self.quoted()
        ))
    }

    fn lease(&self) -> Refusal {
        if self.attributes.scope.namespace != Some(LEASES) {
            return Err(format!("can only access leases in the {} system namespace", quote(LEASES)));
        }
        if api::meta::name(self.object) != self.node {
            return Err("can only access node lease with the same name as the requesting node".to_owned());
        }
        Ok(())
    }

    fn resource_slice(&self) -> Refusal {
        let of = |slice: &Value| text(slice, "/spec/nodeName") == self.node;
        let (verb, is_own) = match self.attributes.operation {
            Operation::Create => ("create", of(self.object)),
            Operation::Update => ("update", of(self.object) && self.attributes.old.is_none_or(of)),
            Operation::Delete | Operation::Connect => ("delete", of(self.object)),
        };
        if is_own {
            Ok(())
        } else {
            Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
        }
    }

    /// A kubelet asks for certificates in its own name.
    fn certificate_request(&self) -> Refusal {
        let signer = text(self.object, "/spec/signerName");
        let is_kubelets =
            matches!(signer, "kubernetes.io/kube-apiserver-client-kubelet" | "kubernetes.io/kubelet-serving");
        if self.attributes.operation != Operation::Create || !is_kubelets {
            return Ok(());
        }
        let user = &self.attributes.caller.identity.user;
        match crate::admission::certificates::requested(self.object, common_name) {
            Some(name) if name == *user => Ok(()),
            // What is no request at all is for validation to refuse.
            None => Ok(()),
            Some(_) => Err(format!("can only create a node CSR with CN={user}")),
        }
    }
}

fn common_name(subject: &x509_parser::x509::X509Name<'_>) -> String {
    subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The value at a path, unless it says nothing.
fn present<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    object.pointer(path).filter(|value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    })
}
