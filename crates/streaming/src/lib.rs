//! Library: the server behind the addresses that CRI's Exec, Attach and PortForward return, for any runtime.
//!
//! An address holds a token that nobody can guess, that is good for one connection, and that expires. Clients speak
//! WebSocket with Kubernetes' channel subprotocols, or SPDY/3.1; the kubelet passes their connection through. What is at
//! the other end, a process or a port, the runtime gives as a [`Session`].

mod channels;
mod idle;
mod port_forward;
mod server;
mod session;
mod spdy;
pub mod status;
mod tokens;
mod upgrade;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use tokio::net::TcpListener;

pub use port_forward::{Dial, dial_in};
pub use server::serve;
pub use session::{Command, Forward, Input, Output, Process, Resize, Session, Streams, Wanted};

/// Hands out addresses. Clones share them.
#[derive(Clone, Debug)]
pub struct Streaming {
    address: SocketAddr,
    tokens: Arc<tokens::Tokens>,
    /// How long a connection may be without any use.
    idle_timeout: Duration,
}

impl Streaming {
    /// Listens on a free port of the loopback interface.
    pub async fn bind(env: Env, idle_timeout: Duration) -> io::Result<(Self, TcpListener)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok((Self { address, tokens: Arc::new(tokens::Tokens::new(env)), idle_timeout }, listener))
    }

    /// An address at which `session` is served once.
    pub fn address(&self, session: Session) -> String {
        let kind = session.kind();
        format!("http://{}/{kind}/{}", self.address, self.tokens.issue(session))
    }
}
