//! Whether a user may do what a request asks: a fixed policy by user and group, until RBAC is there.
//!
//! | who | may |
//! | --- | --- |
//! | `system:masters` and the control plane's own users | everything |
//! | `system:nodes`, `system:kube-proxy` | read what a kubelet and a proxy read; write nodes, pods' status, leases, events, CSRs; tokens |
//! | `system:kube-dns` | what nodes may, and create services, because it keeps its own |
//! | `system:bootstrappers` | create, get, list and watch certificatesigningrequests |
//! | service accounts | read everything but secrets; ask who they are and what they may |
//! | every authenticated user | read discovery; ask who they are and what they may |
//!
//! Nothing else is allowed.

use api::status::Status;

use super::identity::Identity;
use crate::http::request_info::{RequestInfo, ResourceRequest, Target, Verb};

/// Users of the control plane's components.
const CONTROL_PLANE: [&str; 3] = ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"];

/// Paths outside resources that every authenticated user may read.
const OPEN_PREFIXES: [&str; 3] = ["/api", "/apis", "/openapi"];

/// Paths that need no identity at all.
const ANONYMOUS_PATHS: [&str; 5] = ["/livez", "/readyz", "/healthz", "/version", "/cacerts"];

/// Whether a path is open to everybody, credentials or not.
pub(crate) fn is_open_to_all(path: &str) -> bool {
    let is_or_below = |open: &str| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ANONYMOUS_PATHS.iter().any(|open| is_or_below(open))
}

/// Whether the user may; the error is upstream's 403.
pub(crate) fn authorize(identity: &Identity, info: &RequestInfo, method: &http::Method) -> Result<(), Status> {
    match &info.target {
        Target::Resource(request) => {
            if allows(identity, request) {
                return Ok(());
            }
            Err(forbidden(identity, request))
        }
        Target::Path => {
            let is_read = matches!(*method, http::Method::GET | http::Method::HEAD);
            let is_open = OPEN_PREFIXES.iter().any(|prefix| info.path.starts_with(prefix));
            if may_everything(identity) || is_open_to_all(&info.path) || (is_read && is_open) {
                return Ok(());
            }
            let verb = method.as_str().to_ascii_lowercase();
            let why = format!("User {:?} cannot {verb} path {:?}", identity.user, info.path);
            Err(Status::forbidden("", "", "", why))
        }
    }
}

fn may_everything(identity: &Identity) -> bool {
    identity.is_in("system:masters") || CONTROL_PLANE.contains(&identity.user.as_str())
}

/// The answer to whether the user may do what the request asks.
pub(crate) fn allows(identity: &Identity, request: &ResourceRequest) -> bool {
    if may_everything(identity) {
        return true;
    }
    let group = request.group.as_str();
    let is_self_review = request.verb == Verb::Create
        && ((group == "authorization.k8s.io"
            && matches!(request.resource.as_str(), "selfsubjectaccessreviews" | "selfsubjectrulesreviews"))
            || (group == "authentication.k8s.io" && request.resource == "selfsubjectreviews"));
    if is_self_review {
        return true;
    }
    let is_dns = identity.user == "system:kube-dns";
    let is_on_a_node = identity.is_in("system:nodes") || identity.user == "system:kube-proxy" || is_dns;
    (is_on_a_node && node_may(request))
        || (is_dns && group.is_empty() && request.resource == "services" && request.verb == Verb::Create)
        || (identity.is_in("system:bootstrappers") && bootstrapper_may(request))
        || (identity.is_in("system:serviceaccounts") && service_account_may(request))
}

fn service_account_may(request: &ResourceRequest) -> bool {
    request.verb.is_read()
        && request.resource != "secrets"
        && request.subresource.as_deref().unwrap_or("status") == "status"
}

fn bootstrapper_may(request: &ResourceRequest) -> bool {
    request.group == "certificates.k8s.io"
        && request.resource == "certificatesigningrequests"
        && request.subresource.is_none()
        && (request.verb == Verb::Create || request.verb.is_read())
}

