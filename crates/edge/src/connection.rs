//! One connection, from its handshake to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::activity::Activity;
use crate::answers::{Answered, Answers};
use crate::stall::{Patience, Stalling};
use crate::{BoxError, Client, ConnectionLimits, PassedOn};

/// Larger heads are refused: upstream's limit, 1 MB, is Go's.
const MAX_HEADER_BYTES: usize = 1024 * 1024;

/// So many headers a request may have. A front proxy names each group of a user in one of its own.
const MAX_HEADERS: usize = 256;

/// Silent HTTP/2 connections are asked whether they are alive, and closed without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// So much of an answer a stream of HTTP/2 takes before its client has room for it.
const MAX_STREAM_BUFFER: usize = 64 * 1024;

/// What HTTP/2 is called in the handshake.
const HTTP2: &[u8] = b"h2";

/// A connection of which nothing is known but where it comes from.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) limits: ConnectionLimits,
}

impl Accepted {
    pub(crate) async fn serve<W, S, A, B>(self, welcome: W, drain: Drain)
    where
        W: Fn(Client) -> S + Send + 'static,
        S: Fn(Request<Incoming>) -> A + Send + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { stream, address, acceptor, limits } = self;
        // Watches send small pieces that must not wait for each other.
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => {
                tracing::debug!(%err, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let tls = stream.get_ref().1;
        let shown = tls.peer_certificates().unwrap_or_default();
        let certificates = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let answer = welcome(Client { address, certificates });
        let builder = protocol(tls.alpn_protocol() == Some(HTTP2), &limits);
        let activity = Arc::new(Activity::default());
        let patience = Patience::default();
        let answers = Arc::new(Answers::default());
        let (requests, patient, held) = (activity.clone(), patience.clone(), answers.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let ongoing = requests.begin();
            let answer = answer(request);
            let (patient, held) = (patient.clone(), held.clone());
            async move {
                let answer = answer.await;
                let may_wait = answer.extensions().get::<PassedOn>().is_some()
                    || answer.status() == StatusCode::SWITCHING_PROTOCOLS;
                if may_wait {
                    patient.have();
                }
                Ok::<_, std::convert::Infallible>(answer.map(|body| match may_wait {
                    true => Answered::Free(body, ongoing),
                    false => held.hold(body, ongoing),
                }))
            }
        });
        let stream = TokioIo::new(Stalling::new(stream, limits.stalled, patience));
        let serving = builder.serve_connection_with_upgrades(stream, service);
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            never = answers.cut_unread(limits.stalled) => match never {},
            () = activity.idle(limits.head, limits.idle) => {
                if activity.is_new() {
                    return;
                }
                serving.as_mut().graceful_shutdown();
                serving.as_mut().await
            }
            () = drain.drained() => {
                serving.as_mut().graceful_shutdown();
                serving.as_mut().await
            }
        };
        if let Err(err) = ended {
            tracing::debug!(%err, "connection ended with an error");
        }
    }
}

/// How a connection is spoken to. The handshake has said which protocol it is: nobody waits for what comes first.
fn protocol(is_http2: bool, limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(MAX_STREAM_BUFFER)
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match is_http2 {
        true => builder.http2_only(),
        false => builder.http1_only(),
    }
}
