//! What authorization is asked: who wants to do what to which object.

pub(crate) mod review;

use api::selector::{FieldSelector, LabelSelector};
use api::status::Status;

use super::Identity;
use super::authorization::Refused;
use crate::http::request_info::{RequestInfo, ResourceRequest, Target};

/// One question to authorization.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) identity: &'a Identity,
    /// A verb of the API (`get`, `deletecollection`) or of a role (`bind`, `impersonate`); of a path a method.
    pub(crate) verb: &'a str,
    pub(crate) target: Asked<'a>,
}

/// What is to be accessed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// Objects of a resource, or a thing that only roles know.
    Resource(ResourceAttributes<'a>),
    /// A path outside resources.
    Path(&'a str),
}

/// Objects of a resource. What is not given is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResourceAttributes<'a> {
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// In which version, where that is known.
    pub(crate) version: &'a str,
    /// By which fields and labels lists, watches and deletions of collections select.
    pub(crate) fields: Option<&'a FieldSelector>,
    pub(crate) labels: Option<&'a LabelSelector>,
}

impl<'a> Attributes<'a> {
    /// What a request needs. `method` is its HTTP method in lower case.
    pub(crate) fn of_request(identity: &'a Identity, info: &'a RequestInfo, method: &'a str) -> Self {
        match &info.target {
            Target::Resource(request) => Self {
                identity,
                verb: request.verb.as_str(),
                target: Asked::Resource(ResourceAttributes::of_request(request)),
            },
            Target::Path => Self { identity, verb: method, target: Asked::Path(&info.path) },
        }
    }

    /// A question about a verb on a resource.
    pub(crate) fn of_verb(identity: &'a Identity, verb: &'a str, resource: ResourceAttributes<'a>) -> Self {
        Self { identity, verb, target: Asked::Resource(resource) }
    }

    /// The namespace that is asked about, or nothing.
    pub(crate) fn namespace(&self) -> &'a str {
        match self.target {
            Asked::Resource(resource) => resource.namespace,
            Asked::Path(_) => "",
        }
    }

    /// What a refusal is answered: 403, or 500 where an authorizer could not be asked.
    pub(crate) fn refused(&self, refused: &Refused) -> Status {
        match &refused.error {
            Some(error) => Status::internal(error),
            None => self.forbidden(&refused.reason),
        }
    }

    /// Upstream's 403.
    pub(crate) fn forbidden(&self, reason: &str) -> Status {
        let user = api::field::quote(&self.identity.user);
        let resource = match self.target {
            Asked::Resource(resource) => resource,
            Asked::Path(path) => {
                let why = format!("User {user} cannot {} path {}", self.verb, api::field::quote(path));
                return Status::forbidden("", "", "", with_reason(why, reason));
            }
        };
        let (group, plural) = (resource.group, resource.resource);
        let shown = match resource.subresource {
            "" => plural.to_owned(),
            subresource => format!("{plural}/{subresource}"),
        };
        let place = match resource.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", api::field::quote(namespace)),
        };
        let why = format!(
            "User {user} cannot {} resource {} in API group {} {place}",
            self.verb,
            api::field::quote(&shown),
            api::field::quote(group),
        );
        Status::forbidden(group, plural, resource.name, with_reason(why, reason))
    }
}

fn with_reason(why: String, reason: &str) -> String {
    if reason.is_empty() { why } else { format!("{why}: {reason}") }
}

impl<'a> ResourceAttributes<'a> {
    /// What a request is to.
    pub(crate) fn of_request(request: &'a ResourceRequest) -> Self {
        let name = request.name.as_deref().unwrap_or_default();
        let selectors = request.selectors.as_deref();
        // A namespace is in itself, so that those who may read all in it may read it.
        let is_namespace = request.group.is_empty() && request.resource == "namespaces";
        Self {
            group: &request.group,
            resource: &request.resource,
            subresource: request.subresource.as_deref().unwrap_or_default(),
            namespace: if is_namespace { name } else { request.namespace.as_deref().unwrap_or_default() },
            name,
            version: &request.version,
            fields: selectors.and_then(|selectors| selectors.fields.as_ref()),
            labels: selectors.and_then(|selectors| selectors.labels.as_ref()),
        }
    }
}