/// What nodes may read, all of it; which object belongs to which node is the Node authorizer's question.
const NODE_READS: [(&str, &str); 16] = [
    ("", "nodes"),
    ("", "pods"),
    ("", "services"),
    ("", "endpoints"),
    ("", "configmaps"),
    ("", "secrets"),
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("discovery.k8s.io", "endpointslices"),
    ("node.k8s.io", "runtimeclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
    ("coordination.k8s.io", "leases"),
    ("networking.k8s.io", "networkpolicies"),
];

/// Resource, subresource and verbs that nodes may write.
const NODE_WRITES: [(&str, &str, Option<&str>, &[Verb]); 14] = [
    ("", "nodes", None, &[Verb::Create, Verb::Update, Verb::Patch]),
    ("", "nodes", Some("status"), &[Verb::Update, Verb::Patch]),
    // Mirror pods of static manifests, and the end of pods that the node has stopped.
    ("", "pods", None, &[Verb::Create, Verb::Delete]),
    ("", "pods", Some("status"), &[Verb::Update, Verb::Patch]),
    ("", "pods", Some("eviction"), &[Verb::Create]),
    ("", "serviceaccounts", Some("token"), &[Verb::Create]),
    ("", "events", None, &[Verb::Create, Verb::Update, Verb::Patch]),
    ("events.k8s.io", "events", None, &[Verb::Create, Verb::Update, Verb::Patch]),
    ("coordination.k8s.io", "leases", None, &[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete]),
    ("storage.k8s.io", "csinodes", None, &[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete]),
    ("authentication.k8s.io", "tokenreviews", None, &[Verb::Create]),
    ("authorization.k8s.io", "subjectaccessreviews", None, &[Verb::Create]),
    ("certificates.k8s.io", "certificatesigningrequests", None, &[Verb::Create]),
    ("", "persistentvolumeclaims", Some("status"), &[Verb::Update, Verb::Patch]),
];

fn node_may(request: &ResourceRequest) -> bool {
    let (group, resource) = (request.group.as_str(), request.resource.as_str());
    let subresource = request.subresource.as_deref();
    if request.verb.is_read() {
        let is_own_csr = (group, resource) == ("certificates.k8s.io", "certificatesigningrequests");
        return (subresource.is_none() || subresource == Some("status"))
            && (is_own_csr || NODE_READS.contains(&(group, resource)));
    }
    NODE_WRITES
        .iter()
        .any(|(g, r, s, verbs)| (*g, *r, *s) == (group, resource, subresource) && verbs.contains(&request.verb))
}

fn forbidden(identity: &Identity, request: &ResourceRequest) -> Status {
    let resource = match &request.subresource {
        Some(subresource) => format!("{}/{subresource}", request.resource),
        None => request.resource.clone(),
    };
    let place = match &request.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        identity.user,
        request.verb.as_str(),
        request.group,
    );
    Status::forbidden(&request.group, &request.resource, request.name.as_deref().unwrap_or_default(), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(identity: &Identity, method: &str, uri: &str, expected: Result<(), &str>) {
        let method = http::Method::from_bytes(method.as_bytes()).expect("a method");
        let info = RequestInfo::parse(&method, &uri.parse().expect("a URI"));
        let result = authorize(identity, &info, &method).map_err(|status| status.message);
        assert_eq!(result, expected.map_err(str::to_owned), "{method} {uri}");
    }

    #[test]
    fn the_policy_is_as_written_above() {
        let admin = Identity::admin();
        check(&admin, "DELETE", "/api/v1/nodes/n", Ok(()));
        check(&admin, "POST", "/anything", Ok(()));
        let account = Identity::new("system:serviceaccount:a:b", &["system:serviceaccounts"]);
        check(&account, "GET", "/api/v1/namespaces/a/pods", Ok(()));
        check(&account, "GET", "/apis/apps/v1", Ok(()));
        check(
            &account,
            "GET",
            "/api/v1/namespaces/a/secrets/s",
            Err(
                "secrets \"s\" is forbidden: User \"system:serviceaccount:a:b\" cannot get resource \"secrets\" in API \
                 group \"\" in the namespace \"a\"",
            ),
        );
        check(
            &account,
            "POST",
            "/apis/apps/v1/namespaces/a/deployments",
            Err("deployments.apps is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \
                 \"deployments\" in API group \"apps\" in the namespace \"a\""),
        );
        let node = Identity::new("system:node:n", &["system:nodes"]);
        check(&node, "PATCH", "/api/v1/nodes/n/status", Ok(()));
        check(&node, "GET", "/api/v1/pods?watch=true", Ok(()));
        check(
            &node,
            "DELETE",
            "/api/v1/nodes/n",
            Err(
                "nodes \"n\" is forbidden: User \"system:node:n\" cannot delete resource \"nodes\" in API group \"\" at \
                 the cluster scope",
            ),
        );
        let joining = Identity::new("system:node-bootstrapper", &["system:bootstrappers"]);
        check(&joining, "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", Ok(()));
        check(&joining, "GET", "/healthz/ping", Ok(()));
        check(
            &joining,
            "GET",
            "/metrics",
            Err("forbidden: User \"system:node-bootstrapper\" cannot get path \"/metrics\""),
        );
    }
}
