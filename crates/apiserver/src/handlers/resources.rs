//! Requests to resources: every verb, for every row of the table of kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::kinds::Resource;
use api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::Value;

use super::{components, reviews, subresources};
use crate::access::Identity;
use crate::audit::{Annotations, Trail};
use crate::cache::Object;
use crate::connect;
use crate::flowcontrol::Seat;
use crate::http::body::{self, Body};
use crate::http::negotiate::{self, Accepted, Encoding, Shape, StreamEncoding};
use crate::http::options::{DeleteOptions, ListOptions, WriteOptions, parse_resource_version};
use crate::http::output::{self, IncludeObject, Output};
use crate::http::request_info::{Query, ResourceRequest, Target, Verb};
use crate::pipeline::{Admitted, Core};
use crate::registry::{
    Caller, DeleteTarget, Deleted, Expected, Form, NewObject, Part, Patch, ReadVersion, Render, RequestOptions, Scope,
    Warnings, Writer, complete, decode_body, decode_delete_options, inconsistent_token,
};
use crate::strategy;

/// Makes the patched object and the warnings that go with it.
pub(super) type Patcher = dyn Fn(&Value) -> Result<(Value, Vec<String>), Status> + Send + Sync;

/// A request to a known resource, with its body read.
pub(super) struct Call<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) resource: &'a Arc<Resource>,
    pub(super) request: &'a ResourceRequest,
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
    pub(super) identity: &'a Identity,
    pub(super) annotations: Option<&'a Annotations>,
    /// The seat of a watch.
    seat: Option<Arc<Seat>>,
    pub(super) body: Bytes,
    pub(super) accepted: Accepted,
    pub(super) error_encoding: Encoding,
    pub(super) warnings: Warnings,
}

