//! Connections that are used again, to servers that many requests go to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use super::dial::Transport;
use super::forward;
use crate::http::body::Body;
use crate::pipeline::Core;

/// How many connections are kept.
const MAX_KEPT: usize = 100;

/// The open connections to the endpoints of a server.
#[derive(Default)]
pub(crate) struct Pool {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Those that carry an answer are among them: they are free again at its end.
    connections: Vec<(SocketAddr, SendRequest<Body>)>,
    /// How often all have been given up: one that was taken before is not kept any more.
    retired: u64,
}

impl Pool {
    /// Closes connections to other addresses than these, as soon as what they carry has ended.
    pub(crate) fn keep_only(&self, addresses: &[SocketAddr]) {
        self.kept().connections.retain(|(address, _)| addresses.contains(address));
    }

    /// Closes all connections, as soon as what they carry has ended.
    pub(crate) fn retire(&self) {
        let mut kept = self.kept();
        kept.connections.clear();
        kept.retired += 1;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request over a connection that is free, or over a new one.
    pub(crate) async fn exchange(
        &self,
        core: &Arc<Core>,
        address: SocketAddr,
        dial: impl AsyncFnOnce() -> Result<Box<dyn Transport>, String>,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, String> {
        let retired = self.kept().retired;
        while let Some(mut sender) = self.free(address) {
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    self.keep(address, sender, retired);
                    return Ok(answer);
                }
                // The other side has closed it meanwhile.
                Err(mut err) => match err.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(err.into_error().to_string()),
                },
            }
        }
        let mut sender = forward::open(core, dial().await?).await?;
        let answer = sender.send_request(request).await.map_err(|err| err.to_string())?;
        self.keep(address, sender, retired);
        Ok(answer)
    }

    fn free(&self, wanted: SocketAddr) -> Option<SendRequest<Body>> {
        let connections = &mut self.kept().connections;
        connections.retain(|(_, sender)| !sender.is_closed());
        let free = connections.iter().position(|(address, sender)| *address == wanted && sender.is_ready());
        free.map(|at| connections.swap_remove(at).1)
    }

    fn keep(&self, address: SocketAddr, sender: SendRequest<Body>, retired: u64) {
        let mut kept = self.kept();
        if kept.retired == retired && kept.connections.len() < MAX_KEPT {
            kept.connections.push((address, sender));
        }
    }
}
