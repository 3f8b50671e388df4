//! Tokens of service accounts for pods, asked for by TokenRequest and renewed before they expire.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::api::storage::v1::TokenRequest as DriverRequest;
use kube::Api;
use kube::api::PostParams;

use crate::context::Context;
use crate::pods::spec;

/// The lifetime that is asked for where the volume says nothing, in seconds.
const DEFAULT_LIFETIME: i64 = 3600;
/// However long a token lives, it is renewed after this time.
const LONGEST_USE: SignedDuration = SignedDuration::from_hours(24);
/// After a token could not be renewed.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// Asks for tokens and keeps them until they have to be renewed.
#[derive(Default)]
pub struct TokenIssuer {
    tokens: Mutex<HashMap<(String, String), Token>>,
}

/// A token.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// When it has to be renewed.
    pub refresh_at: Timestamp,
    /// When nobody believes it any more.
    pub expires_at: Timestamp,
}

/// A token that was not given.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The API server refused.
    #[error("failed to fetch token: {0}")]
    Request(#[source] Box<kube::Error>),
    /// The API server's answer holds no token.
    #[error("failed to fetch token: the answer holds no token")]
    Empty,
}

impl TokenIssuer {
    /// The token of a pod's volume; asked for anew when its time has come.
    pub async fn token(
        &self,
        context: &Context,
        pod: &Pod,
        volume: &str,
        source: &ServiceAccountTokenProjection,
    ) -> Result<Token, TokenError> {
        let key = (spec::uid(pod).to_owned(), format!("{volume}/{}", source.path));
        let now = context.env.now();
        let kept = self.lock().get(&key).cloned();
        if let Some(token) = kept.as_ref().filter(|token| token.refresh_at > now) {
            return Ok(token.clone());
        }
        let token = match request(context, pod, source, now).await {
            Ok(token) => token,
            Err(err) => {
                // As long as the old one is good, there is time to try again.
                let kept = kept.filter(|token| token.expires_at > now).ok_or(err)?;
                return Ok(Token { refresh_at: now.checked_add(RETRY).unwrap_or(kept.expires_at), ..kept });
            }
        };
        self.lock().insert(key, token.clone());
        Ok(token)
    }

    /// A token of a pod's account for an audience that a volume's driver wants.
    pub async fn for_driver(&self, context: &Context, pod: &Pod, request: &DriverRequest) -> Result<Token, TokenError> {
        let source = ServiceAccountTokenProjection {
            audience: Some(request.audience.clone()).filter(|audience| !audience.is_empty()),
            expiration_seconds: request.expiration_seconds,
            path: format!("{}/{}", request.expiration_seconds.unwrap_or(DEFAULT_LIFETIME), request.audience),
        };
        self.token(context, pod, "csi", &source).await
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|(of, _), _| of != uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn request(
    context: &Context,
    pod: &Pod,
    source: &ServiceAccountTokenProjection,
    now: Timestamp,
) -> Result<Token, TokenError> {
    let account = spec::spec(pod).service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    let body = TokenRequest {
        spec: TokenRequestSpec {
            audiences: source.audience.iter().cloned().collect(),
            expiration_seconds: Some(source.expiration_seconds.unwrap_or(DEFAULT_LIFETIME)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), spec::namespace(pod));
    let answer = api
        .create_token_request(account, &PostParams::default(), &body)
        .await
        .map_err(|err| TokenError::Request(Box::new(err)))?;
    let status = answer.status.ok_or(TokenError::Empty)?;
    if status.token.is_empty() {
        return Err(TokenError::Empty);
    }
    let expires_at = status.expiration_timestamp.0;
    Ok(Token { token: status.token, refresh_at: refresh_at(now, expires_at), expires_at })
}

/// A token is renewed when four fifths of its life are over, and at least once a day.
fn refresh_at(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued);
    let use_for = SignedDuration::from_secs(life.as_secs() * 4 / 5).min(LONGEST_USE);
    issued.saturating_add(use_for).unwrap_or(expires)
}
