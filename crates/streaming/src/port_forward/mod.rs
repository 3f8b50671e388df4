//! Ports inside of a sandbox.

pub(super) mod spdy;
pub(super) mod websocket;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::sandbox::{Sandbox, is_host_network};

/// How long a client may take to finish its part when the port has finished.
const LINGER: Duration = Duration::from_secs(5);

/// What a client is told of a port that cannot be reached.
fn refusal(sandbox: &Sandbox, port: u16, err: &io::Error) -> String {
    let why = format!("failed to connect to localhost:{port} inside the pod: {err}");
    format!("error forwarding port {port} to pod {}, uid : {why}", sandbox.id())
}

/// Connects to a port on the loopback interface of the sandbox.
async fn connect(sandbox: &Sandbox, port: u16) -> io::Result<TcpStream> {
    let addresses: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    let dial = move || std::net::TcpStream::connect(&addresses[..]);
    let namespace = (!is_host_network(&sandbox.record().config)).then(|| sandbox.paths().namespace("net"));
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
