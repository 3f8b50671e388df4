//! A request as a rule wants to see it: its objects in the version that the rule names.

use std::ops::Deref;
use std::sync::Arc;

use api::kinds::Resource;
use api::status::Status;
use serde_json::{Map, Value, json};

use super::{Attributes, Operation};
use crate::access::Identity;
use crate::registry::scale::{self, SCALE};
use crate::registry::{Expected, RequestOptions};

/// A request that criteria match.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// The row that the rule names, if it is another than the request's.
    other: Option<Arc<Resource>>,
}

/// The type of the object of a request, which a subresource may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectKind<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
}

impl<'a> ObjectKind<'a> {
    const SCALE: ObjectKind<'static> = ObjectKind { group: SCALE.group, version: SCALE.version, kind: SCALE.kind };

    /// The type of what is sent to a resource or a subresource of it.
    pub(crate) fn of(resource: &'a Resource, subresource: &str) -> Self {
        match resource.subresource(subresource) {
            Some(row) => Self { group: &row.group, version: &row.version, kind: &row.kind },
            None => Self { group: &resource.group, version: &resource.version, kind: &resource.kind },
        }
    }

    fn to_json(self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

impl Match {
    pub(super) fn as_requested() -> Self {
        Self { other: None }
    }

    pub(super) fn in_version(other: Arc<Resource>) -> Self {
        Self { other: Some(other) }
    }

    /// The row into which objects must be converted; `None` if they are what they are to be.
    fn target<'a>(&'a self, attributes: &Attributes<'_>) -> Option<&'a Arc<Resource>> {
        let other = self.other.as_ref()?;
        let subresource = attributes.caller.subresource;
        let differs = ObjectKind::of(other, subresource) != ObjectKind::of(attributes.scope.resource, subresource);
        other.subresource(subresource).is_none_or(|row| row.kind == other.kind).then_some(other).filter(|_| differs)
    }

    /// What was made of the object, in the version of the request again. `object` is what was shown.
    pub(crate) async fn take_back(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        changed: Value,
    ) -> Result<Value, Status> {
        if is_scale(attributes) {
            return scale::apply(attributes.scope.resource, object, &changed);
        }
        match self.target(attributes) {
            None => Ok(changed),
            Some(target) => attributes.registry.in_row(target, attributes.scope.resource, changed).await,
        }
    }
}

/// Whether the request is about the scale of an object, which is a type of its own.
fn is_scale(attributes: &Attributes<'_>) -> bool {
    ObjectKind::of(attributes.scope.resource, attributes.caller.subresource) == ObjectKind::SCALE
}

/// An object as it came, or as it was made of that.
#[derive(Clone, Debug)]
pub(crate) enum Shown<'a> {
    Given(&'a Value),
    Made(Arc<Value>),
}

impl Deref for Shown<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Self::Given(object) => object,
            Self::Made(object) => object,
        }
    }
}

/// A request in the versions that rules name: each is made once, when it is first asked for.
pub(crate) struct Views<'a> {
    attributes: &'a Attributes<'a>,
    object: Option<&'a Value>,
    made: Vec<View>,
}

/// The objects of a request as the scale, or in another row.
struct View {
    /// `None` for the scale.
    row: Option<Arc<Resource>>,
    object: Option<Arc<Value>>,
    old: Option<Arc<Value>>,
}

impl<'a> Views<'a> {
    /// `object` is `None` for a deletion.
    pub(crate) fn new(attributes: &'a Attributes<'a>, object: Option<&'a Value>) -> Self {
        Self { attributes, object, made: Vec::new() }
    }

    /// The request and its object as they came.
    pub(crate) fn given(&self) -> (&'a Attributes<'a>, Option<&'a Value>) {
        (self.attributes, self.object)
    }

