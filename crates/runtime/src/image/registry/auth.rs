//! Showing a registry who one is: passwords, tokens that it takes, and tokens that it sends elsewhere for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

use super::challenge::Challenge;
use super::transport::{RequestError, Transport, excerpt};

/// How long a token is good where nothing is said.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);

/// A token is asked for anew so long before it ends.
const MARGIN: Duration = Duration::from_secs(10);

/// By what name this program asks for tokens.
const CLIENT: &str = "skiff";

/// The largest answer with a token that is taken.
const MAX_TOKEN: usize = 1 << 20;

/// Who one is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token for which the registry's token server gives others.
    Identity(String),
    /// A token that the registry itself takes.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
            Self::Bearer(_) => "Bearer",
        })
    }
}

impl Credentials {
    /// As CRI brings them.
    pub(crate) fn new(auth: &cri::AuthConfig) -> Self {
        if !auth.registry_token.is_empty() {
            return Self::Bearer(auth.registry_token.clone());
        }
        if !auth.identity_token.is_empty() {
            return Self::Identity(auth.identity_token.clone());
        }
        if !auth.username.is_empty() || !auth.password.is_empty() {
            return Self::Password { user: auth.username.clone(), password: auth.password.clone() };
        }
        let decoded = STANDARD.decode(auth.auth.trim()).ok();
        let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((user, password)) => {
                Self::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() }
            }
            None => Self::Anonymous,
        }
    }
}

/// Why a token server gave no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// It could not be asked.
    #[error("failed to fetch oauth token: {0}")]
    Request(#[from] RequestError),
    /// It refused.
    #[error("failed to fetch oauth token: unexpected status from {method} request to {url}: {status}{said}")]
    Refused {
        /// How it was asked.
        method: Method,
        /// Where.
        url: String,
        /// What it answered.
        status: StatusCode,
        /// In words, if there were any.
        said: String,
    },
    /// What it said is no token.
    #[error("failed to fetch oauth token: {0}")]
    Answer(String),
    /// The registry does not say where.
    #[error("no way to authenticate is known of those that the registry offers: {0}")]
    Unknown(String),
}

impl TokenError {
    /// Whether the answer is about who asked, not about the way there.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown(_) => true,
            Self::Request(_) | Self::Answer(_) => false,
        }
    }
}

/// The tokens of one conversation with a host.
#[derive(Debug)]
pub(super) struct Authorizer {
    credentials: Credentials,
    env: Env,
    /// By the scope for which it was asked.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    header: HeaderValue,
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl Authorizer {
    pub(super) fn new(credentials: Credentials, env: Env) -> Self {
        Self { credentials, env, known: Mutex::default() }
    }

    /// What is known already for a scope.
    pub(super) fn header(&self, scope: &str) -> Option<HeaderValue> {
        if let Credentials::Bearer(token) = &self.credentials {
            return sensitive(format!("Bearer {token}")).ok();
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(scope)?;
        known.until.is_none_or(|until| self.env.instant() < until).then(|| known.header.clone())
    }

    /// Does what one of the `challenges` asks for; whether there is something new to show.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        challenges: &[Challenge],
        scope: &str,
    ) -> Result<bool, TokenError> {
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let known = if let Some(bearer) = of("bearer") {
            if matches!(self.credentials, Credentials::Bearer(_)) {
                return Ok(false);
            }
            self.token(transport, bearer, scope).await?
        } else if of("basic").is_some() {
            let Credentials::Password { user, password } = &self.credentials else { return Ok(false) };
            Known { header: basic(user, password)?, until: None }
        } else {
            let schemes: Vec<&str> = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect();
            return Err(TokenError::Unknown(schemes.join(", ")));
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert(scope.to_owned(), known.clone());
        Ok(before.is_none_or(|before| before.header != known.header))
    }

    async fn token(&self, transport: &Transport, challenge: &Challenge, scope: &str) -> Result<Known, TokenError> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let url =
            Url::parse(realm).map_err(|err| TokenError::Unknown(format!("bearer with realm {realm:?}: {err}")))?;
        let service = challenge.parameter("service").unwrap_or_default();
        // What the registry names is what it wants; without a word of it, what is about to be done.
        let scope = challenge.parameter("scope").filter(|scope| !scope.is_empty()).unwrap_or(scope);
        let began = self.env.instant();
        let token = match &self.credentials {
            Credentials::Identity(refresh) => exchange(transport, url, service, scope, refresh).await?,
            Credentials::Password { user, password } => {
                fetch(transport, url, service, scope, Some(basic(user, password)?)).await?
            }
            _ => fetch(transport, url, service, scope, None).await?,
        };
        let text = if token.token.is_empty() { token.access_token } else { token.token };
        if text.is_empty() {
            return Err(TokenError::Answer("authorization server did not include a token in the response".to_owned()));
        }
        let lifetime = token.expires_in.map_or(TOKEN_LIFETIME, Duration::from_secs).max(TOKEN_LIFETIME);
        let header = sensitive(format!("Bearer {text}"))?;
        Ok(Known { header, until: Some(began + lifetime.saturating_sub(MARGIN)) })
    }
}

/// The token for whom `authorization` names, or for anybody.
async fn fetch(
    transport: &Transport,
    mut url: Url,
    service: &str,
    scope: &str,
    authorization: Option<HeaderValue>,
) -> Result<Token, TokenError> {
    {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            query.append_pair("scope", scope);
        }
    }
    let mut request = transport.request(Method::GET, url.clone());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    read(transport, request, Method::GET, url).await
}

