//! A remote command: the streams of a process here, and of a client there.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::channels::Version;
use super::server::Socket;
use super::{spdy, websocket};
use crate::container::Terminal;

/// How long output is passed on after the end of the process, in case something holds its pipes.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How much is read at once.
pub(super) const CHUNK: usize = 32 * 1024;

/// The output of a process.
pub(super) type Output = Box<dyn AsyncRead + Send + Unpin>;

/// The input of a process.
pub(super) type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// Which streams a client wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The near ends of a process's streams.
#[derive(Default)]
pub(super) struct Streams {
    pub stdin: Option<Input>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
    /// For its size.
    pub terminal: Option<Terminal>,
}

/// A client, by what it speaks.
pub(super) enum Client {
    WebSocket(Box<Socket>, Version),
    Spdy(Box<spdy::RemoteCommand>),
}

/// Passes everything on until `end` completes or the client leaves, then says what `end` said.
///
/// Output that is there when `end` completes is passed on first.
pub(super) async fn run(client: Client, streams: Streams, end: impl Future<Output = Value>) {
    match client {
        Client::WebSocket(socket, version) => websocket::run(*socket, version, streams, end).await,
        Client::Spdy(remote) => spdy::run(*remote, streams, end).await,
    }
}

/// What `end` said, after the output that was there then was passed on by `outputs`.
pub(super) async fn conclude(outputs: impl Future<Output = ()>, end: impl Future<Output = Value>) -> Value {
    tokio::pin!(outputs, end);
    let mut passed = false;
    let status = loop {
        tokio::select! {
            status = &mut end => break status,
            () = &mut outputs, if !passed => passed = true,
        }
    };
    if !passed {
        // Nothing more to say either way.
        let _ = tokio::time::timeout(DRAIN_TIME, outputs).await;
    }
    status
}
