//! Finding out who makes a request: certificates, headers of a trusted proxy, and bearer tokens of several kinds.
//!
//! [`Authenticator::new`] holds the one list of ways and their order, which is upstream's. A way that knows nothing of
//! what it is shown passes; one that finds it bad says why, and the next is asked all the same. Who shows something
//! and is believed by none is refused; who shows nothing is anonymous.

mod bearer;
mod bootstrap_token;
mod front_proxy;
mod metrics;
mod oidc;
mod remarks;
mod service_account;
mod token_file;
mod webhook;
mod x509;

use std::fmt;
use std::sync::Arc;

use api::status::Status;
use base::{Drain, Env};
use http::HeaderMap;
use prometheus::proto::MetricFamily;
use rustls_pki_types::CertificateDer;

use super::authorities::Authorities;
use super::identity::{Identity, Peer};
use super::remote::RemoteError;
use super::shown::Verdict;
use crate::config::Config;
use crate::registry::Registry;
use crate::reload::ConfigFile;

use bootstrap_token::BootstrapTokens;
use front_proxy::FrontProxies;
pub use front_proxy::RequestHeaders;
use metrics::{Attempt, Metrics};
use oidc::{Beside, Configuration, Oidc};
pub use oidc::{ConfigurationError, OidcFlags};
pub(crate) use remarks::Remarks;
use service_account::ServiceAccounts;
use token_file::TokenFile;
pub use token_file::TokenFileError;
use webhook::TokenWebhook;
pub use webhook::TokenWebhookConfig;
use x509::ClientCertificates;

/// Why the ways of authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The file of static tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The configuration of issuers cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A server that is asked about tokens cannot be used.
    #[error("--authentication-token-webhook-config-file: {0}")]
    Webhook(#[from] RemoteError),
}

/// Somebody who is believed.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) identity: Identity,
    /// For which of the audiences that were asked for; of what knows no audiences, all of them.
    pub(crate) audiences: Vec<String>,
}

/// What a way says: somebody, nothing, or that what it was shown is bad and why.
type Outcome = Result<Option<Authenticated>, String>;

/// A way to find out by the connection who asks.
enum Connection {
    FrontProxy(Box<FrontProxies>),
    Certificate(ClientCertificates),
}

/// A way to find out by a bearer token who asks.
enum Tokens {
    File(TokenFile),
    ServiceAccount(ServiceAccounts),
    Join(pki::JoinToken),
    Bootstrap(BootstrapTokens),
    Oidc(Arc<Oidc>),
    Webhook(Box<TokenWebhook>),
}

/// Turns credentials into identities.
pub(crate) struct Authenticator {
    connections: Vec<Connection>,
    tokens: Vec<Tokens>,
    audiences: Vec<String>,
    /// The issuers, and who may ask as nobody; with the file that they are read from, if they are.
    oidc: Arc<Oidc>,
    configuration: Option<ConfigFile>,
    metrics: Metrics,
}

/// The user and group of a machine that joins with the server's own token.
const JOIN_USER: &str = "system:node-bootstrapper";
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";

impl Authenticator {
    /// The ways that a configuration allows, in upstream's order.
    pub(crate) fn new(
        authorities: &Authorities,
        keys: Arc<pki::ServiceAccountKeys>,
        config: &Config,
        env: Env,
    ) -> Result<Self, AuthenticationError> {
        let front_proxies = FrontProxies::new(authorities.front_proxies.clone(), &config.request_headers, env.clone());
        let clients = ClientCertificates::new(authorities.clients.clone(), env.clone());
        let connections = vec![Connection::FrontProxy(Box::new(front_proxies)), Connection::Certificate(clients)];
        let beside = Beside { own: config.service_account_issuers.clone(), anonymous_auth: config.anonymous_auth };
        let (issuers, configuration) = match (&config.authentication_config, &config.oidc) {
            (Some(path), _) => Configuration::load(path, &beside).map(|(issuers, file)| (issuers, Some(file)))?,
            (None, flags) => (Configuration::of_flags(flags.as_ref(), &beside)?, None),
        };
        let oidc = Arc::new(Oidc::new(issuers, beside, env.clone())?);
        let webhook = config.token_webhook.as_ref();
        let webhook = webhook.map(|webhook| TokenWebhook::new(webhook, config.audiences(), env.clone())).transpose()?;
        let file = config.token_auth_file.as_ref().map(|path| TokenFile::load(path)).transpose()?;
        let tokens = file
            .map(Tokens::File)
            .into_iter()
            .chain([Tokens::ServiceAccount(ServiceAccounts::new(keys, config, env.clone()))])
            .chain(config.join_token.clone().map(Tokens::Join))
            .chain(config.bootstrap_token_auth.then(|| Tokens::Bootstrap(BootstrapTokens::new(env))))
            .chain([Tokens::Oidc(oidc.clone())])
            .chain(webhook.map(|webhook| Tokens::Webhook(Box::new(webhook))))
            .collect();
        Ok(Self { connections, tokens, audiences: config.audiences(), oidc, configuration, metrics: Metrics::new() })
    }

    /// Takes up changes of the configuration file, if there is one, until `drain`.
    pub(crate) async fn follow(&self, env: &Env, drain: Drain) {
        // A part of the server that ends by itself would end the server.
        let Some(file) = self.configuration.clone() else { return drain.drained().await };
        file.follow(|text| self.oidc.replace(text).map_err(|err| err.to_string()), env, drain).await;
    }

