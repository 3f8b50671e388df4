//! Tokens of service accounts: bound to objects that must still be there, or held by a secret (legacy tokens).

use std::sync::Arc;

use api::status::Status;
use base::Env;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use pki::{Claims, LegacyClaims, VerifiedToken, VerifyError};
use serde_json::{Value, json};

use super::{Authenticated, Outcome, Remarks};
use crate::access::identity::{CREDENTIAL_ID, Identity};
use crate::config::Config;
use crate::registry::{Caller, Part, Registry, Scope};

/// How long a token outlives the deletion of what it is bound to, while that still ends.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Where a secret says when its token was used last, and since when it is no longer good.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Believes tokens of service accounts.
pub(super) struct ServiceAccounts {
    keys: Arc<pki::ServiceAccountKeys>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    env: Env,
}

impl ServiceAccounts {
    pub(super) fn new(keys: Arc<pki::ServiceAccountKeys>, config: &Config, env: Env) -> Self {
        Self { keys, issuers: config.service_account_issuers.clone(), audiences: config.audiences(), env }
    }

    pub(super) async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        registry: &Registry,
        remarks: &mut Remarks,
    ) -> Outcome {
        let verified = match self.keys.verify(token, &self.issuers, self.env.now()) {
            Ok(verified) => verified,
            Err(VerifyError::NotOurs) => return Ok(None),
            Err(err) => return Err(err.to_string()),
        };
        // Legacy tokens are for this server, as if they said so.
        let meant = match &verified {
            VerifiedToken::Bound(claims) => &claims.aud,
            VerifiedToken::Legacy(_) => &self.audiences,
        };
        let shared: Vec<String> = meant.iter().filter(|audience| audiences.contains(audience)).cloned().collect();
        if shared.is_empty() {
            return Err(format!("token audiences {meant:?} is invalid for the target audiences {audiences:?}"));
        }
        if let VerifiedToken::Legacy(claims) = &verified {
            remarks.note("authentication.k8s.io/legacy-token", claims.sub.as_str());
        }
        let judge = || match &verified {
            VerifiedToken::Bound(claims) => self.bound(claims, registry).map(|identity| (identity, None)),
            VerifiedToken::Legacy(claims) => {
                self.legacy(claims, token, registry).map(|(identity, origin)| (identity, Some(origin)))
            }
        };
        let (identity, origin) = match judge() {
            Ok(judged) => judged,
            // What the token is bound to may have been made a moment ago.
            Err(_) => {
                registry.fresh().await.map_err(|status| status.message)?;
                judge()?
            }
        };
        match (&verified, origin) {
            (VerifiedToken::Legacy(claims), Some(origin)) => {
                self.note_use(claims, registry).await;
                remark(claims, origin, remarks)?;
            }
            (VerifiedToken::Bound(claims), _) => self.remark_age(claims, remarks),
            (VerifiedToken::Legacy(_), None) => {}
        }
        Ok(Some(Authenticated { identity, audiences: shared }))
    }

    /// Whoever still uses a token which lives so long for clients that read theirs once should be mended before such
    /// tokens live no longer.
    fn remark_age(&self, claims: &Claims, remarks: &mut Remarks) {
        let late = claims.kubernetes.warnafter.map(|after| self.env.now().as_second() - after).filter(|late| *late > 0);
        if let Some(late) = late {
            let why = format!("subject: {}, seconds after warning threshold: {late}", claims.sub);
            remarks.note("authentication.k8s.io/stale-token", why);
        }
    }

    /// An object that a token names, unless it is gone, about to go, or another of the same name.
    fn there(
        &self,
        registry: &Registry,
        (plural, namespace): (&str, Option<&str>),
        (name, uid): (&str, Option<&str>),
    ) -> Result<Value, String> {
        let kind = plural.trim_end_matches('s');
        let found = registry.cached_by("", "v1", plural, namespace, name);
        let found = found.ok_or_else(|| format!("{plural} {name:?} not found"))?;
        if uid.is_some_and(|uid| uid != &*found.uid) {
            return Err(format!("{kind} UID ({}) does not match claim ({})", found.uid, uid.unwrap_or_default()));
        }
        let value = found.value();
        let deleted = value.pointer("/metadata/deletionTimestamp").and_then(Value::as_str);
        let deleted: Option<Timestamp> = deleted.and_then(|deleted| deleted.parse().ok());
        if deleted.is_some_and(|deleted| deleted.duration_until(self.env.now()) > LEEWAY) {
            return Err(format!("{kind} has been deleted"));
        }
        Ok(value)
    }

    fn bound(&self, claims: &Claims, registry: &Registry) -> Result<Identity, String> {
        let kubernetes = &claims.kubernetes;
        let namespace = Some(kubernetes.namespace.as_str());
        let there = |plural: &str, namespace: Option<&str>, bound: &pki::BoundObject| {
            self.there(registry, (plural, namespace), (&bound.name, Some(bound.uid.as_deref().unwrap_or_default())))
        };
        there("serviceaccounts", namespace, &kubernetes.serviceaccount)?;
        let mut identity = Identity {
            uid: kubernetes.serviceaccount.uid.clone(),
            ..Identity::service_account(&kubernetes.namespace, &kubernetes.serviceaccount.name)
        };
        let mut note = |key: &str, value: &str| {
            identity.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        if let Some(pod) = &kubernetes.pod {
            there("pods", namespace, pod)?;
            note("pod-name", &pod.name);
            note("pod-uid", pod.uid.as_deref().unwrap_or_default());
        }
        if let Some(secret) = &kubernetes.secret {
            there("secrets", namespace, secret)?;
        }
        if let Some(node) = &kubernetes.node {
            // A token bound to a pod only mentions the node; one bound to the node ends with it.
            if kubernetes.pod.is_none() {
                there("nodes", None, node)?;
            }
            note("node-name", &node.name);
            if let Some(uid) = &node.uid {
                note("node-uid", uid);
            }
        }
        identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
        Ok(identity)
    }

    fn legacy(&self, claims: &LegacyClaims, token: &str, registry: &Registry) -> Result<(Identity, Origin), String> {
        if claims.secret.is_empty() || claims.account.is_empty() || claims.account_uid.is_empty() {
            return Err("claims are not those of a service account token".to_owned());
        }
        let namespace = Some(claims.namespace.as_str());
        let secret = self.there(registry, ("secrets", namespace), (&claims.secret, None))?;
        if !secret["metadata"]["deletionTimestamp"].is_null() {
            return Err("token has been invalidated".to_owned());
        }
        let held = secret["data"]["token"].as_str().and_then(|held| BASE64_STANDARD.decode(held).ok());
        if held.as_deref() != Some(token.as_bytes()) {
            return Err("token does not match server's copy".to_owned());
        }
        let account = (claims.account.as_str(), Some(claims.account_uid.as_str()));
        let account = self.there(registry, ("serviceaccounts", namespace), account)?;
        let is_marked = secret["metadata"]["labels"][INVALID_SINCE].as_str().is_some_and(|since| !since.is_empty());
        let mut named = account["secrets"].as_array().into_iter().flatten();
        let origin = match () {
            () if is_marked => Origin::Invalidated,
            () if named.any(|secret| secret["name"] == claims.secret.as_str()) => Origin::Generated,
            () => Origin::Manual,
        };
        let identity = Identity {
            uid: Some(claims.account_uid.clone()),
            ..Identity::service_account(&claims.namespace, &claims.account)
        };
        Ok((identity, origin))
    }

    /// Says in the secret that its token was used, once a day. What cannot be noted is no reason to refuse.
    async fn note_use(&self, claims: &LegacyClaims, registry: &Registry) {
        let today = self.env.now().strftime("%Y-%m-%d").to_string();
        let known = registry.cached_by("", "v1", "secrets", Some(&claims.namespace), &claims.secret);
        if known.is_none_or(|known| known.labels.get(LAST_USED) == Some(&today)) {
            return;
        }
        if let Err(err) = write_use(registry, &claims.namespace, &claims.secret, &today).await {
            tracing::warn!(namespace = claims.namespace, name = claims.secret, err = %err.message, "use of a token could not be noted");
        }
    }
}

