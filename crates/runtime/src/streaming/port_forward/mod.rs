//! Ports inside of a sandbox.

pub(super) mod spdy;
pub(super) mod websocket;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

use crate::sandbox::{Sandbox, is_host_network};

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
