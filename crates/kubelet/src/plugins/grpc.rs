//! gRPC over unix sockets: calls of plugins, and what the kubelet serves to them.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use base::{Drain, Env, error_chain};
use cri::{Channel, Code, Status};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server, Uri};
use tonic_prost::ProstCodec;

/// A method that is called with one message and answers with another.
pub trait Call: Message + Clone + Default + 'static {
    /// The answer.
    type Answer: Message + Default + 'static;
    /// The method, `/package.Service/Method`.
    const PATH: &'static str;
}

/// A connection with a plugin. It is made with the first call, and again when it has broken. Clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
}

impl Connection {
    /// The plugin that listens on a socket. Must be called inside a tokio runtime.
    pub fn new(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The connector ignores the address; gRPC still needs one for its `:authority`.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { channel }
    }

    /// What clients with methods of their own call through.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Calls a method; it may take so long.
    pub async fn call<M: Call>(&self, message: M, limit: Duration) -> Result<M::Answer, Status> {
        let asking = async {
            match self.send(message.clone()).await {
                // A plugin that was started anew has broken the connection. All methods may be called twice.
                Err(err) if err.source().is_some() => self.send(message).await,
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(limit, asking).await;
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")))
    }

    async fn send<M: Call>(&self, message: M) -> Result<M::Answer, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|err| Status::unavailable(error_chain(&err)))?;
        let codec = ProstCodec::<M, M::Answer>::default();
        let answer = grpc.unary(tonic::Request::new(message), PathAndQuery::from_static(M::PATH), codec).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// After a socket could not be served.
const RETRY: Duration = Duration::from_secs(5);

/// Serves on a socket of the kubelet until the drain signal.
pub async fn serve(env: &Env, socket: &Path, routes: Routes, drain: &Drain) {
    while !drain.is_draining() {
        let served = match base::bind_socket(socket) {
            Ok(listener) => {
                let server = Server::builder().add_routes(routes.clone());
                let incoming = cri::incoming(listener);
                let served = server.serve_with_incoming_shutdown(incoming, drain.clone().drained_owned()).await;
                served.map_err(|err| error_chain(&err))
            }
            Err(err) => Err(err.to_string()),
        };
        if let Err(err) = served {
            tracing::warn!(socket = %socket.display(), err, "the socket cannot be served");
            drain.until(env.sleep(RETRY)).await;
        }
    }
}

/// What went wrong in a call, in the words that clients of gRPC know.
pub fn describe(status: &Status) -> String {
    let code = match status.code() {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    };
    let cause = status.source().map(|cause| format!(": {}", error_chain(cause))).unwrap_or_default();
    format!("rpc error: code = {code} desc = {}{cause}", status.message())
}
