//! The server's side.

use base::Drain;
use tokio::net::UnixListener;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::MAX_MESSAGE_BYTES;
use crate::image_service_server::{ImageService, ImageServiceServer};
use crate::runtime_service_server::{RuntimeService, RuntimeServiceServer};

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the container runtime interface: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves both services on `listener` until `drain` fires and the calls in flight have ended.
///
/// Streams of events must end by themselves when the same signal fires.
pub async fn serve<R, I>(listener: UnixListener, runtime: R, image: I, drain: Drain) -> Result<(), ServeError>
where
    R: RuntimeService,
    I: ImageService,
{
    serve_routes(listener, routes(runtime, image), drain).await
}

/// The two services as routes, to which a server may add its own before [`serve_routes`].
pub fn routes<R: RuntimeService, I: ImageService>(runtime: R, image: I) -> Routes {
    let runtime = RuntimeServiceServer::new(runtime)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let image = ImageServiceServer::new(image)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Routes::new(runtime).add_service(image)
}

/// Serves `routes` on `listener` until `drain` fires and the calls in flight have ended.
pub async fn serve_routes(listener: UnixListener, routes: Routes, drain: Drain) -> Result<(), ServeError> {
    let incoming = crate::incoming(listener);
    Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, drain.drained_owned()).await?;
    Ok(())
}
