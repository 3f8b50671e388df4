//! The server behind the addresses that Exec, Attach and PortForward return.
//!
//! An address holds a token that nobody can guess, that is good for one connection, and that expires. Clients speak
//! WebSocket with Kubernetes' channel subprotocols, or SPDY/3.1; the kubelet passes their connection through.

mod attach;
mod channels;
mod exec;
mod idle;
mod port_forward;
mod server;
mod session;
mod spdy;
mod status;
mod tokens;
mod upgrade;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use tokio::net::TcpListener;

pub(crate) use server::serve;

use crate::container::{Container, ExecSpec};
use crate::sandbox::Sandbox;

/// What a token stands for.
#[derive(Debug)]
pub(crate) enum Session {
    /// Run a process.
    Exec { container: Arc<Container>, spec: ExecSpec, stdout: bool, stderr: bool },
    /// Take part in the container's own process.
    Attach { container: Arc<Container>, stdin: bool, stdout: bool, stderr: bool },
    /// Reach ports inside of a sandbox.
    PortForward { sandbox: Arc<Sandbox>, ports: Vec<u16> },
}

impl Session {
    /// The first part of the address's path.
    fn kind(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Attach { .. } => "attach",
            Self::PortForward { .. } => "portforward",
        }
    }
}

/// Hands out addresses. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Streaming {
    address: SocketAddr,
    tokens: Arc<tokens::Tokens>,
    /// How long a connection may be without any use.
    idle_timeout: Duration,
}

impl Streaming {
    /// Listens on a free port of the loopback interface.
    pub(crate) async fn bind(env: Env, idle_timeout: Duration) -> io::Result<(Self, TcpListener)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok((Self { address, tokens: Arc::new(tokens::Tokens::new(env)), idle_timeout }, listener))
    }

    /// An address at which `session` is served once.
    pub(crate) fn address(&self, session: Session) -> String {
        let kind = session.kind();
        format!("http://{}/{kind}/{}", self.address, self.tokens.issue(session))
    }
}
