//! What a token stands for, and a remote command: the streams of a process here, and of a client there.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::port_forward::Dial;

use super::channels::Version;
use super::server::Socket;
use super::{spdy, websocket};

/// How long output is passed on after the end of the process, in case something holds its pipes.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How much is read at once.
pub(super) const CHUNK: usize = 32 * 1024;

/// The output of a process.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// The input of a process. Dropping it tells the process that nothing more comes.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// Sets the size of a process's terminal: columns and rows. A terminal that is gone has no size.
pub type Resize = Box<dyn Fn(u16, u16) + Send + Sync>;

/// What a token stands for.
#[derive(Debug)]
pub enum Session {
    /// Run a process.
    Exec(Command),
    /// Take part in a container's own process.
    Attach(Command),
    /// Reach ports inside of a sandbox.
    PortForward(Forward),
}

impl Session {
    /// The first part of the address's path.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }
}

/// A process that a client wants to talk to.
pub struct Command {
    /// What it wants of it.
    pub wanted: Wanted,
    /// Gives the process once the client is there, or says in a [`status`](crate::status) why there is none.
    pub start: BoxFuture<'static, Result<Process, Value>>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// A process that runs.
pub struct Process {
    /// Its streams.
    pub streams: Streams,
    /// How it ended; says so in a [`status`](crate::status).
    pub end: BoxFuture<'static, Value>,
    /// What must stay as long as the client does.
    pub keep: Option<Box<dyn Any + Send>>,
}

/// Ports that a client wants to reach.
pub struct Forward {
    /// The sandbox's id, for messages.
    pub sandbox: String,
    /// The ports, which only clients that speak WebSocket name in advance.
    pub ports: Vec<u16>,
    /// Connects to one.
    pub dial: Dial,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("sandbox", &self.sandbox).field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// To write to its standard input.
    pub stdin: bool,
    /// To read its standard output.
    pub stdout: bool,
    /// To read its standard error.
    pub stderr: bool,
}

/// The near ends of a process's streams.
#[derive(Default)]
pub struct Streams {
    /// What it reads.
    pub stdin: Option<Input>,
    /// What it writes.
    pub stdout: Option<Output>,
    /// What it writes of errors.
    pub stderr: Option<Output>,
    /// For the size of its terminal, if it has one.
    pub resize: Option<Resize>,
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
