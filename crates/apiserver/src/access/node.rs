//! The Node authorizer: a kubelet may do what the pods of its node need, and no more.
//!
//! Upstream leaves to the admission plugin NodeRestriction what depends on the object that a kubelet writes.

mod graph;

use api::field::quote;

use super::attributes::{Asked, Attributes, ResourceAttributes};
use super::authorization::{Decision, Refused};
use super::identity::Identity;
use super::rbac::{Rule, node_rules};
use crate::cache::{Cache, Derived};

use graph::{Graph, Vertex};

/// The group that kubelets are in, and how their names begin.
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

const LEASES: &str = "kube-node-lease";

/// Decides for kubelets.
pub(crate) struct NodeAuthorizer {
    graph: Derived<Graph>,
    /// The rules of the ClusterRole `system:node`, which hold for what is not bound to one node.
    rules: Vec<Rule>,
}

type Refusal = Result<(), String>;

fn refuse(why: &str) -> Refusal {
    Err(why.to_owned())
}

impl NodeAuthorizer {
    pub(crate) fn new(cache: &Cache) -> Self {
        Self { graph: Derived::new(cache), rules: node_rules() }
    }

    /// The node whose kubelet this is, if it is one; empty for one without a name.
    pub(crate) fn node_of(identity: &Identity) -> Option<&str> {
        let name = identity.user.strip_prefix(NODE_PREFIX)?;
        identity.is_in(NODES).then_some(name)
    }

    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let Some(node) = Self::node_of(attributes.identity) else { return Decision::NoOpinion(Refused::default()) };
        if node.is_empty() {
            let why = format!("unknown node for user {}", quote(&attributes.identity.user));
            return Decision::no_opinion(why);
        }
        let judged = match &attributes.target {
            Asked::Resource(resource) => self.judge(node, attributes.verb, resource),
            Asked::Path(_) => None,
        };
        match judged {
            Some(Ok(())) => Decision::allow(),
            Some(Err(why)) => Decision::no_opinion(why),
            None if self.rules.iter().any(|rule| rule.allows(attributes)) => Decision::allow(),
            None => Decision::NoOpinion(Refused::default()),
        }
    }

    /// What is said about resources whose objects belong to nodes; nothing about others.
    fn judge(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Option<Refusal> {
        let refusal = match (asked.group, asked.resource) {
            ("", "secrets") => self.read(node, verb, asked, Vertex::Secret),
            ("", "configmaps") => self.read(node, verb, asked, Vertex::ConfigMap),
            ("", "persistentvolumeclaims") if asked.subresource == "status" => match verb {
                "update" | "patch" => self.related(node, asked, Vertex::Claim),
                _ => refuse("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(node, verb, asked, Vertex::Claim),
            ("", "persistentvolumes") => self.get(node, verb, asked, Vertex::Volume),
            ("resource.k8s.io", "resourceclaims") => self.get(node, verb, asked, Vertex::ResourceClaim),
            ("storage.k8s.io", "volumeattachments") => self.get(node, verb, asked, Vertex::Attachment),
            ("", "serviceaccounts") => self.service_account(node, verb, asked),
            ("coordination.k8s.io", "leases") => lease(node, verb, asked),
            ("storage.k8s.io", "csinodes") => csi_node(node, verb, asked),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(node, verb, asked),
            ("certificates.k8s.io", "podcertificaterequests") => self.certificate_request(node, verb, asked),
            ("", "nodes") => own_node(node, verb, asked),
            ("", "pods") => self.pod(node, verb, asked),
            _ => return None,
        };
        Some(refusal)
    }

    /// Get of one object that belongs to the node.
    fn get(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>, vertex: Vertex) -> Refusal {
        match (verb, asked.subresource) {
            ("get", "") => self.related(node, asked, vertex),
            ("get", _) => refuse("cannot get subresource"),
            _ => refuse("can only get individual resources of this type"),
        }
    }

    /// Get, list and watch of one object that belongs to the node.
    fn read(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>, vertex: Vertex) -> Refusal {
        match (verb, asked.subresource) {
            ("get" | "list" | "watch", "") if asked.namespace.is_empty() => {
                refuse("can only read namespaced object of this type")
            }
            ("get" | "list" | "watch", "") => self.related(node, asked, vertex),
            ("get" | "list" | "watch", _) => refuse("cannot read subresource"),
            _ => refuse("can only read resources of this type"),
        }
    }

    fn related(&self, node: &str, asked: &ResourceAttributes<'_>, vertex: Vertex) -> Refusal {
        if asked.name.is_empty() {
            return refuse("No Object name found");
        }
        if self.graph.read(|graph| graph.reaches(vertex, asked.namespace, asked.name, node)) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{node}' and this object"))
    }

    /// A kubelet gets tokens for the accounts of its pods, and reads those accounts.
    fn service_account(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
        match (verb, asked.subresource) {
            ("get", "") => self.related(node, asked, Vertex::ServiceAccount),
            ("create", "token") if !asked.name.is_empty() => self.related(node, asked, Vertex::ServiceAccount),
            ("create", _) if !asked.name.is_empty() => refuse("can only create token subresource of serviceaccount"),
            _ => refuse("can only create tokens for individual service accounts"),
        }
    }

    fn resource_slice(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
        if !asked.subresource.is_empty() {
            return refuse("cannot authorize ResourceSlice subresources");
        }
        match verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, asked, Vertex::ResourceSlice),
            "watch" | "list" | "deletecollection" if selects(asked, "spec.nodeName", node) => Ok(()),
            "watch" | "list" | "deletecollection" => {
                refuse("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => refuse(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
        }
    }

    /// A kubelet asks for certificates of its pods, and sees what becomes of that.
    fn certificate_request(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
        if !asked.subresource.is_empty() {
            return refuse("cannot authorize PodCertificateRequest subresources");
        }
        match verb {
            // Which pods it asks for is NodeRestriction's question.
            "create" => Ok(()),
            "get" => self.related(node, asked, Vertex::CertificateRequest),
            "list" | "watch" if selects(asked, "spec.nodeName", node) => Ok(()),
            "list" | "watch" => refuse("can only list/watch podcertificaterequests with spec.nodeName field selector"),
            _ => refuse("only the following verbs are allowed for a PodCertificateRequest: create, get, list, watch"),
        }
    }

    fn pod(&self, node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
        match (asked.subresource, verb) {
            ("", "get") => self.related(node, asked, Vertex::Pod),
            ("", "list" | "watch") if selects(asked, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(node, asked, Vertex::Pod),
            ("", "list" | "watch") => refuse("can only list/watch pods with spec.nodeName field selector"),
            // Which pods it may make and delete is NodeRestriction's question.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => refuse(""),
        }
    }
}

fn selects(asked: &ResourceAttributes<'_>, field: &str, value: &str) -> bool {
    asked.fields.and_then(|fields| fields.required_value(field)) == Some(value)
}

fn own_node(node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
    match (asked.subresource, verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        // The name is compared, so that a kubelet can look for its node before there is one.
        ("", "get" | "list" | "watch") if asked.name == node => Ok(()),
        ("", "get" | "list" | "watch") if asked.name.is_empty() => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Err(format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
        }
        _ => refuse(""),
    }
}

fn lease(node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
    match verb {
        "get" | "create" | "update" | "patch" | "delete" => {}
        _ => return refuse("can only get, create, update, patch, or delete a node lease"),
    }
    if asked.namespace != LEASES {
        return Err(format!("can only access leases in the {} system namespace", quote(LEASES)));
    }
    if verb != "create" && asked.name != node {
        return refuse("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(node: &str, verb: &str, asked: &ResourceAttributes<'_>) -> Refusal {
    match verb {
        "get" | "create" | "update" | "patch" | "delete" => {}
        _ => return refuse("can only get, create, update, patch, or delete a CSINode"),
    }
    if !asked.subresource.is_empty() {
        return refuse("cannot authorize CSINode subresources");
    }
    if verb != "create" && asked.name != node {
        return refuse("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}