    /// The request in the version that a rule names.
    pub(crate) async fn show(&mut self, found: &Match) -> Result<VersionedAttributes<'a>, Status> {
        let attributes = self.attributes;
        let (object, old) = match found.target(attributes) {
            None if !is_scale(attributes) => (self.object.map(Shown::Given), attributes.old.map(Shown::Given)),
            target => {
                let View { object, old, .. } = self.made(target).await?;
                (object.clone().map(Shown::Made), old.clone().map(Shown::Made))
            }
        };
        Ok(VersionedAttributes { attributes, row: found.other.clone(), object, old })
    }

    async fn made(&mut self, row: Option<&Arc<Resource>>) -> Result<&View, Status> {
        let is_it = |view: &View| match (&view.row, row) {
            (Some(made), Some(wanted)) => Arc::ptr_eq(made, wanted),
            (made, wanted) => made.is_none() && wanted.is_none(),
        };
        let place = match self.made.iter().position(is_it) {
            Some(place) => place,
            None => {
                let (object, old) = (self.make(row, self.object).await?, self.make(row, self.attributes.old).await?);
                self.made.push(View { row: row.cloned(), object, old });
                self.made.len() - 1
            }
        };
        Ok(&self.made[place])
    }

    async fn make(&self, row: Option<&Arc<Resource>>, object: Option<&Value>) -> Result<Option<Arc<Value>>, Status> {
        let Some(object) = object else { return Ok(None) };
        let resource = self.attributes.scope.resource;
        let made = match row {
            None => scale::from_object(resource, object)?,
            Some(row) => self.attributes.registry.in_row(resource, row, object.clone()).await?,
        };
        Ok(Some(Arc::new(made)))
    }
}

/// A request in the version that a rule names.
#[derive(Clone)]
pub(crate) struct VersionedAttributes<'a> {
    pub(crate) attributes: &'a Attributes<'a>,
    /// The row under which the request is seen, if it is another than the request's.
    row: Option<Arc<Resource>>,
    /// `None` for a deletion.
    pub(crate) object: Option<Shown<'a>>,
    /// `None` unless there was something before.
    pub(crate) old: Option<Shown<'a>>,
}

impl VersionedAttributes<'_> {
    /// The row under which the request is seen.
    pub(crate) fn resource(&self) -> &Resource {
        self.row.as_deref().unwrap_or(self.attributes.scope.resource)
    }

    /// The type of the object; `None` for what is sent to subresources that are no part of objects.
    pub(crate) fn expected(&self) -> Option<Expected<'_>> {
        let resource = self.resource();
        let kind = ObjectKind::of(resource, self.attributes.caller.subresource);
        if kind == ObjectKind::SCALE {
            return Some(SCALE);
        }
        ((kind.group, kind.kind) == (&*resource.group, &*resource.kind)).then(|| Expected::of(resource))
    }

    /// The request as the variable `request` of expressions has it: an AdmissionRequest without its objects.
    pub(crate) fn request(&self) -> Value {
        let attributes = self.attributes;
        let (asked, subresource) = (attributes.scope.resource, attributes.caller.subresource);
        let object = self.object.as_deref();
        let mut request = json!({
            "kind": ObjectKind::of(self.resource(), subresource).to_json(),
            "resource": resource_to_json(self.resource()),
            "requestKind": ObjectKind::of(asked, subresource).to_json(),
            "requestResource": resource_to_json(asked),
            "operation": attributes.operation.as_str(),
            "userInfo": user_info(attributes.caller.identity),
            "dryRun": attributes.caller.dry_run,
            "options": self.options(),
        });
        let (name, namespace) = (attributes.name(object), attributes.namespace(object));
        for (field, text) in [
            ("subResource", subresource),
            ("requestSubResource", subresource),
            ("name", name),
            ("namespace", namespace),
        ] {
            if !text.is_empty() {
                request[field] = text.into();
            }
        }
        request
    }

    fn options(&self) -> Value {
        let kind = match self.attributes.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete | Operation::Connect => "DeleteOptions",
        };
        match self.attributes.caller.options {
            RequestOptions::None => Value::Null,
            RequestOptions::Write(options) => options.to_json(kind),
            RequestOptions::Delete(options) => options.to_json(),
        }
    }
}

fn resource_to_json(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.plural})
}

/// Who asks, as reviews name them.
fn user_info(identity: &Identity) -> Value {
    let mut user = Map::new();
    user.insert("username".to_owned(), identity.user.as_str().into());
    if let Some(uid) = identity.uid.as_deref().filter(|uid| !uid.is_empty()) {
        user.insert("uid".to_owned(), uid.into());
    }
    if !identity.groups.is_empty() {
        user.insert("groups".to_owned(), identity.groups.as_slice().into());
    }
    if !identity.extra.is_empty() {
        user.insert("extra".to_owned(), json!(identity.extra));
    }
    Value::Object(user)
}
