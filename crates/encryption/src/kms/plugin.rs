//! Calls of a key management plugin: gRPC over a unix socket.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{Env, error_chain};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use crate::metrics::Metrics;

/// The connection to a plugin. It is made with the first call, and again when it has broken.
pub(super) struct Plugin {
    /// Its name in the configuration.
    pub(super) name: String,
    /// The path of its socket; behind a NUL the name of an abstract one.
    socket: String,
    timeout: Duration,
    channel: OnceLock<Channel>,
    env: Env,
    metrics: Arc<Metrics>,
}

/// A method of the service that is called with one message and answers with another.
trait Call: Message + Clone + Default + 'static {
    type Answer: Message + Default + 'static;
    const NAME: &'static str;
    const PATH: &'static str;
}

impl Call for StatusRequest {
    type Answer = StatusResponse;
    const NAME: &'static str = "Status";
    const PATH: &'static str = "/v2.KeyManagementService/Status";
}

impl Call for EncryptRequest {
    type Answer = EncryptResponse;
    const NAME: &'static str = "Encrypt";
    const PATH: &'static str = "/v2.KeyManagementService/Encrypt";
}

impl Call for DecryptRequest {
    type Answer = DecryptResponse;
    const NAME: &'static str = "Decrypt";
    const PATH: &'static str = "/v2.KeyManagementService/Decrypt";
}

impl Plugin {
    /// The plugin at a checked endpoint, which [`socket`] reads.
    pub(super) fn new(name: &str, socket: String, timeout: Duration, env: Env, metrics: Arc<Metrics>) -> Self {
        Self { name: name.to_owned(), socket, timeout, channel: OnceLock::new(), env, metrics }
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, Status> {
        self.call(StatusRequest {}).await
    }

    pub(super) async fn encrypt(&self, plaintext: Vec<u8>) -> Result<EncryptResponse, Status> {
        let uid = self.env.random().uuid();
        self.call(EncryptRequest { plaintext, uid }).await
    }

    pub(super) async fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, Status> {
        let uid = self.env.random().uuid();
        self.call(DecryptRequest { uid, ..request }).await
    }

    async fn call<M: Call>(&self, message: M) -> Result<M::Answer, Status> {
        let started = self.env.instant();
        let asking = async {
            match self.send(message.clone()).await {
                // A plugin that was started anew has broken the connection; asking twice does no harm.
                Err(err) if is_broken(&err) => self.send(message).await,
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(self.timeout, asking).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!("it did not answer within {} ms", self.timeout.as_millis())))
        });
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.kms_call(&self.name, M::NAME, code, started.elapsed());
        answer
    }

    async fn send<M: Call>(&self, message: M) -> Result<M::Answer, Status> {
        let mut grpc = Grpc::new(self.channel.get_or_init(|| channel(&self.socket)).clone());
        grpc.ready().await.map_err(|err| Status::unavailable(error_chain(&err)))?;
        let codec = ProstCodec::<M, M::Answer>::default();
        let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(M::PATH), codec).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// Must be called inside a tokio runtime.
fn channel(socket: &str) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The connector ignores the address; gRPC still needs one for its `:authority`.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}

/// Whether no answer came because of the connection.
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Whether the plugin did not answer.
pub(super) fn is_away(status: &Status) -> bool {
    is_broken(status) || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

/// What went wrong in a call, for people. Transport errors say little without their causes.
pub(super) fn describe(status: &Status) -> String {
    let cause = std::error::Error::source(status).map(|cause| format!(": {}", error_chain(cause)));
    format!("{:?}: {}{}", status.code(), status.message(), cause.unwrap_or_default())
}

/// The socket of an endpoint, `unix:///path` or `unix:///@name`; what is wrong with others.
pub(crate) fn socket(endpoint: &str) -> Result<String, &'static str> {
    let Some(rest) = endpoint.strip_prefix("unix://") else {
        return Err("the endpoint of a plugin is unix:// followed by the path of its socket");
    };
    // An abstract name may stand behind a slash, because the field's configurations have it so.
    match rest.strip_prefix("/@").or_else(|| rest.strip_prefix('@')) {
        Some("") => Err("the socket has no name"),
        Some(name) => Ok(format!("\0{name}")),
        None if rest.len() > 1 && rest.starts_with('/') => Ok(rest.to_owned()),
        None => Err("the path of the socket is absolute"),
    }
}
