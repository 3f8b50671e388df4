//! Finding out who makes a request: certificates, headers of a trusted proxy, and bearer tokens of several kinds.
//!
//! [`Authenticator::new`] holds the one list of ways and their order, which is upstream's. A way that knows nothing of
//! what it is shown passes; one that finds it bad says why, and the next is asked all the same. Who shows something
//! and is believed by none is refused; who shows nothing is anonymous.

mod bearer;
mod bootstrap_token;
mod front_proxy;
mod service_account;
mod token_file;
mod x509;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use api::status::Status;
use base::Env;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;

use super::identity::{Identity, Peer};
use super::shown::Verdict;
use crate::config::Config;
use crate::registry::Registry;

use bootstrap_token::BootstrapTokens;
use front_proxy::FrontProxies;
pub use front_proxy::RequestHeaders;
use service_account::ServiceAccounts;
use token_file::TokenFile;
pub use token_file::TokenFileError;
pub use x509::ClientAuthorityError;
use x509::ClientCertificates;

/// Why the ways of authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// An authority of clients cannot be used.
    #[error(transparent)]
    Clients(#[from] ClientAuthorityError),
    /// The file of static tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
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

/// Authorities of clients.
pub(crate) struct Authorities<'a> {
    /// Of ordinary clients.
    pub(crate) clients: &'a CertificateDer<'static>,
    /// Of front proxies, unless the configuration names another.
    pub(crate) front_proxies: &'a str,
}

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
}

/// Turns credentials into identities.
pub(crate) struct Authenticator {
    connections: Vec<Connection>,
    tokens: Vec<Tokens>,
    audiences: Vec<String>,
}

/// The user and group of a machine that joins with the server's own token.
const JOIN_USER: &str = "system:node-bootstrapper";
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";

impl Authenticator {
    /// The ways that a configuration allows, in upstream's order.
    pub(crate) fn new(
        authorities: &Authorities<'_>,
        keys: Arc<pki::ServiceAccountKeys>,
        config: &Config,
        env: Env,
    ) -> Result<Self, AuthenticationError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| AuthenticationError::Read { path: path.clone(), source })
        };
        let front_proxies = match &config.request_headers.client_ca_file {
            Some(path) => read(path)?,
            None => authorities.front_proxies.to_owned(),
        };
        let front_proxies = FrontProxies::new(&front_proxies, &config.request_headers, env.clone())?;
        let connections = vec![
            Connection::FrontProxy(Box::new(front_proxies)),
            Connection::Certificate(ClientCertificates::of([authorities.clients.clone()], env.clone())?),
        ];
        let file = config.token_auth_file.as_ref().map(|path| TokenFile::load(path)).transpose()?;
        let tokens = file
            .map(Tokens::File)
            .into_iter()
            .chain([Tokens::ServiceAccount(ServiceAccounts::new(keys, config, env.clone()))])
            .chain(config.join_token.clone().map(Tokens::Join))
            .chain(config.bootstrap_token_auth.then(|| Tokens::Bootstrap(BootstrapTokens::new(env))))
            .collect();
        Ok(Self { connections, tokens, audiences: config.audiences() })
    }

    /// Who makes a request. Headers that say who somebody is are taken out, so that nothing behind believes or passes
    /// them on.
    pub(crate) async fn authenticate(
        &self,
        peer: Option<&Peer>,
        headers: &mut HeaderMap,
        registry: &Registry,
    ) -> Result<Identity, Status> {
        let found = match peer {
            Some(Peer::InProcess(identity)) => Ok(Some(identity.clone())),
            Some(Peer::Tls(certificates)) => {
                let verdicts = certificates.verdicts(registry.env.now(), |chain| self.judge(chain));
                self.remote(&verdicts, headers, registry).await
            }
            None => self.remote(&[], headers, registry).await,
        };
        self.strip(headers);
        match found {
            Ok(identity) => Ok(identity.unwrap_or_else(Identity::anonymous)),
            Err(why) => {
                tracing::debug!(%why, "credentials refused");
                Err(Status::unauthorized())
            }
        }
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
            Ok(Some(token)) => match self.token(&token, &self.audiences, registry).await {
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
    ) -> Result<Authenticated, Refusals> {
        let mut refusals = Refusals(vec!["invalid bearer token".to_owned()]);
        for way in &self.tokens {
            match way.authenticate(token, audiences, registry).await {
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
    async fn authenticate(&self, token: &str, audiences: &[String], registry: &Registry) -> Outcome {
        // What knows no audiences is good for those of this server alone.
        let for_all = |identity: Identity| Authenticated { identity, audiences: audiences.to_vec() };
        match self {
            Self::File(file) => Ok(file.find(token).map(for_all)),
            Self::ServiceAccount(accounts) => accounts.authenticate(token, audiences, registry).await,
            Self::Join(expected) if expected.accepts(token) => {
                Ok(Some(for_all(Identity::new(JOIN_USER, &[BOOTSTRAPPERS]))))
            }
            Self::Join(_) => Ok(None),
            Self::Bootstrap(tokens) => Ok(tokens.authenticate(token, registry).await?.map(for_all)),
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
