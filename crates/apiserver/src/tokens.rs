//! Service account tokens: issuing them, and whether what they are bound to is still there.

use std::sync::Arc;
use std::time::Duration;

use api::field::{FieldError, Path};
use api::status::Status;
use base::Env;
use pki::{BoundObject, Claims, KubernetesClaims};
use serde_json::{Value, json};

use crate::cache::Object;
use crate::config::Config;
use crate::registry::Registry;

/// The shortest lifetime that can be asked for, and that of a request that does not say.
const MIN_SECONDS: i64 = 600;
const DEFAULT_SECONDS: i64 = 3600;

/// The lifetime that kubelets ask for in the volumes of pods.
///
/// Clients that read their token once and never again would fail after an hour, so such tokens live a year and carry
/// the time after which their use is worth a warning.
const POD_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Issues tokens for service accounts.
pub(crate) struct TokenIssuer {
    keys: Arc<pki::ServiceAccountKeys>,
    issuer: String,
    audiences: Vec<String>,
    max: Duration,
    extend: bool,
    env: Env,
}

impl TokenIssuer {
    pub(crate) fn new(keys: Arc<pki::ServiceAccountKeys>, config: &Config, env: Env) -> Self {
        Self {
            keys,
            issuer: config.service_account_issuer().to_owned(),
            audiences: config.audiences(),
            max: config.service_account_max_token_expiration,
            extend: config.service_account_extend_token_expiration,
            env,
        }
    }

    /// Answers a TokenRequest for an account.
    pub(crate) fn issue(
        &self,
        registry: &Registry,
        account: &Object,
        mut request: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        let name = account.name();
        let namespace = account.namespace().unwrap_or_default();
        check(&request)?;
        let spec = request
            .get_mut("spec")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| Status::bad_request("spec is required"))?;
        let has_audiences = spec.get("audiences").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        if !has_audiences {
            spec.insert("audiences".to_owned(), json!(self.audiences));
        }
        let requested = spec.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS);
        spec.insert("expirationSeconds".to_owned(), requested.into());
        let audiences: Vec<String> = serde_json::from_value(spec["audiences"].clone()).map_err(Status::internal)?;
        // Upstream writes the absence out.
        spec.entry("boundObjectRef").or_insert(Value::Null);
        let bound = spec.get("boundObjectRef").filter(|bound| !bound.is_null()).cloned();

        let max = i64::try_from(self.max.as_secs()).unwrap_or(i64::MAX);
        let is_default_audience = audiences == self.audiences;
        let extended = self.extend && requested == POD_SECONDS && bound.is_some() && is_default_audience;
        let seconds = if extended { EXTENDED_SECONDS } else { requested }.min(max);
        let now = self.env.now().as_second();
        let mut kubernetes = KubernetesClaims {
            namespace: namespace.to_owned(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: BoundObject { name: name.to_owned(), uid: Some(account.uid.to_string()) },
            warnafter: extended.then_some(now + requested),
        };
        if let Some(bound) = bound {
            bind(registry, namespace, name, &bound, &mut kubernetes)?;
        }
        let claims = Claims {
            aud: audiences,
            exp: now + seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: self.env.random().uuid(),
            kubernetes,
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        };
        let expires = jiff::Timestamp::from_second(now + requested.min(max)).map_err(Status::internal)?;
        let token = if dry_run { String::new() } else { self.keys.sign(&claims) };
        request["status"] = json!({"token": token, "expirationTimestamp": api::meta::format_time(expires)});
        request["metadata"] = json!({
            "name": name, "namespace": namespace, "creationTimestamp": api::meta::format_time(self.env.now()),
        });
        Ok(request)
    }
}

fn check(request: &Value) -> Result<(), Status> {
    let path = Path::new("spec").child("expirationSeconds");
    let Some(seconds) = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64) else { return Ok(()) };
    let why = if seconds < MIN_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = FieldError::invalid(&path, seconds, why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", vec![error]))
}

/// Fills in what the token is bound to, after checking that it is there.
fn bind(
    registry: &Registry,
    namespace: &str,
    account: &str,
    bound: &Value,
    claims: &mut KubernetesClaims,
) -> Result<(), Status> {
    let text = |field: &str| bound.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (plural, scope) = match (text("apiVersion"), kind) {
        ("" | "v1", "Pod") => ("pods", Some(namespace)),
        ("" | "v1", "Secret") => ("secrets", Some(namespace)),
        ("" | "v1", "Node") => ("nodes", None),
        (version, kind) => {
            let (group, version) = api::meta::split_api_version(version);
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let object =
        registry.cached_by("", "v1", plural, scope, name).ok_or_else(|| Status::not_found("", plural, name))?;
    if !uid.is_empty() && uid != &*object.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", plural, name, why));
    }
    let reference = BoundObject { name: name.to_owned(), uid: Some(object.uid.to_string()) };
    match plural {
        "pods" => {
            let runs_as = object.field("spec.serviceAccountName").unwrap_or_default();
            if runs_as != account {
                let why = format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                );
                return Err(Status::bad_request(why));
            }
            claims.pod = Some(reference);
            let node = object.field("spec.nodeName").filter(|node| !node.is_empty());
            claims.node = node.map(|node| BoundObject { name: node.to_owned(), uid: uid_of_node(registry, node) });
        }
        "secrets" => claims.secret = Some(reference),
        _ => claims.node = Some(reference),
    }
    Ok(())
}

fn uid_of_node(registry: &Registry, name: &str) -> Option<String> {
    registry.cached_by("", "v1", "nodes", None, name).map(|node| node.uid.to_string())
}
