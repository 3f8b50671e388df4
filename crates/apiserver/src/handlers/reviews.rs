//! Resources that are answered and never stored: reviews of identity and access, and bindings.

use api::status::Status;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::resources::Call;
use crate::access::{Identity, authorization};
use crate::http::body::Body;
use crate::http::negotiate;
use crate::http::options::WriteOptions;
use crate::http::request_info::{Query, RequestInfo, ResourceRequest, Target, Verb};
use crate::registry::{Expected, decode_body};

pub(super) async fn handle(call: &Call<'_>) -> Result<Response<Body>, Status> {
    if call.request.verb != Verb::Create || call.request.name.is_some() {
        return Err(Status::method_not_allowed());
    }
    if call.resource.plural == "bindings" {
        return call.bind().await;
    }
    let options = WriteOptions::parse(call.query, call.headers, "CreateOptions")?;
    let encoding = negotiate::body_encoding(call.headers)?;
    let decoded = decode_body(Expected::of(call.resource), &call.body, encoding, options.field_validation)?;
    let mut review = decoded.value;
    api::meta::metadata_mut(&mut review);
    let status = match &*call.resource.plural {
        "selfsubjectaccessreviews" => access(call.identity, &review),
        "subjectaccessreviews" | "localsubjectaccessreviews" => access(&subject(&review), &review),
        "selfsubjectreviews" => json!({"userInfo": user_info(call.identity)}),
        "selfsubjectrulesreviews" => rules(call.identity),
        "tokenreviews" if review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default().is_empty() => {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        "tokenreviews" => token(call, &review),
        _ => return Err(Status::no_such_resource()),
    };
    review["status"] = status;
    call.output(&decoded.warnings)?.document(StatusCode::CREATED, &review, call.resource.schema)
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

/// The user that a SubjectAccessReview asks about.
fn subject(review: &Value) -> Identity {
    let text = |path: &str| review.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let groups = review.pointer("/spec/groups").and_then(Value::as_array);
    let groups = groups.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Identity { user: text("/spec/user").to_owned(), groups, ..Identity::default() }
}

fn access(identity: &Identity, review: &Value) -> Value {
    let text = |path: &str| review.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_allowed = if review.pointer("/spec/nonResourceAttributes").is_some() {
        let method = text("/spec/nonResourceAttributes/verb").to_ascii_uppercase();
        let info = RequestInfo {
            target: Target::Path,
            path: text("/spec/nonResourceAttributes/path"),
            query: Query::default(),
        };
        http::Method::from_bytes(method.as_bytes())
            .is_ok_and(|method| authorization::authorize(identity, &info, &method).is_ok())
    } else {
        let attribute = |name: &str| text(&format!("/spec/resourceAttributes/{name}"));
        let optional = |name: &str| Some(attribute(name)).filter(|value| !value.is_empty());
        let verbs: &[Verb] = match attribute("verb").as_str() {
            "get" => &[Verb::Get],
            "list" => &[Verb::List],
            "watch" => &[Verb::Watch],
            "create" => &[Verb::Create],
            "update" => &[Verb::Update],
            "patch" => &[Verb::Patch],
            "delete" => &[Verb::Delete],
            "deletecollection" => &[Verb::DeleteCollection],
            "*" => &[Verb::Get, Verb::Create, Verb::Delete],
            // A verb that nobody has but those who may do everything.
            _ => &[Verb::DeleteCollection],
        };
        verbs.iter().all(|verb| {
            let request = ResourceRequest {
                verb: *verb,
                group: attribute("group"),
                version: attribute("version"),
                namespace: optional("namespace"),
                resource: attribute("resource"),
                name: optional("name"),
                subresource: optional("subresource"),
                rest: String::new(),
            };
            authorization::allows(identity, &request)
        })
    };
    json!({"allowed": is_allowed})
}

/// Rules as far as they can be listed: those who may do everything have one rule, for others the list is incomplete.
fn rules(identity: &Identity) -> Value {
    let everything = identity.is_in("system:masters");
    let (resources, paths) = match everything {
        true => (
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]),
        ),
        false => (json!([]), json!([])),
    };
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !everything})
}

fn token(call: &Call<'_>, review: &Value) -> Value {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    let audiences = review.pointer("/spec/audiences").and_then(Value::as_array);
    let audiences: Vec<String> = audiences.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let audiences = if audiences.is_empty() { call.core.config.audiences() } else { audiences };
    match call.core.authenticator.service_account(token, &audiences, &*call.core.registry) {
        Ok(identity) => json!({"authenticated": true, "user": user_info(&identity), "audiences": audiences}),
        Err(why) => json!({"user": {}, "error": why}),
    }
}
