//! Connections that are used again, to servers that many requests go to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Those that carry an answer are among them: they are free again at its end.
    kept: Mutex<Vec<(SocketAddr, SendRequest<Body>)>>,
}

impl Pool {
    /// Closes connections to other addresses than these, as soon as what they carry has ended.
    pub(crate) fn keep_only(&self, addresses: &[SocketAddr]) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(address, _)| addresses.contains(address));
    }

    /// Sends a request over a connection that is free, or over a new one.
    pub(crate) async fn exchange(
        &self,
        core: &Arc<Core>,
        address: SocketAddr,
        dial: impl AsyncFnOnce() -> Result<Box<dyn Transport>, String>,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, String> {
        while let Some(mut sender) = self.free(address) {
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    self.keep(address, sender);
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
        self.keep(address, sender);
        Ok(answer)
    }

    fn free(&self, wanted: SocketAddr) -> Option<SendRequest<Body>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, sender)| !sender.is_closed());
        let free = kept.iter().position(|(address, sender)| *address == wanted && sender.is_ready());
        free.map(|at| kept.swap_remove(at).1)
    }

    fn keep(&self, address: SocketAddr, sender: SendRequest<Body>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push((address, sender));
        }
    }
}
