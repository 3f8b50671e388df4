//! Requests to subresources.

use api::kinds::Resource;
use api::status::Status;
use http::{Response, StatusCode};
use serde_json::Value;

use super::resources::{Call, unsupported};
use crate::admission::{self, Operation};
use crate::http::body::Body;
use crate::http::options::{DeleteOptions, WriteOptions};
use crate::http::output;
use crate::http::request_info::Verb;
use crate::registry::{
    Caller, Expected, Part, ReadVersion, Scope, binding, complete,
    scale::{self, SCALE},
};
use crate::strategy::copy_at;

const BINDING: Expected<'static> =
    Expected { group: "", version: "v1", kind: "Binding", schema: "io.k8s.api.core.v1.Binding", custom: None };

const EVICTION: Expected<'static> = Expected {
    group: "policy",
    version: "v1",
    kind: "Eviction",
    schema: "io.k8s.api.policy.v1.Eviction",
    custom: None,
};

const TOKEN_REQUEST: Expected<'static> = Expected {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    schema: "io.k8s.api.authentication.v1.TokenRequest",
    custom: None,
};

pub(super) async fn handle(call: &Call<'_>, subresource: &str) -> Result<Response<Body>, Status> {
    let Some(row) = call.resource.subresource(subresource) else {
        let name = call.request.name.as_deref().unwrap_or_default();
        return Err(match call.resource.custom {
            Some(_) => Status::not_found(&call.resource.group, &call.resource.plural, name),
            None => Status::no_such_resource(),
        });
    };
    if call.request.name.is_none() || !call.request.rest.is_empty() {
        return Err(Status::no_such_resource());
    }
    if !row.verbs.contains(&call.request.verb.as_str()) {
        return Err(unsupported(call.resource, call.request.verb));
    }
    match (&*call.resource.plural, subresource, call.request.verb) {
        (_, "scale", verb) => call.scale(verb).await,
        ("pods", "binding", Verb::Create) => call.bind().await,
        ("pods", "eviction", Verb::Create) => call.evict().await,
        ("serviceaccounts", "token", Verb::Create) => call.token().await,
        (_, "status", Verb::Update) => call.update(Part::Status).await,
        (_, "status", Verb::Patch) => call.patch(Part::Status).await,
        (_, _, Verb::Get) => call.get().await,
        (_, "finalize" | "ephemeralcontainers" | "resize" | "approval", Verb::Update | Verb::Patch) => {
            call.partial(subresource).await
        }
        _ => Err(Status::no_such_resource()),
    }
}

/// The paths of an object that a subresource may change.
fn changeable(subresource: &str) -> &'static [&'static [&'static str]] {
    match subresource {
        "ephemeralcontainers" => &[&["spec", "ephemeralContainers"]],
        "approval" => &[&["status", "conditions"]],
        _ => &[],
    }
}

/// The object that a subresource's request makes, if that subresource's rules allow it.
fn judged(resource: &Resource, subresource: &str, new: Value, old: &Value) -> Result<Value, Status> {
    let errors = match subresource {
        "ephemeralcontainers" => api::validation::ephemeral_containers_update(resource, &new, old),
        "approval" => api::validation::approval_update(resource, &new, old),
        "resize" => api::validation::resize_update(resource, &new, old),
        // What else can be changed is a namespace's list of finalizers.
        _ => api::validation::finalize(resource, &new),
    };
    if errors.is_empty() {
        return Ok(new);
    }
    Err(Status::invalid(&resource.group, &resource.kind, api::meta::name(&new), errors))
}

/// Takes over from `new` what a resize may change: the resources of containers that were there.
fn resized(kept: &mut Value, new: &Value) {
    for field in ["containers", "initContainers"] {
        let Some(containers) = kept["spec"].get_mut(field).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let wanted = new["spec"][field].as_array().into_iter().flatten().find(|c| c["name"] == container["name"]);
            for part in ["resources", "resizePolicy"].iter().filter(|_| wanted.is_some()) {
                copy_at(container, wanted.unwrap_or(&Value::Null), &[part]);
            }
        }
    }
}