    /// Who makes a request for a path. Headers that say who somebody is are taken out, so that nothing behind believes
    /// or passes them on.
    pub(crate) async fn authenticate(
        &self,
        peer: Option<&Peer>,
        (path, headers): (&str, &mut HeaderMap),
        registry: &Registry,
        remarks: &mut Remarks,
    ) -> Result<Identity, Status> {
        let began = registry.env.instant();
        let found = match peer {
            Some(Peer::InProcess(identity)) => Ok(Some(identity.clone())),
            Some(Peer::Tls(certificates)) => {
                let verdicts = certificates.verdicts(registry.env.now(), |chain| self.judge(chain));
                self.remote(&verdicts, headers, registry, remarks).await
            }
            None => self.remote(&[], headers, registry, remarks).await,
        };
        self.strip(headers);
        let found = match found {
            Ok(None) if self.oidc.allows_anonymous(path) => Ok(Some(Identity::anonymous())),
            found => found,
        };
        let attempt = match &found {
            Ok(Some(identity)) => Attempt::Success(identity),
            Ok(None) => Attempt::Failure,
            Err(_) => Attempt::Error,
        };
        self.metrics.attempted(&attempt, registry.env.instant().saturating_duration_since(began));
        match found {
            Ok(Some(identity)) => Ok(identity),
            Ok(None) => Err(Status::unauthorized()),
            Err(why) => {
                tracing::debug!(%why, "credentials refused");
                Err(Status::unauthorized())
            }
        }
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let reloads = self.configuration.iter().flat_map(|file| file.reloads.collect());
        self.metrics.collect().into_iter().chain(reloads).collect()
    }

    /// What the authorities of all ways make of a connection's certificates.
    fn judge(&self, certificates: &[CertificateDer<'static>]) -> Arc<[Verdict]> {
        let verdict = |connection: &Connection| match connection {
            Connection::FrontProxy(proxies) => proxies.certificates.verify(certificates),
            Connection::Certificate(clients) => clients.verify(certificates),
        };
        self.connections.iter().map(verdict).collect()
    }

    async fn remote(
        &self,
        verdicts: &[Verdict],
        headers: &mut HeaderMap,
        registry: &Registry,
        remarks: &mut Remarks,
    ) -> Result<Option<Identity>, Refusals> {
        let mut refusals = Refusals::default();
        for (connection, verdict) in self.connections.iter().zip(verdicts) {
            let outcome = match (connection, verdict) {
                (_, Ok(None)) => Ok(None),
                (_, Err(why)) => Err(why.clone()),
                (Connection::FrontProxy(proxies), Ok(Some(verified))) => proxies.authenticate(verified, headers),
                // A certificate without a name says nothing of who shows it.
                (Connection::Certificate(_), Ok(Some(verified))) => {
                    Ok(Some(verified.identity.clone()).filter(|identity| !identity.user.is_empty()))
                }
            };
            match outcome {
                Ok(Some(identity)) => return Ok(Some(identity.authenticated())),
                Ok(None) => {}
                Err(why) => refusals.0.push(why),
            }
        }
        match bearer::token(headers) {
            Ok(Some(token)) => match self.token(&token, &self.audiences, registry, remarks).await {
                Ok(found) => return Ok(Some(found.identity)),
                Err(more) => refusals.0.extend(more.0),
            },
            Ok(None) => {}
            Err(why) => refusals.0.push(why.to_owned()),
        }
        if refusals.0.is_empty() { Ok(None) } else { Err(refusals) }
    }

    /// Whose token it is, if it is for one of `audiences`.
    pub(crate) async fn token(
        &self,
        token: &str,
        audiences: &[String],
        registry: &Registry,
        remarks: &mut Remarks,
    ) -> Result<Authenticated, Refusals> {
        let mut refusals = Refusals(vec!["invalid bearer token".to_owned()]);
        for way in &self.tokens {
            match way.authenticate(token, (audiences, &self.audiences), registry, remarks).await {
                Ok(Some(found)) => return Ok(Authenticated { identity: found.identity.authenticated(), ..found }),
                Ok(None) => {}
                Err(why) => refusals.0.push(why),
            }
        }
        Err(refusals)
    }

    /// Takes out what says who somebody is, whether or not it was believed.
    fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(http::header::AUTHORIZATION);
        for connection in &self.connections {
            if let Connection::FrontProxy(proxies) = connection {
                proxies.strip(headers);
            }
        }
    }
}

impl Tokens {
    /// `audiences`: those that were asked for, and those of this server.
    async fn authenticate(
        &self,
        token: &str,
        (asked, own): (&[String], &[String]),
        registry: &Registry,
        remarks: &mut Remarks,
    ) -> Outcome {
        // What knows no audiences is good for those of this server alone.
        let shared: Vec<String> = asked.iter().filter(|audience| own.contains(audience)).cloned().collect();
        let knows_audiences = matches!(self, Self::ServiceAccount(_) | Self::Webhook(_));
        if shared.is_empty() && !knows_audiences {
            return Ok(None);
        }
        let for_all = |identity: Identity| Authenticated { identity, audiences: shared };
        match self {
            Self::File(file) => Ok(file.find(token).map(for_all)),
            Self::ServiceAccount(accounts) => accounts.authenticate(token, asked, registry, remarks).await,
            Self::Join(expected) if expected.accepts(token) => {
                Ok(Some(for_all(Identity::new(JOIN_USER, &[BOOTSTRAPPERS]))))
            }
            Self::Join(_) => Ok(None),
            Self::Bootstrap(tokens) => Ok(tokens.authenticate(token, registry).await?.map(for_all)),
            Self::Oidc(oidc) => Ok(oidc.authenticate(token).await?.map(for_all)),
            Self::Webhook(webhook) => webhook.authenticate(token, asked).await,
        }
    }
}

/// Why nobody believed what was shown, as upstream lists it.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<String>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [single] => f.write_str(single),
            several => write!(f, "[{}]", several.join(", ")),
        }
    }
}
