//! What expressions see of a request.

use std::sync::Arc;

use api::status::Status;
use cel::Opaque;
use cel::admission::Inputs;
use serde_json::Value;

use super::{CelAuthorizer, VersionedAttributes};

/// A request as expressions see it. What none of them asks for is not made.
pub(crate) struct Subject {
    request: Option<Value>,
    namespace: Option<Value>,
    authorizer: Option<Arc<dyn Opaque>>,
    request_resource: Option<Arc<dyn Opaque>>,
}

/// What the expressions of a webhook or policy ask for beside objects and parameters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    request: bool,
    namespace: bool,
    authorizer: bool,
    request_resource: bool,
}

impl Needs {
    /// What is needed for expressions that use the variables of which `uses` is true.
    pub(crate) fn of(uses: impl Fn(&str) -> bool) -> Self {
        Self {
            request: uses("request"),
            namespace: uses("namespaceObject"),
            authorizer: uses("authorizer"),
            request_resource: uses("authorizer.requestResource"),
        }
    }
}

impl Subject {
    pub(crate) async fn new(request: &VersionedAttributes<'_>, needs: Needs) -> Result<Self, Status> {
        let authorizer = (needs.authorizer || needs.request_resource).then(|| CelAuthorizer::new(request));
        let authorizer = authorizer.as_ref();
        Ok(Self {
            request: needs.request.then(|| request.request()),
            namespace: if needs.namespace { namespace_of(request).await? } else { None },
            request_resource: authorizer.filter(|_| needs.request_resource).map(CelAuthorizer::request_resource),
            authorizer: authorizer.filter(|_| needs.authorizer).map(CelAuthorizer::value),
        })
    }

    /// The values of variables, with these objects and this parameter.
    pub(crate) fn inputs<'a>(
        &'a self,
        object: Option<&'a Value>,
        old_object: Option<&'a Value>,
        params: Option<&'a Value>,
    ) -> Inputs<'a> {
        Inputs {
            object,
            old_object,
            params,
            request: self.request.as_ref(),
            namespace: self.namespace.as_ref(),
            authorizer: self.authorizer.clone(),
            request_resource: self.request_resource.clone(),
        }
    }
}

/// The namespace that the request is in; a namespace is in none.
async fn namespace_of(request: &VersionedAttributes<'_>) -> Result<Option<Value>, Status> {
    let registry = request.attributes.registry;
    let Some(name) = request.attributes.scope.namespace else { return Ok(None) };
    let find = || registry.cached_by("", "v1", "namespaces", None, name);
    let found = match find() {
        Some(found) => found,
        None => {
            registry.fresh().await?;
            find().ok_or_else(|| Status::not_found("", "namespaces", name))?
        }
    };
    Ok(Some(found.value()))
}
