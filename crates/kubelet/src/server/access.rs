//! Who asks the kubelet, and whether they may: both are the API server's to say. A client certificate of the cluster's
//! authority names its owner, a bearer token is shown to the API server (TokenReview), and what somebody may do is
//! asked there as well (SubjectAccessReview of `nodes/<subresource>`). Answers are kept for a while. Who shows
//! nothing is not served, unless the configuration lets the API server decide about `system:anonymous`.

mod attributes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base::{Env, TtlCache};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use pki::Trust;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::config::Config;
use attributes::Attributes;

/// The group of everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";
/// Who shows nothing, where that is allowed.
const ANONYMOUS: (&str, &str) = ("system:anonymous", "system:unauthenticated");

/// Whom the server believes, and for how long.
#[derive(Clone, Debug)]
pub struct AccessSettings {
    /// `authentication.anonymous.enabled`: whether the API server is asked about who shows nothing.
    pub anonymous: bool,
    /// `authentication.webhook.enabled`: whether tokens count.
    pub tokens: bool,
    /// `authentication.webhook.cacheTTL`: for how long a token does without being looked at again.
    pub token: Duration,
    /// `authorization.mode`: whether the API server is asked who may; otherwise everybody may who is known.
    pub asks: bool,
    /// `authorization.webhook.cacheAuthorizedTTL`.
    pub allowed: Duration,
    /// `authorization.webhook.cacheUnauthorizedTTL`.
    pub denied: Duration,
}

impl Default for AccessSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            anonymous: false,
            tokens: true,
            token: seconds(120),
            asks: true,
            allowed: seconds(300),
            denied: seconds(30),
        }
    }
}

/// The certificates that a client has shown for its connection; none of them is verified yet.
#[derive(Clone, Debug)]
pub struct Shown(Arc<Vec<CertificateDer<'static>>>);

impl Shown {
    /// Keeps them.
    pub fn new(chain: &[CertificateDer<'_>]) -> Self {
        Self(Arc::new(chain.iter().map(|certificate| certificate.clone().into_owned()).collect()))
    }
}

/// Decides who may use the server.
pub struct Access {
    client: kube::Client,
    client_ca: Arc<Trust>,
    node_name: String,
    settings: AccessSettings,
    env: Env,
    tokens: TtlCache<[u8; 32], Option<UserInfo>>,
    decisions: TtlCache<String, bool>,
}

/// Why somebody is not served.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Unauthorized,
    Forbidden(String),
    Failed(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized\n".to_owned()),
            Self::Forbidden(why) => (StatusCode::FORBIDDEN, why),
            Self::Failed(why) => (StatusCode::INTERNAL_SERVER_ERROR, why),
        }
        .into_response()
    }
}

/// Lets a request pass, or answers it.
pub async fn check(
    State(access): State<Arc<Access>>,
    Extension(shown): Extension<Shown>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let attributes = Attributes::of(&method, &path);
    match access.admit(&shown, request.headers(), &attributes).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            tracing::debug!(%method, path, ?refusal, "request refused");
            refusal.into_response()
        }
    }
}

impl Access {
    /// Decides for the server of a node.
    pub fn new(config: &Config, client: kube::Client, env: Env) -> Self {
        let (client_ca, node_name) = (config.client_ca.clone(), config.node_name.clone());
        let (tokens, decisions) = (TtlCache::new(env.clone()), TtlCache::new(env.clone()));
        Self { client, client_ca, node_name, settings: config.access.clone(), env, tokens, decisions }
    }

    async fn admit(&self, shown: &Shown, headers: &HeaderMap, attributes: &Attributes) -> Result<(), Refusal> {
        let by_certificate = self.by_certificate(shown);
        let user = match (by_certificate, bearer(headers)) {
            (Some(user), _) => user,
            (None, Some(token)) if self.settings.tokens => self.by_token(token).await.ok_or(Refusal::Unauthorized)?,
            _ if self.settings.anonymous => anonymous(),
            _ => return Err(Refusal::Unauthorized),
        };
        if !self.settings.asks {
            return Ok(());
        }
        for subresource in attributes.subresources {
            match self.may(&user, attributes.verb, subresource).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(err) => {
                    tracing::warn!(%err, "the API server does not say who may use the kubelet");
                    return Err(Refusal::Failed(describe("Authorization error", &user, attributes)));
                }
            }
        }
        Err(Refusal::Forbidden(describe("Forbidden", &user, attributes)))
    }

    /// Whose certificate was shown, if it is good now.
    fn by_certificate(&self, shown: &Shown) -> Option<UserInfo> {
        let [leaf, intermediates @ ..] = shown.0.as_slice() else { return None };
        self.client_ca.verify_client_cert(leaf, intermediates, pki::Clock::now(&self.env)).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let subject = certificate.subject();
        let text = |name: &x509_parser::x509::AttributeTypeAndValue<'_>| name.as_str().map(str::to_owned).ok();
        let username = subject.iter_common_name().find_map(text).filter(|name| !name.is_empty())?;
        let groups = subject.iter_organization().filter_map(text).chain([AUTHENTICATED.to_owned()]).collect();
        Some(UserInfo { username: Some(username), groups: Some(groups), ..UserInfo::default() })
    }

    /// Whose token it is, if the API server knows it.
    async fn by_token(&self, token: &str) -> Option<UserInfo> {
        let key = Sha256::digest(token).into();
        if let Some(known) = self.tokens.get(&key) {
            return known;
        }
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.client.clone());
        let status = match api.create(&PostParams::default(), &review).await {
            Ok(review) => review.status.unwrap_or_default(),
            Err(err) => {
                tracing::warn!(%err, "the API server does not say whose a token is");
                return None;
            }
        };
        let user = status.user.filter(|_| status.authenticated == Some(true));
        self.tokens.put(key, user.clone(), self.settings.token);
        user
    }

    async fn may(&self, user: &UserInfo, verb: &str, subresource: &str) -> Result<bool, kube::Error> {
        let spec = SubjectAccessReviewSpec {
            user: user.username.clone(),
            groups: user.groups.clone(),
            uid: user.uid.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(self.node_name.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        };
        let key = serde_json::to_string(&spec).map_err(kube::Error::SerdeError)?;
        if let Some(known) = self.decisions.get(&key) {
            return Ok(known);
        }
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let kept = if status.allowed { self.settings.allowed } else { self.settings.denied };
        self.decisions.put(key, status.allowed, kept);
        Ok(status.allowed)
    }
}

fn anonymous() -> UserInfo {
    let (name, group) = ANONYMOUS;
    UserInfo { username: Some(name.to_owned()), groups: Some(vec![group.to_owned()]), ..UserInfo::default() }
}

/// The token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// Upstream's words.
fn describe(what: &str, user: &UserInfo, attributes: &Attributes) -> String {
    let (user, verb) = (user.username.as_deref().unwrap_or_default(), attributes.verb);
    let subresources = attributes.subresources.join(" ");
    format!("{what} (user={user}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])\n")
}