impl Call<'_> {
    fn decode(&self, expected: Expected<'_>, kind: &str) -> Result<(Value, WriteOptions), Status> {
        let options = WriteOptions::parse(self.query, self.headers, kind)?;
        Ok((self.decoded(expected, &options)?, options))
    }

    /// Who makes a request of which nobody owns the result.
    fn ownerless<'c>(&'c self, options: &'c WriteOptions) -> Caller<'c> {
        Caller { writer: None, ..self.caller(options) }
    }

    /// Asks admission about an object that is sent to a subresource and not stored.
    pub(super) async fn admit(&self, caller: Caller<'_>, name: &str, object: &mut Value) -> Result<(), Status> {
        if let Some(namespace) = self.request.namespace.as_deref() {
            api::meta::set_namespace(object, namespace);
        }
        let attributes = admission::Attributes::new(&self.core.registry, self.scope(), caller, Operation::Create);
        let attributes = admission::Attributes { path_name: Some(name), ..attributes };
        admission::admit(&attributes, object).await?;
        admission::validate(&attributes, object).await
    }

    async fn scale(&self, verb: Verb) -> Result<Response<Body>, Status> {
        self.try_scale(verb).await.map_err(|mut status| {
            // Upstream names the subresource where the workload is missing.
            if status.code == 404 {
                let plural = format!("{}/scale", self.resource.plural);
                let name = self.request.name.as_deref().unwrap_or_default();
                status = Status::not_found(&self.resource.group, &plural, name);
            }
            status
        })
    }

    /// Who scales; of a custom resource nobody becomes the owner of what that changes.
    fn scaler<'c>(&'c self, options: &'c WriteOptions) -> Caller<'c> {
        let caller = self.caller(options);
        Caller { writer: caller.writer.filter(|_| self.resource.custom.is_none()), ..caller }
    }

    async fn try_scale(&self, verb: Verb) -> Result<Response<Body>, Status> {
        let registry = &self.core.registry;
        let output = self.output()?;
        let scaled = match verb {
            Verb::Update => {
                let (scale, options) = self.decode(SCALE, "UpdateOptions")?;
                self.check_name(&scale, self.name()?)?;
                let change = |current: &Value| scale::apply(self.resource, current, &scale);
                registry.update(self.scope(), self.name()?, Part::Main, self.scaler(&options), &change).await?.value
            }
            Verb::Patch => {
                let options = WriteOptions::parse(self.query, self.headers, "PatchOptions")?;
                let caller = self.scaler(&options);
                if options.is_apply {
                    let change = self.scale_applier(SCALE, &options)?;
                    registry.update(self.scope(), self.name()?, Part::Main, caller, &change).await?.value
                } else {
                    let patch = self.patch_body(&options)?;
                    let name = self.name()?;
                    let change = |current: &Value| {
                        let checked = patch.apply(SCALE, scale::from_object(self.resource, current)?)?;
                        checked.warnings.into_iter().for_each(|warning| self.warnings.add(warning));
                        self.check_name(&checked.value, name)?;
                        scale::apply(self.resource, current, &checked.value)
                    };
                    registry.update(self.scope(), self.name()?, Part::Main, caller, &change).await?.value
                }
            }
            _ => output::shown(self.resource, &*self.read().await?),
        };
        output.typed(StatusCode::OK, &scale::from_object(self.resource, &scaled)?, SCALE)
    }

    pub(super) async fn bind(&self) -> Result<Response<Body>, Status> {
        let (mut binding, options) = self.decode(BINDING, "CreateOptions")?;
        self.check_namespace(&binding)?;
        // `POST bindings` names the pod in the body, `POST pods/<name>/binding` in the URL.
        let name = self.request.name.clone().unwrap_or_else(|| api::meta::name(&binding).to_owned());
        let caller = self.ownerless(&options);
        self.admit(caller, &name, &mut binding).await?;
        binding::check(&binding, &name)?;
        let pods = api::kinds::find("", "v1", "pods").ok_or_else(Status::no_such_resource)?;
        let scope = Scope { resource: pods, namespace: self.request.namespace.as_deref() };
        let now = self.core.registry.env.now();
        let change = |pod: &Value| binding::apply(pod, &binding, now);
        let caller = Caller { subresource: "binding", is_admitted: true, ..caller };
        self.core.registry.update(scope, &name, Part::Special, caller, &change).await?;
        self.output()?.success(StatusCode::CREATED)
    }

    async fn evict(&self) -> Result<Response<Body>, Status> {
        let (mut eviction, options) = self.decode(EVICTION, "CreateOptions")?;
        let name = self.name()?;
        let caller = self.ownerless(&options);
        self.check_namespace(&eviction)?;
        if api::meta::name(&eviction) != name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        self.admit(caller, name, &mut eviction).await?;
        let delete = match eviction.get("deleteOptions").filter(|options| !options.is_null()) {
            Some(body) => DeleteOptions::parse(self.query, Some(body))?,
            None => DeleteOptions::default(),
        };
        let dry_run = options.dry_run || delete.dry_run;
        let caller = Caller { dry_run, is_admitted: true, ..caller };
        self.core.registry.evict(self.scope(), name, &delete, caller).await?;
        self.output()?.success(StatusCode::CREATED)
    }

    async fn token(&self) -> Result<Response<Body>, Status> {
        let (mut request, options) = self.decode(TOKEN_REQUEST, "CreateOptions")?;
        let account = self.core.registry.get(self.scope(), self.name()?, ReadVersion::Latest).await?;
        let caller = self.ownerless(&options);
        self.admit(caller, self.name()?, &mut request).await?;
        let answer = self.core.tokens.issue(&self.core.registry, &account, request, options.dry_run)?;
        self.output()?.document(StatusCode::CREATED, &answer, TOKEN_REQUEST.schema)
    }

    /// An update of a subresource that is the object itself with all but some paths fixed.
    async fn partial(&self, subresource: &str) -> Result<Response<Body>, Status> {
        let paths = changeable(subresource);
        let keep = |mut new: Value, old: &Value| {
            if subresource == "finalize" {
                // Everything but the status may change with the finalizers.
                copy_at(&mut new, old, &["status"]);
                return new;
            }
            let mut kept = old.clone();
            for path in paths {
                copy_at(&mut kept, &new, path);
            }
            if subresource == "resize" {
                resized(&mut kept, &new);
            }
            copy_at(&mut kept, &new, &["metadata", "resourceVersion"]);
            if subresource == "ephemeralcontainers" || subresource == "resize" {
                let changed = kept["spec"] != old["spec"];
                let generation = api::meta::generation(old) + i64::from(changed);
                api::meta::set_generation(&mut kept, generation);
            }
            kept
        };
        let registry = &self.core.registry;
        let updated = match self.request.verb {
            Verb::Patch => {
                let options = WriteOptions::parse(self.query, self.headers, "PatchOptions")?;
                let patcher = self.patcher(&options)?;
                let change = |old: &Value| {
                    let new = patcher(old)?.0;
                    let mut kept = keep(new.clone(), old);
                    if options.is_apply {
                        copy_at(&mut kept, &new, &["metadata", "managedFields"]);
                    }
                    judged(self.resource, subresource, kept, old)
                };
                let caller = self.caller(&options);
                registry.update(self.scope(), self.name()?, Part::Special, caller, &change).await?
            }
            _ => {
                let (mut value, options) = self.decode(Expected::of(self.resource), "UpdateOptions")?;
                complete(self.resource, &mut value);
                let change = |old: &Value| judged(self.resource, subresource, keep(value.clone(), old), old);
                let caller = self.caller(&options);
                registry.update(self.scope(), self.name()?, Part::Special, caller, &change).await?
            }
        };
        self.output()?.object(StatusCode::OK, &updated.value)
    }
}
