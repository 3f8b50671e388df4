//! Resources that are answered and never stored: reviews of identity and access, and bindings.

use api::field::{FieldError, Path};
use api::status::Status;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::resources::Call;
use crate::access::Identity;
use crate::access::attributes::review::AskedSelectors;
use crate::access::attributes::{Asked, Attributes, ResourceAttributes};
use crate::access::authentication::Remarks;
use crate::access::authorization::Decision;
use crate::http::body::Body;
use crate::http::options::WriteOptions;
use crate::http::request_info::Verb;
use crate::registry::Expected;

const AUTHORIZATION: &str = "authorization.k8s.io";

pub(super) async fn handle(call: &Call<'_>) -> Result<Response<Body>, Status> {
    if call.request.verb != Verb::Create || call.request.name.is_some() {
        return Err(Status::method_not_allowed());
    }
    if call.resource.plural == "bindings" {
        return call.bind().await;
    }
    let options = WriteOptions::parse(call.query, call.headers, "CreateOptions")?;
    let mut review = call.decoded(Expected::of(call.resource), &options)?;
    if let Some(namespace) = call.request.namespace.as_deref() {
        call.check_namespace(&review)?;
        api::meta::set_namespace(&mut review, namespace);
    }
    api::meta::metadata_mut(&mut review);
    let caller = call.caller(&options);
    let name = api::meta::name(&review).to_owned();
    call.admit(caller, &name, &mut review).await?;
    let status = match &*call.resource.plural {
        "selfsubjectaccessreviews" => access(call, call.identity, &review).await?,
        "subjectaccessreviews" | "localsubjectaccessreviews" => access(call, &subject(&review)?, &review).await?,
        "selfsubjectreviews" => json!({"userInfo": user_info(call.identity)}),
        "selfsubjectrulesreviews" => {
            let status = rules(call, &review).await?;
            // Upstream does not say again what was asked.
            review["spec"] = json!({});
            status
        }
        "tokenreviews" if review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default().is_empty() => {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        "tokenreviews" => token(call, &review).await,
        _ => return Err(Status::no_such_resource()),
    };
    review["status"] = status;
    call.output()?.object(StatusCode::CREATED, &review)
}

fn user_info(identity: &Identity) -> Value {
    let mut info = json!({"username": identity.user, "groups": identity.groups});
    if let Some(uid) = &identity.uid {
        info["uid"] = uid.clone().into();
    }
    if !identity.extra.is_empty() {
        info["extra"] = json!(identity.extra);
    }
    info
}

fn text<'a>(review: &'a Value, path: &str) -> &'a str {
    review.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// 422 about a review; upstream does not name the kind.
fn invalid(errors: Vec<FieldError>) -> Status {
    Status::invalid(AUTHORIZATION, "", "", errors)
}

/// The user that a SubjectAccessReview asks about.
fn subject(review: &Value) -> Result<Identity, Status> {
    let groups = review.pointer("/spec/groups").and_then(Value::as_array);
    let groups: Vec<String> = groups.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let user = text(review, "/spec/user").to_owned();
    if user.is_empty() && groups.is_empty() {
        let path = Path::new("spec").child("user");
        return Err(invalid(vec![FieldError::invalid(&path, "", "at least one of user or group must be specified")]));
    }
    let extra = review.pointer("/spec/extra").cloned().map(serde_json::from_value).transpose();
    let extra = extra.map_err(|err| Status::bad_request(format!("spec.extra: {err}")))?.unwrap_or_default();
    let uid = Some(text(review, "/spec/uid").to_owned()).filter(|uid| !uid.is_empty());
    Ok(Identity { user, groups, uid, extra })
}

/// Exactly one question must be asked, and a local one about its own namespace.
fn check_question(call: &Call<'_>, review: &Value) -> Result<(), Status> {
    let spec = Path::new("spec");
    let there = |field: &str| review["spec"].get(field).filter(|value| !value.is_null());
    let mut errors = Vec::new();
    match (there("resourceAttributes"), there("nonResourceAttributes")) {
        (Some(_), Some(path)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid(&spec.child("nonResourceAttributes"), path.clone(), why));
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid(&spec.child("resourceAttributes"), Value::Null, why));
        }
        _ => {}
    }
    if let Some(resource) = there("resourceAttributes") {
        let path = spec.child("resourceAttributes");
        for field in ["fieldSelector", "labelSelector"] {
            check_selector(&resource[field], &path.child(field), &mut errors);
        }
    }
    if let Some(namespace) = call.request.namespace.as_deref() {
        let asked = text(review, "/spec/resourceAttributes/namespace");
        if there("resourceAttributes").is_some() && asked != namespace {
            let path = spec.child("resourceAttributes").child("namespace");
            errors.push(FieldError::invalid(&path, asked, "must match metadata.namespace"));
        }
        if let Some(path) = there("nonResourceAttributes") {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid(&spec.child("nonResourceAttributes"), path.clone(), why));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(invalid(errors)) }
}

