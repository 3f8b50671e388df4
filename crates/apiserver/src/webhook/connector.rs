//! Connections to webhooks: found by the names of machines or of services, secured, and kept by the client's pool.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::Env;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls;
use crate::cache::Cache;
use crate::connect::{endpoints, open};

/// Opens connections for the pool.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    /// What has the services that hosts are; without it, hosts are found by the machine's resolver.
    services: Option<Arc<Cache>>,
    env: Env,
}

/// Why there is no connection, in upstream's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConnectError(String);

impl Connector {
    pub(super) fn new(tls: ClientConfig, services: Option<Arc<Cache>>, env: Env) -> Self {
        Self { tls: TlsConnector::from(Arc::new(tls)), services, env }
    }

    async fn connect(self, uri: Uri) -> Result<Secured, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let addresses = match &self.services {
            None => resolve(&host, port).await?,
            Some(cache) => of_service(cache, &host, port).await?,
        };
        let start = usize::try_from(self.env.random().below(addresses.len().max(1) as u64)).unwrap_or(0);
        let mut refused = ConnectError(format!("dial tcp: lookup {host}: no such host"));
        for index in 0..addresses.len() {
            match open(addresses[(start + index) % addresses.len()]).await {
                Ok(stream) => return self.secure(stream, host).await,
                Err(why) => refused = ConnectError(why),
            }
        }
        Err(refused)
    }

    async fn secure(&self, stream: TcpStream, host: String) -> Result<Secured, ConnectError> {
        let name = ServerName::try_from(host).map_err(|err| ConnectError(err.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|err| ConnectError(tls::failure(&err)))?;
        Ok(Secured(TokioIo::new(stream)))
    }
}

async fn of_service(cache: &Cache, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(elsewhere) = endpoints::external_name(cache, namespace, name) {
        return resolve(&elsewhere, port).await;
    }
    endpoints::of_service(cache, namespace, name, port).map_err(|missing| ConnectError(missing.to_string()))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(|_| ConnectError(format!("dial tcp: lookup {host}: no such host")))
}

impl tower::Service<Uri> for Connector {
    type Response = Secured;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Secured, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A secured connection.
pub(super) struct Secured(TokioIo<TlsStream<TcpStream>>);

impl Connection for Secured {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        let connected = Connected::new();
        if session.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<Result<usize, io::Error>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
