//! The variable `authorizer` of expressions: what somebody may do, asked of this server's authorization.

use std::fmt;
use std::sync::Arc;

use api::selector::{FieldSelector, LabelSelector};
use api::validation::names;
use cel::{EvalError, Opaque, Value};

use super::VersionedAttributes;
use crate::access::Identity;
use crate::access::attributes::{Asked, Attributes, ResourceAttributes};
use crate::access::authorization::{Authorization, Decision};

/// An authorizer for the user of a request.
pub(crate) struct CelAuthorizer {
    asker: Asker,
    request: ResourceQuestion,
}

/// Whose permissions are asked about.
#[derive(Clone)]
struct Asker {
    authorization: Arc<Authorization>,
    identity: Arc<Identity>,
}

/// A question about a resource, as far as it has been asked.
#[derive(Clone, Debug, Default)]
struct ResourceQuestion {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    fields: Option<FieldSelector>,
    labels: Option<LabelSelector>,
}

impl CelAuthorizer {
    /// The authorizer of a request's expressions.
    pub(crate) fn new(request: &VersionedAttributes<'_>) -> Self {
        let attributes = request.attributes;
        let object = request.object.as_deref();
        Self {
            asker: Asker {
                authorization: attributes.registry.authorization.clone(),
                identity: Arc::new(attributes.caller.identity.clone()),
            },
            request: ResourceQuestion {
                group: request.resource().group.to_string(),
                resource: request.resource().plural.to_string(),
                subresource: attributes.caller.subresource.to_owned(),
                namespace: attributes.namespace(object).to_owned(),
                name: attributes.name(object).to_owned(),
                fields: None,
                labels: None,
            },
        }
    }

    /// The value of `authorizer`.
    pub(crate) fn value(&self) -> Arc<dyn Opaque> {
        Arc::new(Node { asker: self.asker.clone(), part: Part::Authorizer })
    }

    /// The value of `authorizer.requestResource`.
    pub(crate) fn request_resource(&self) -> Arc<dyn Opaque> {
        Arc::new(Node { asker: self.asker.clone(), part: Part::Resource(self.request.clone()) })
    }
}

/// A value of one of the authorizer's types.
struct Node {
    asker: Asker,
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    Authorizer,
    Path(String),
    Group(String),
    Resource(ResourceQuestion),
    Decision { is_allowed: bool, reason: String, error: Option<String> },
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("part", &self.part).finish_non_exhaustive()
    }
}

impl Node {
    fn value(asker: &Asker, part: Part) -> Value<'static> {
        Value::opaque(Arc::new(Self { asker: asker.clone(), part }))
    }

    fn decide(&self, verb: &str, target: Asked<'_>) -> Value<'static> {
        let attributes = Attributes { identity: &self.asker.identity, verb, target };
        let (is_allowed, reason, error) = match self.asker.authorization.decide_now(&attributes) {
            Decision::Allow(reason) => (true, reason.to_string(), None),
            Decision::Deny(refused) | Decision::NoOpinion(refused) => (false, refused.reason, refused.error),
        };
        Self::value(&self.asker, Part::Decision { is_allowed, reason, error })
    }
}

impl Opaque for Node {
    fn type_name(&self) -> &'static str {
        match self.part {
            Part::Authorizer => "kubernetes.authorization.Authorizer",
            Part::Path(_) => "kubernetes.authorization.PathCheck",
            Part::Group(_) => "kubernetes.authorization.GroupCheck",
            Part::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Part::Decision { .. } => "kubernetes.authorization.Decision",
        }
    }

    fn call<'a>(&self, function: &str, args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
        let text = |index: usize| match args.get(index) {
            Some(Value::String(text)) => Ok(text.to_string()),
            _ => Err(EvalError::NoSuchOverload),
        };
        let failed = |why: &str| Err(EvalError::Failed(why.to_owned()));
        let part = match (&self.part, function) {
            (Part::Authorizer, "path") => match text(0)? {
                path if path.trim().is_empty() => return failed("path must not be empty"),
                path => Part::Path(path),
            },
            (Part::Authorizer, "group") => Part::Group(text(0)?),
            (Part::Authorizer, "serviceAccount") => {
                let (namespace, name) = (text(0)?, text(1)?);
                if !names::dns_subdomain(&name).is_empty() {
                    return failed("Invalid service account name");
                }
                if !names::dns_label(&namespace).is_empty() {
                    return failed("Invalid service account namespace");
                }
                let identity = Arc::new(Identity::service_account(&namespace, &name));
                return Ok(Self::value(&Asker { identity, ..self.asker.clone() }, Part::Authorizer));
            }
            (Part::Group(group), "resource") => {
                let resource = text(0)?;
                if resource.trim().is_empty() {
                    return failed("resource must not be empty");
                }
                let question = ResourceQuestion { group: group.clone(), resource, ..Default::default() };
                Part::Resource(question)
            }
            (Part::Resource(question), "check") => {
                let resource = ResourceAttributes {
                    group: &question.group,
                    resource: &question.resource,
                    subresource: &question.subresource,
                    namespace: &question.namespace,
                    name: &question.name,
                    fields: question.fields.as_ref(),
                    labels: question.labels.as_ref(),
                    ..ResourceAttributes::default()
                };
                return Ok(self.decide(&text(0)?, Asked::Resource(resource)));
            }
            (Part::Resource(question), narrowing) => {
                let (mut question, text) = (question.clone(), text(0)?);
                match narrowing {
                    "subresource" => question.subresource = text,
                    "namespace" => question.namespace = text,
                    "name" => question.name = text,
                    // Who may do it to all may do it to those that a selector leaves, which one that cannot be read
                    // does not narrow.
                    "fieldSelector" => question.fields = FieldSelector::parse(&text).ok(),
                    "labelSelector" => question.labels = LabelSelector::parse(&text).ok(),
                    _ => return Err(EvalError::NoSuchOverload),
                }
                Part::Resource(question)
            }
            (Part::Path(path), "check") => return Ok(self.decide(&text(0)?, Asked::Path(path))),
            (Part::Decision { is_allowed, .. }, "allowed") => return Ok(Value::Bool(*is_allowed)),
            (Part::Decision { reason, .. }, "reason") => return Ok(Value::text(reason.as_str())),
            (Part::Decision { error, .. }, "errored") => return Ok(Value::Bool(error.is_some())),
            (Part::Decision { error, .. }, "error") => return Ok(Value::text(error.clone().unwrap_or_default())),
            _ => return Err(EvalError::NoSuchOverload),
        };
        Ok(Self::value(&self.asker, part))
    }
}
