//! Ports inside of a sandbox.

pub(super) mod spdy;
pub(super) mod websocket;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpStream;

use super::session::Forward;

/// How long a client may take to finish its part when the port has finished.
const LINGER: Duration = Duration::from_secs(5);

/// Connects to a port of a sandbox.
pub type Dial = Arc<dyn Fn(u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// Connects to ports on the loopback interface of a network namespace, or of the machine.
pub fn dial_in(namespace: Option<PathBuf>) -> Dial {
    Arc::new(move |port| Box::pin(connect(namespace.clone(), port)))
}

async fn connect(namespace: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    let addresses: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    let dial = move || std::net::TcpStream::connect(&addresses[..]);
    let work = move || match namespace {
        None => dial(),
        Some(namespace) => network::netns::run_in(&namespace, dial).map_err(io::Error::other)?,
    };
    let stream = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a client is told of a port that cannot be reached.
fn refusal(forward: &Forward, port: u16, err: &io::Error) -> String {
    let why = format!("failed to connect to localhost:{port} inside the pod: {err}");
    format!("error forwarding port {port} to pod {}, uid : {why}", forward.sandbox)
}
