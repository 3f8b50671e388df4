//! The sockets: UDP and TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::respond::{Outcome, Shared, Transport};

/// How many requests of one socket wait for upstream resolvers at a time; more are dropped, and clients ask again.
const MAX_PENDING: usize = 1000;
/// How many TCP connections one socket has at a time.
const MAX_CONNECTIONS: usize = 256;
/// How long a TCP client may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many ports are tried where any will do.
const ANY_PORT_TRIES: usize = 32;
/// How long requests that wait may go on after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// The sockets of one address, bound but not served yet.
#[derive(Debug)]
pub(crate) struct Listener {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

impl Listener {
    /// Binds both to the same port. Port 0 takes one that is free for both.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { ANY_PORT_TRIES } else { 1 };
        let (udp, tcp) = loop {
            let udp = std::net::UdpSocket::bind(address)?;
            // The kernel chose a port that is free for UDP; somebody may have it for TCP.
            match std::net::TcpListener::bind(udp.local_addr()?) {
                Ok(tcp) => break (udp, tcp),
                Err(err) if err.kind() == io::ErrorKind::AddrInUse && tries > 1 => tries -= 1,
                Err(err) => return Err(err),
            }
        };
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Serves both until the drain signal, as tasks.
    pub fn serve(self, responder: &Shared, drain: &Drain, tasks: &mut Tasks) -> io::Result<()> {
        let (udp, tcp) = (UdpSocket::from_std(self.udp)?, TcpListener::from_std(self.tcp)?);
        tasks.spawn("dns udp", serve_udp(Arc::new(udp), responder.clone(), drain.clone()));
        tasks.spawn("dns tcp", serve_tcp(tcp, responder.clone(), drain.clone()));
        Ok(())
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, responder: Shared, drain: Drain) {
    let mut pending = Tasks::new();
    let mut waiting = 0;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            () = drain.drained() => break,
            Some(_) = pending.join_next(), if waiting > 0 => waiting -= 1,
            received = socket.recv_from(&mut buffer) => {
                // An error belongs to an earlier packet (its receiver is gone) and not to the socket.
                let Ok((read, client)) = received else { continue };
                match responder.respond(&buffer[..read], Transport::Udp) {
                    Outcome::Answered(bytes) => send(&socket, &bytes, client).await,
                    Outcome::Pending(request) if waiting < MAX_PENDING => {
                        let (socket, responder) = (socket.clone(), responder.clone());
                        waiting += 1;
                        pending.spawn("dns question", async move {
                            let bytes = responder.resolve(request).await;
                            send(&socket, &bytes, client).await;
                        });
                    }
                    Outcome::Pending(_) | Outcome::Ignored => {}
                }
            }
        }
    }
    pending.shutdown(SHUTDOWN_DEADLINE).await;
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if let Err(err) = socket.send_to(bytes, client).await {
        tracing::debug!(client = %client, err = %err, "answer cannot be sent");
    }
}

async fn serve_tcp(listener: TcpListener, responder: Shared, drain: Drain) {
    let mut connections = Tasks::new();
    let mut open = 0;
    loop {
        tokio::select! {
            () = drain.drained() => break,
            Some(_) = connections.join_next(), if open > 0 => open -= 1,
            accepted = listener.accept(), if open < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let (responder, drain) = (responder.clone(), drain.clone());
                    open += 1;
                    connections.spawn("dns connection", async move {
                        // A client that goes away or talks nonsense ends its own connection only.
                        let _ = drain.until(converse(stream, &responder)).await;
                    });
                }
                // Too many open files, most likely: wait for some to be closed.
                Err(_) => responder.env.sleep(Duration::from_millis(50)).await,
            },
        }
    }
    connections.shutdown(SHUTDOWN_DEADLINE).await;
}

/// Answers one request after the other, each with its length in front.
async fn converse(mut stream: TcpStream, responder: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let request = tokio::time::timeout(IDLE_TIMEOUT, async {
            let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut buffer).await?;
            Ok::<_, io::Error>(buffer)
        });
        let response = match responder.respond(&request.await??, Transport::Tcp) {
            Outcome::Answered(bytes) => bytes,
            Outcome::Pending(request) => responder.resolve(request).await,
            Outcome::Ignored => return Ok(()),
        };
        let length = u16::try_from(response.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), response.as_slice()].concat()).await?;
    }
}