/// Where a token that a secret holds comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// The cluster made it, in versions that did that for every account.
    Generated,
    /// Somebody asked for it.
    Manual,
    /// It was made by the cluster, and not used for so long that it is no longer good.
    Invalidated,
}

/// Says what upstream says of tokens that secrets hold.
fn remark(claims: &LegacyClaims, origin: Origin, remarks: &mut Remarks) -> Result<(), String> {
    let LegacyClaims { namespace, secret, account, .. } = claims;
    match origin {
        Origin::Generated => {
            remarks.note("authentication.k8s.io/legacy-token-autogenerated-secret", secret.as_str());
            remarks.warn(
                "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated \
                 secret-based tokens.",
            );
            Ok(())
        }
        Origin::Manual => {
            remarks.note("authentication.k8s.io/legacy-token-manual-secret", secret.as_str());
            Ok(())
        }
        Origin::Invalidated => {
            remarks.note("authentication.k8s.io/legacy-token-invalidated", format!("{secret}/{namespace}"));
            Err(format!(
                "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. \
                 Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
                 '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            ))
        }
    }
}

async fn write_use(registry: &Registry, namespace: &str, name: &str, today: &str) -> Result<(), Status> {
    let Some(resource) = api::kinds::find("", "v1", "secrets") else { return Ok(()) };
    let scope = Scope { resource, namespace: Some(namespace) };
    let identity = Identity::server();
    let caller = Caller::of(&identity);
    let change = |current: &Value| {
        let mut changed = current.clone();
        api::meta::metadata_mut(&mut changed)
            .entry("labels")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .ok_or_else(|| Status::internal("labels are no mapping"))?
            .insert(LAST_USED.to_owned(), today.into());
        Ok(changed)
    };
    registry.update(scope, name, Part::Main, caller, &change).await.map(drop)
}
