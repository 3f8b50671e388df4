//! Subresources that somebody else answers: the kubelet of a pod's node (`log`, `exec`, `attach`, `portforward`), or what
//! runs in a pod, behind a service or on a node (`proxy`).
//!
//! One table says which they are; for each there is a place to send the request to, and one way to send it there.

mod admission;
mod dial;
pub(crate) mod endpoints;
mod forward;
mod html;
mod kubelet;
mod location;
mod logs;
mod pool;
mod proxy;
mod reader;
mod refusal;
mod tunnel;
mod url;

use std::sync::Arc;

use api::kinds::Resource;
use api::status::Status;
use http::{Method, Response};

pub(crate) use dial::{Dialer, FrontProxy, authorities, connect_to, open};
pub(crate) use forward::{drop_cors_headers, exchange_over, is_upgrade, outgoing, passed, switched};
pub(crate) use pool::Pool;

use crate::access::Identity;
use crate::access::attributes::Attributes;
use crate::http::body::Body;
use crate::http::request_info::{RequestInfo, ResourceRequest, Target, Verb};
use crate::pipeline::{Admitted, Core};

/// What stands behind a subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A container's log, which the kubelet has.
    Log,
    /// A command or connection, which the kubelet starts once the client's connection is switched.
    Stream,
    /// A port of a pod.
    Pod,
    /// A port of one of the pods behind a service.
    Service,
    /// A node's kubelet, or another port of the node.
    Node,
}

/// Resource and subresource in the core group, and what stands behind.
const BACKENDS: [(&str, &str, Backend); 7] = [
    ("pods", "log", Backend::Log),
    ("pods", "exec", Backend::Stream),
    ("pods", "attach", Backend::Stream),
    ("pods", "portforward", Backend::Stream),
    ("pods", "proxy", Backend::Pod),
    ("services", "proxy", Backend::Service),
    ("nodes", "proxy", Backend::Node),
];

/// What stands behind a subresource, if it is not this server that answers.
pub(crate) fn backend(resource: &Resource, subresource: &str) -> Option<Backend> {
    let mut rows = BACKENDS.iter().filter(|_| resource.group.is_empty());
    rows.find(|(plural, name, _)| *plural == resource.plural && *name == subresource).map(|(.., backend)| *backend)
}

/// A request to such a subresource.
struct Call<'a> {
    core: &'a Arc<Core>,
    info: &'a RequestInfo,
    target: &'a ResourceRequest,
    name: &'a str,
    subresource: &'a str,
}

/// Sends the request to whom it is for, and the answer back.
pub(crate) async fn handle(
    core: &Arc<Core>,
    resource: &Resource,
    backend: Backend,
    admitted: Admitted,
) -> Result<Response<Body>, Status> {
    let Admitted { info, identity, request, audit, .. } = admitted;
    let annotations = audit.as_deref().map(crate::audit::Trail::annotations);
    let Target::Resource(target) = &info.target else { return Err(Status::no_such_resource()) };
    let (Some(name), Some(subresource)) = (target.name.as_deref(), target.subresource.as_deref()) else {
        return Err(Status::no_such_resource());
    };
    if !methods(backend).contains(request.method()) {
        return Err(Status::method_not_allowed());
    }
    let call = Call { core, info: &info, target, name, subresource };
    if matches!(backend, Backend::Log | Backend::Stream) && !target.rest.is_empty() {
        return Err(Status::no_such_resource());
    }
    if backend == Backend::Stream {
        authorize_create(core, &info, &identity).await?;
    }
    // A log is read; what else is behind a subresource is connected with.
    if backend != Backend::Log {
        admission::admit(&call, resource, &identity, annotations).await?;
    }
    match backend {
        Backend::Log => logs::handle(&call, request).await,
        Backend::Stream => kubelet::handle(&call, request).await,
        Backend::Pod | Backend::Service | Backend::Node => proxy::handle(&call, backend, request).await,
    }
}

fn methods(backend: Backend) -> &'static [Method] {
    match backend {
        Backend::Log => &[Method::GET, Method::HEAD],
        // Browsers can only ask for a WebSocket with GET.
        Backend::Stream => &[Method::GET, Method::POST],
        Backend::Pod | Backend::Service | Backend::Node => {
            &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]
        }
    }
}

/// Whoever may only read must not run commands, though a WebSocket begins with GET.
async fn authorize_create(core: &Core, info: &RequestInfo, identity: &Identity) -> Result<(), Status> {
    let attributes = Attributes { verb: Verb::Create.as_str(), ..Attributes::of_request(identity, info, "post") };
    core.registry.authorize(&attributes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_is_a_subresource_of_the_table_of_kinds() {
        for (plural, subresource, backend) in BACKENDS {
            let resource = api::kinds::find("", "v1", plural).expect(plural);
            assert!(resource.subresource(subresource).is_some(), "{plural}/{subresource}");
            assert_eq!(super::backend(resource, subresource), Some(backend));
        }
    }
}