/// What upstream's router says about paths that it does not know.
pub(super) fn no_such_path() -> Response<Body> {
    output::text_response(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// What upstream says about resources and versions that are not there: groups of its own have a router each.
pub(super) fn unknown(core: &Core, group: &str) -> Result<Response<Body>, Status> {
    if !core.registry.is_loaded() {
        return Err(Status::not_installed());
    }
    let is_built_in = api::kinds::all().iter().any(|resource| resource.group == group);
    if is_built_in { Err(Status::no_such_resource()) } else { Ok(no_such_path()) }
}

pub(crate) async fn handle(core: Arc<Core>, admitted: Admitted) -> Result<Response<Body>, Status> {
    let Target::Resource(target) = &admitted.info.target else { return Err(Status::no_such_resource()) };
    let kinds = core.registry.kinds();
    let Some(resource) = kinds.find(&target.group, &target.version, &target.resource) else {
        return unknown(&core, &target.group);
    };
    if resource.namespaced == target.namespace.is_none() && !may_lack_namespace(resource, target) {
        // The path of all namespaces is one for reads. Custom resources have no paths, only requests.
        let is_of_all = resource.namespaced && target.name.is_none() && resource.custom.is_none();
        return match is_of_all && resource.allows("list") {
            true => Err(Status::method_not_allowed()),
            false => unknown(&core, &target.group),
        };
    }
    if let Some(backend) = target.subresource.as_deref().and_then(|name| connect::backend(resource, name)) {
        return connect::handle(&core, resource, backend, admitted).await;
    }
    let Admitted { info, identity, request, seat, audit, error_encoding } = admitted;
    let Target::Resource(target) = &info.target else { return Err(Status::no_such_resource()) };
    check_method(resource, request.method())?;
    // The scale of a custom resource is a type that has messages.
    let has_messages = resource.custom.is_none() || target.subresource.as_deref() == Some("scale");
    let accepted = match has_messages {
        true => negotiate::accepted(request.headers(), request.uri())?,
        false => negotiate::accepted_of_custom(request.headers(), request.uri())?,
    };
    let (parts, body) = request.into_parts();
    let body = match target.verb.is_read() {
        true => Bytes::new(),
        false => body::read(body, core.config.max_request_bytes).await?,
    };
    if let Some(trail) = &audit {
        trail.request_body(&parts.headers, &body);
    }
    let call = Call {
        core: &core,
        resource,
        request: target,
        query: &info.query,
        headers: &parts.headers,
        identity: &identity,
        annotations: audit.as_deref().map(Trail::annotations),
        seat,
        body,
        accepted,
        error_encoding,
        warnings: Warnings::default(),
    };
    let answer = match target.subresource.as_deref() {
        Some(subresource) => subresources::handle(&call, subresource).await,
        None if !resource.is_stored() && resource.allows("list") => components::handle(&call).await,
        None if !resource.is_stored() => reviews::handle(&call).await,
        None => call.main().await,
    };
    // What the client is warned of holds if the request fails, too.
    Ok(answer.unwrap_or_else(|status| {
        output::with_warnings(output::failure(error_encoding, &status), output::warnings_of(resource, &call.warnings))
    }))
}

/// Fails if a method is none of those that requests to resources have. Upstream's router knows those that it is told of;
/// to custom resources, which it does not know, a request for the head of an answer is one to read.
fn check_method(resource: &Resource, method: &Method) -> Result<(), Status> {
    match (method, &resource.custom) {
        (&Method::GET | &Method::POST | &Method::PUT | &Method::PATCH | &Method::DELETE, _) => Ok(()),
        (&Method::HEAD, Some(_)) => Ok(()),
        // It has no name as a verb.
        (_, Some(_)) => Err(Status::method_not_supported(&resource.group, &resource.plural, "")),
        (_, None) => Err(Status::method_not_allowed()),
    }
}

/// 405 for what would make another instance of a definition that is being emptied.
fn terminating_definition(resource: &Resource) -> Status {
    let why = "create not allowed while custom resource definition is terminating";
    let status = Status::method_not_supported(&resource.group, &resource.plural, "create");
    Status { message: why.to_owned(), ..status }
}

/// The refusal of a verb that a resource or its subresource does not have.
pub(super) fn unsupported(resource: &Resource, verb: Verb) -> Status {
    match resource.custom.is_some() {
        true => Status::method_not_supported(&resource.group, &resource.plural, verb.as_str()),
        false => Status::method_not_allowed(),
    }
}

pub(super) fn name_mismatch(given: &str, name: &str) -> Status {
    Status::bad_request(format!("the name of the object ({given}) does not match the name on the URL ({name})"))
}

/// A patch may not move an object.
pub(super) fn check_patched_namespace(value: &Value, wanted: Option<&str>) -> Result<(), Status> {
    match (api::meta::namespace(value), wanted) {
        (Some(given), Some(wanted)) if given != wanted => Err(Status::bad_request(format!(
            "the namespace of the object ({given}) does not match the namespace on the request ({wanted})"
        ))),
        _ => Ok(()),
    }
}

/// All namespaces are meant by lists and watches without one.
fn may_lack_namespace(resource: &Resource, target: &ResourceRequest) -> bool {
    resource.namespaced
        && target.namespace.is_none()
        && matches!(target.verb, Verb::List | Verb::Watch)
        && target.subresource.is_none()
}

impl Call<'_> {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { resource: self.resource, namespace: self.request.namespace.as_deref() }
    }

    pub(super) fn name(&self) -> Result<&str, Status> {
        self.request.name.as_deref().ok_or_else(Status::method_not_allowed)
    }

    pub(super) fn output(&self) -> Result<Output<'_>, Status> {
        let include_object = match self.accepted.shape {
            Shape::Table(_) => IncludeObject::parse(self.query.get("includeObject"))?,
            _ => IncludeObject::Metadata,
        };
        let now = self.core.registry.env.now();
        let warnings = Some(&self.warnings);
        Ok(Output { accepted: self.accepted, resource: self.resource, include_object, warnings, now })
    }

    /// Who makes the request; an applied configuration brings its owners with it.
    pub(super) fn caller<'c>(&'c self, options: &'c WriteOptions) -> Caller<'c> {
        let subresource = self.request.subresource.as_deref().unwrap_or_default();
        let writer = Writer { manager: &options.field_manager, subresource };
        let writer = Some(writer).filter(|_| !options.is_apply);
        let request = RequestOptions::Write(options);
        Caller { dry_run: options.dry_run, options: request, subresource, writer, ..self.anybody() }
    }

    /// Who makes a request of which nobody owns the result.
    pub(super) fn anybody(&self) -> Caller<'_> {
        Caller { annotations: self.annotations, warnings: Some(&self.warnings), ..Caller::of(self.identity) }
    }

    fn deleter<'c>(&'c self, options: &'c DeleteOptions) -> Caller<'c> {
        let request = RequestOptions::Delete(options);
        Caller { dry_run: options.dry_run, options: request, ..self.anybody() }
    }

    async fn main(&self) -> Result<Response<Body>, Status> {
        let verb = self.request.verb;
        if !self.resource.allows(verb.as_str()) {
            let terminating = self.resource.custom.as_ref().is_some_and(|custom| custom.definition.is_terminating);
            match verb {
                // Finalizers can still be taken away.
                Verb::Update | Verb::Patch if terminating => {}
                Verb::Create if terminating => return Err(terminating_definition(self.resource)),
                _ => return Err(unsupported(self.resource, verb)),
            }
        }
        match verb {
            Verb::Get => self.get().await,
            Verb::List => self.list().await,
            Verb::Watch => self.watch().await,
            // A new custom resource is named by its body, whatever the path says.
            Verb::Create if self.request.name.is_some() && self.resource.custom.is_none() => {
                Err(Status::method_not_allowed())
            }
            Verb::Create => self.create().await,
            Verb::Update | Verb::Patch if self.request.name.is_none() => Err(match self.resource.custom.is_some() {
                true => Status::bad_request("name must be provided"),
                false => Status::method_not_allowed(),
            }),
            Verb::Update => self.update(Part::Main).await,
            Verb::Patch => self.patch(Part::Main).await,
            Verb::Delete => self.delete().await,
            Verb::DeleteCollection => self.delete_collection().await,
        }
    }

    pub(super) async fn get(&self) -> Result<Response<Body>, Status> {
        let object = self.read().await?;
        self.output()?.cached(&object)
    }

    /// The object of the request, as old as it may be.
    pub(super) async fn read(&self) -> Result<Arc<Object>, Status> {
        let given = self.query.get("resourceVersion").filter(|version| !version.is_empty());
        let version = ReadVersion::from_parameter(given.map(parse_resource_version).transpose()?);
        self.core.registry.get(self.scope(), self.name()?, version).await
    }

    async fn list(&self) -> Result<Response<Body>, Status> {
        let options = ListOptions::parse(self.query, false)?;
        let output = self.output()?;
        match self.core.registry.list(self.scope(), &options).await {
            Ok(listed) => output.list(&listed),
            Err(status) => {
                let token = options.continue_token.filter(|_| status.code == 410);
                let token = token.and_then(|token| inconsistent_token(&token));
                Ok(output::failure_with(self.error_encoding, &status, token))
            }
        }
    }

    async fn watch(&self) -> Result<Response<Body>, Status> {
        let mut options = ListOptions::parse(self.query, true)?;
        // `/api/v1/watch/pods/<name>` has no selector, but means one object.
        if let Some(name) = self.request.name.as_deref() {
            if options.fields.is_empty() {
                options.fields = api::selector::FieldSelector::exact("metadata.name", name);
            } else if options.fields.required_value("metadata.name") != Some(name) {
                return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
            }
        }
        let output = self.output()?;
        let form = self.form(&output)?;
        let content_type = form.encoding.content_type();
        let events = self.core.registry.watch(self.scope(), options, form, self.seat.clone()).await?;
        Ok(output.with_warnings(output::typed_response(StatusCode::OK, content_type, body::stream(events))))
    }

    /// How the watch shows its objects.
    fn form(&self, output: &Output<'_>) -> Result<Form, Status> {
        let encoding = StreamEncoding::of(output.accepted.encoding)?;
        let resource = self.resource.clone();
        let sent = self.core.metrics.watch_events(&resource);
        let encode =
            move |document: &Value, type_name: &str| output::encode(encoding.of_object(), document, type_name).ok();
        match output.accepted.shape {
            Shape::Object => {
                if encoding == StreamEncoding::Protobuf && !api::protobuf::has_message(resource.schema) {
                    return Err(output::not_acceptable(api::protobuf::NO_MESSAGE));
                }
                let is_converted = crate::convert::is_needed(&resource);
                let (shown, schema) = (resource.clone(), resource.schema);
                let render: Render = Arc::new(move |object| encode(&output::shown(&shown, object), schema));
                Ok(Form {
                    encoding,
                    render: is_converted.then_some(render),
                    // Such an object has all fields that are never left out.
                    bookmark: Box::new(move |mut object| {
                        api::decode::normalize(&mut object, schema);
                        encode(&object, schema)
                    }),
                    resource,
                    sent,
                })
            }
            Shape::PartialObjectMetadata(version) => {
                let encode = move |object: &Value| {
                    encode(&output::partial(object, version), api::protobuf::PARTIAL_OBJECT_METADATA)
                };
                Ok(Form {
                    encoding,
                    sent,
                    bookmark: Box::new(move |object| encode(&object)),
                    resource: resource.clone(),
                    render: Some(Arc::new(move |object| encode(&output::cached(&resource, object)))),
                })
            }
            Shape::PartialObjectMetadataList(_) => {
                let why = "you requested PartialObjectMetadataList, but the requested object is not a list";
                Err(output::not_acceptable(why))
            }
            Shape::Table(version) => {
                // Only the first table of a watch says what its columns are.
                let is_first = AtomicBool::new(true);
                let include_object = output.include_object;
                let env = self.core.registry.env.clone();
                let accepted = output.accepted;
                let watched = resource.clone();
                let table = Arc::new(move |object: Value| {
                    let output =
                        Output { accepted, resource: &watched, include_object, warnings: None, now: env.now() };
                    let metadata = serde_json::json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                    let with_columns = is_first.swap(false, Ordering::Relaxed);
                    encode(&output.table(version, &[object], metadata, with_columns), "")
                });
                let bookmark = table.clone();
                Ok(Form {
                    encoding,
                    sent,
                    bookmark: Box::new(move |object| bookmark(object)),
                    resource: resource.clone(),
                    render: Some(Arc::new(move |object| table(output::cached(&resource, object)))),
                })
            }
        }
    }

    async fn create(&self) -> Result<Response<Body>, Status> {
        let options = WriteOptions::parse(self.query, self.headers, "CreateOptions")?;
        let mut value = self.decoded(Expected::of(self.resource), &options)?;
        self.check_namespace(&value)?;
        complete(self.resource, &mut value);
        let caller = self.caller(&options);
        let created = self.core.registry.create(self.scope(), NewObject { value, by_update: false }, caller).await?;
        self.output()?.object(StatusCode::CREATED, &created)
    }

    /// The object in the body.
    pub(super) fn decoded(&self, expected: Expected<'_>, options: &WriteOptions) -> Result<Value, Status> {
        let encoding = negotiate::body_encoding(self.headers)?;
        let decoded = decode_body(expected, &self.body, encoding, options.field_validation)?;
        self.warnings.keep(decoded.warnings);
        Ok(decoded.value)
    }

    pub(super) fn check_namespace(&self, value: &Value) -> Result<(), Status> {
        let given = api::meta::namespace(value);
        match (given, self.request.namespace.as_deref()) {
            (Some(given), Some(wanted)) if given != wanted => Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            )),
            _ => Ok(()),
        }
    }

    pub(super) async fn update(&self, part: Part) -> Result<Response<Body>, Status> {
        let options = WriteOptions::parse(self.query, self.headers, "UpdateOptions")?;
        let mut value = self.decoded(Expected::of(self.resource), &options)?;
        let name = self.name()?;
        self.check_name(&value, name)?;
        complete(self.resource, &mut value);
        let caller = self.caller(&options);
        let change = |current: &Value| {
            // An object that the update would make has no uid yet.
            let found = api::meta::uid(current).unwrap_or_default();
            if let Some(wanted) = api::meta::uid(&value)
                && wanted != found
            {
                let key = format!("/registry/{}/{}", self.resource.plural, self.scope().key(name));
                let why = format!(
                    "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
                     Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
                );
                return Err(Status::conflict(&self.resource.group, &self.resource.plural, name, why));
            }
            Ok(value.clone())
        };
        let updated = self.core.registry.update(self.scope(), name, part, caller, &change).await?;
        let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
        self.output()?.object(status, &updated.value)
    }

    /// The patch in the body.
    pub(super) fn patch_body(&self, options: &WriteOptions) -> Result<Patch, Status> {
        let ty = negotiate::patch_type(self.headers, self.resource.custom.is_some())?;
        Ok(Patch::read(ty, &self.body, options.field_validation))
    }

    pub(super) fn check_name(&self, value: &Value, name: &str) -> Result<(), Status> {
        match api::meta::name(value) {
            "" => Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            ))),
            given if given != name => Err(name_mismatch(given, name)),
            _ => match (api::meta::namespace(value), self.request.namespace.as_deref()) {
                (Some(given), Some(wanted)) if given != wanted => Err(Status::bad_request(format!(
                    "the namespace of the object ({given}) does not match the namespace on the request ({wanted})"
                ))),
                _ => Ok(()),
            },
        }
    }

    /// The change that the request's patch makes, and where its warnings go.
    pub(super) fn patcher(&self, options: &WriteOptions) -> Result<Box<Patcher>, Status> {
        if options.is_apply {
            return self.applier(options);
        }
        let patch = self.patch_body(options)?;
        let resource = self.resource.clone();
        let name = self.name()?.to_owned();
        let namespace = self.request.namespace.clone();
        Ok(Box::new(move |current: &Value| {
            if current.is_null() {
                return Err(Status::not_found(&resource.group, &resource.plural, &name));
            }
            let checked = patch.apply(Expected::of(&resource), current.clone())?;
            let mut value = checked.value;
            if api::meta::name(&value) != name {
                return Err(name_mismatch(api::meta::name(&value), &name));
            }
            check_patched_namespace(&value, namespace.as_deref())?;
            complete(&resource, &mut value);
            Ok((value, checked.warnings))
        }))
    }

    pub(super) async fn patch(&self, part: Part) -> Result<Response<Body>, Status> {
        let options = WriteOptions::parse(self.query, self.headers, "PatchOptions")?;
        let patcher = self.patcher(&options)?;
        let caller = self.caller(&options);
        let change = |current: &Value| {
            let (value, found) = patcher(current)?;
            found.into_iter().for_each(|warning| self.warnings.add(warning));
            Ok(value)
        };
        let registry = &self.core.registry;
        let updated = match part {
            Part::Main if options.is_apply => registry.apply(self.scope(), self.name()?, caller, &change).await?,
            _ => registry.update(self.scope(), self.name()?, part, caller, &change).await?,
        };
        let status = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
        self.output()?.object(status, &updated.value)
    }

    async fn delete(&self) -> Result<Response<Body>, Status> {
        let options = decode_delete_options(&self.body, self.headers, self.query)?;
        let caller = self.deleter(&options);
        let target = DeleteTarget { scope: self.scope(), name: self.name()?, options: &options, caller };
        self.output()?;
        let deleted = self.core.registry.delete(target).await?;
        let output = self.output()?;
        match deleted {
            Deleted::Gone(object) if !strategy::returns_deleted(self.resource) => {
                let status = Deleted::status(self.resource, &object);
                output.document(StatusCode::OK, &status.to_json(), api::protobuf::STATUS)
            }
            Deleted::Gone(object) => output.object(StatusCode::OK, &object),
            Deleted::Pending(object) => {
                let status = if options.refuses_orphans { StatusCode::ACCEPTED } else { StatusCode::OK };
                output.object(status, &object)
            }
        }
    }

    async fn delete_collection(&self) -> Result<Response<Body>, Status> {
        let list = ListOptions::parse(self.query, false)?;
        let options = decode_delete_options(&self.body, self.headers, self.query)?;
        let caller = self.deleter(&options);
        let listed = self.core.registry.delete_collection(self.scope(), &list, &options, caller).await?;
        self.output()?.list(&listed)
    }
}
