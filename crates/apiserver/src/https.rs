//! The API for clients of the network: what comes through the edge, as requests of whoever has connected.

use std::net::SocketAddr;
use std::sync::Arc;

use base::Drain;
use edge::{Client, Edge};
use http::Request;
use hyper::body::Incoming;

use crate::access::{Peer, ShownCertificates};
use crate::pipeline::Core;

/// Where a request comes from, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

/// Serves until `drain`, then lets requests in flight end.
pub(crate) async fn serve(edge: Edge, core: Arc<Core>, drain: Drain) {
    let welcome = move |client: Client| {
        let (core, address) = (core.clone(), client.address);
        let peer = Peer::Tls(Arc::new(ShownCertificates::new(&client.certificates)));
        move |request: Request<Incoming>| {
            let mut request = request.map(crate::http::body::boxed);
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(ClientAddress(address));
            core.clone().handle(request)
        }
    };
    edge.serve(welcome, drain).await;
}
