//! Clients that act as service accounts: each controller has an account, and with it no more rights than it needs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::Env;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::client::Body;
use tokio::sync::Mutex;
use tower::{BoxError, Service};

use crate::connect::{ConnectError, InProcessService, in_process};
use crate::objects;

/// How long a token lasts; it is renewed when less than a third of that is left.
const TOKEN_SECONDS: i64 = 3600;

/// Where clients for accounts come from.
#[derive(Clone)]
pub enum Accounts {
    /// The API server in this process, which takes anybody's name from the process.
    InProcess(Arc<dyn Fn(&str) -> InProcessService + Send + Sync>),
    /// A server elsewhere, which issues tokens for accounts to the user of the kubeconfig.
    Remote(Box<RemoteAccounts>),
}

/// Accounts whose tokens a server issues.
#[derive(Clone)]
pub struct RemoteAccounts {
    /// As whom tokens are asked for.
    client: kube::Client,
    reached: kube::Client,
    namespace: String,
    env: Env,
}

impl Accounts {
    /// A component's client that acts as the account.
    pub async fn client(&self, account: &str, component: &str) -> Result<kube::Client, ConnectError> {
        match self {
            Self::InProcess(service) => Ok(in_process(service(account), component)),
            Self::Remote(remote) => Ok(remote.client(account)),
        }
    }
}

impl RemoteAccounts {
    /// Accounts of a namespace. `client` may ask for their tokens; `reached` shows no credentials, so that those of an
    /// account are all that a server sees.
    pub fn new(client: kube::Client, reached: kube::Client, namespace: &str, env: Env) -> Self {
        Self { client, reached, namespace: namespace.to_owned(), env }
    }

    fn client(&self, account: &str) -> kube::Client {
        let inner = self.reached.clone();
        let tokens = Tokens { accounts: self.clone(), account: account.to_owned(), current: Mutex::default() };
        kube::Client::new(TokenService { inner, tokens: Arc::new(tokens) }, self.namespace.clone())
    }
}

/// The token of an account, asked for when it is needed.
struct Tokens {
    accounts: RemoteAccounts,
    account: String,
    current: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    renew_at: Timestamp,
}

impl Tokens {
    async fn header(&self) -> Result<HeaderValue, BoxError> {
        let mut current = self.current.lock().await;
        let now = self.accounts.env.now();
        if let Some(token) = current.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.header.clone());
        }
        let token = self.request(now).await?;
        Ok(current.insert(token).header.clone())
    }

    async fn request(&self, now: Timestamp) -> Result<Token, BoxError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.accounts.client.clone(), &self.accounts.namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let ask = async || api.create_token_request(&self.account, &PostParams::default(), &request).await;
        let mut answer = ask().await;
        if answer.as_ref().is_err_and(objects::is_not_found) {
            let metadata = ObjectMeta { name: Some(self.account.clone()), ..ObjectMeta::default() };
            let account = ServiceAccount { metadata, ..ServiceAccount::default() };
            let made = api.create(&PostParams::default(), &account).await;
            if let Err(err) = made
                && !objects::is_already_exists(&err)
            {
                return Err(err.into());
            }
            answer = ask().await;
        }
        let status = answer?.status.ok_or("the server issued no token")?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", status.token))?;
        header.set_sensitive(true);
        let left = status.expiration_timestamp.0.duration_since(now);
        Ok(Token { header, renew_at: now + left * 2 / 3 })
    }
}

/// Shows the account's token with every request.
#[derive(Clone)]
struct TokenService {
    inner: kube::Client,
    tokens: Arc<Tokens>,
}

impl Service<Request<Body>> for TokenService {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (inner, tokens) = (self.inner.clone(), self.tokens.clone());
        Box::pin(async move {
            request.headers_mut().insert(AUTHORIZATION, tokens.header().await?);
            inner.send(request).await.map_err(Into::into)
        })
    }
}