/// The token for who has an identity token.
async fn exchange(
    transport: &Transport,
    url: Url,
    service: &str,
    scope: &str,
    refresh: &str,
) -> Result<Token, TokenError> {
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", refresh)
        .append_pair("service", service)
        .append_pair("scope", scope)
        .append_pair("client_id", CLIENT)
        .finish();
    let request = transport.request(Method::POST, url.clone());
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
    read(transport, request, Method::POST, url).await
}

async fn read(
    transport: &Transport,
    request: reqwest::RequestBuilder,
    method: Method,
    url: Url,
) -> Result<Token, TokenError> {
    let answer = transport.send(request).await?;
    let status = answer.status();
    let body = transport.body(answer, MAX_TOKEN).await?;
    if !status.is_success() {
        return Err(TokenError::Refused { method, url: url.to_string(), status, said: excerpt(&body) });
    }
    serde_json::from_slice(&body).map_err(|err| TokenError::Answer(format!("unable to decode token response: {err}")))
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, TokenError> {
    sensitive(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header that nobody logs.
fn sensitive(text: String) -> Result<HeaderValue, TokenError> {
    let mut header = HeaderValue::from_str(&text)
        .map_err(|_| TokenError::Answer("the token has characters that no header has".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_in_every_form() {
        let password = Credentials::Password { user: "user".to_owned(), password: "pass:word".to_owned() };
        let encoded = |auth: &str| cri::AuthConfig { auth: auth.to_owned(), ..Default::default() };
        let pair = cri::AuthConfig { username: "user".into(), password: "pass:word".into(), ..Default::default() };
        let identity = cri::AuthConfig { identity_token: "i".into(), ..pair.clone() };
        let bearer = cri::AuthConfig { registry_token: "r".into(), ..identity.clone() };
        for (given, expected) in [
            (encoded("dXNlcjpwYXNzOndvcmQ="), password.clone()),
            (encoded("bm9uc2Vuc2U="), Credentials::Anonymous),
            (encoded(""), Credentials::Anonymous),
            (pair, password),
            (identity, Credentials::Identity("i".to_owned())),
            (bearer, Credentials::Bearer("r".to_owned())),
        ] {
            assert_eq!(Credentials::new(&given), expected);
        }
        assert_eq!(format!("{:?}", Credentials::Bearer("secret".to_owned())), "Bearer");
    }
}