/// A selector is written out or given as requirements. Operators that nobody knows are taken: they do not narrow.
fn check_selector(selector: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if selector.is_null() {
        return;
    }
    let raw = selector["rawSelector"].as_str().unwrap_or_default();
    let requirements = selector["requirements"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let place = path.child("requirements");
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(&path.child("rawSelector"), raw, why));
        }
        (true, true) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&place, why));
        }
        _ => {}
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let path = place.index(index);
        let values = requirement["values"].as_array().map_or(0, Vec::len);
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if values == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), why));
            }
            _ => {}
        }
        if text(requirement, "/key").is_empty() {
            errors.push(FieldError::required(&path.child("key"), "must be specified"));
        }
    }
}

async fn access(call: &Call<'_>, identity: &Identity, review: &Value) -> Result<Value, Status> {
    check_question(call, review)?;
    let asked = AskedSelectors::of(&review["spec"]["resourceAttributes"]);
    let attribute = |name: &str| text(review, &format!("/spec/resourceAttributes/{name}"));
    let attributes = if review["spec"].get("nonResourceAttributes").is_some_and(|asked| !asked.is_null()) {
        let verb = text(review, "/spec/nonResourceAttributes/verb");
        Attributes { identity, verb, target: Asked::Path(text(review, "/spec/nonResourceAttributes/path")) }
    } else {
        let resource = ResourceAttributes {
            group: attribute("group"),
            resource: attribute("resource"),
            subresource: attribute("subresource"),
            namespace: attribute("namespace"),
            name: attribute("name"),
            version: attribute("version"),
            fields: asked.fields.as_ref(),
            labels: asked.labels.as_ref(),
        };
        Attributes::of_verb(identity, attribute("verb"), resource)
    };
    let decision = call.core.registry.decide(&attributes).await?;
    let (mut status, reason, error) = match decision {
        Decision::Allow(reason) => (json!({"allowed": true}), reason.to_string(), None),
        Decision::Deny(refused) => (json!({"allowed": false, "denied": true}), refused.reason, refused.error),
        Decision::NoOpinion(refused) => (json!({"allowed": false}), refused.reason, refused.error),
    };
    let errors: Vec<String> = error.into_iter().chain(asked.ignored).collect();
    for (field, text) in [("reason", reason), ("evaluationError", errors.join("; "))] {
        if !text.is_empty() {
            status[field] = text.into();
        }
    }
    Ok(status)
}

/// What the user may do in a namespace, as far as it can be listed.
async fn rules(call: &Call<'_>, review: &Value) -> Result<Value, Status> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    call.core.registry.fresh().await?;
    let (rules, missing) = call.core.registry.authorization.rules_for(call.identity, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !missing.is_empty()});
    if !missing.is_empty() {
        status["evaluationError"] = missing.join(", ").into();
    }
    Ok(status)
}

async fn token(call: &Call<'_>, review: &Value) -> Value {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    let audiences = review.pointer("/spec/audiences").and_then(Value::as_array);
    let audiences: Vec<String> = audiences.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let audiences = if audiences.is_empty() { call.core.config.audiences() } else { audiences };
    let mut remarks = Remarks::default();
    let found = call.core.authenticator.token(token, &audiences, &call.core.registry, &mut remarks).await;
    if let Some(annotations) = call.annotations {
        remarks.annotations.into_iter().for_each(|(key, value)| annotations.add(key, value));
    }
    remarks.warnings.into_iter().for_each(|warning| call.warnings.add(warning.to_owned()));
    match found {
        Ok(found) => json!({"authenticated": true, "user": user_info(&found.identity), "audiences": found.audiences}),
        Err(why) => json!({"user": {}, "error": why.to_string()}),
    }
}
