//! Protocol: the Container Runtime Interface, version 1, over a unix socket.
//!
//! The messages and services are made of `proto/runtime.proto`, which has what Kubernetes v1.35 speaks.
//! [`connect`] is the client's side, [`serve`] the server's. [`SecurityModules`] says what of the protocol's words a
//! machine's kernel can do.

mod calls;
mod confinement;
mod connect;
mod hpack;
mod local;
mod messages;
mod serve;

pub use calls::{Calls, Connection, Observer, lasting};
pub use confinement::{Labels, SecurityModules};
pub use connect::{ConnectError, connect, connect_with};
pub use local::{Local, incoming};
pub use messages::*;
pub use serve::{ServeError, routes, serve, serve_routes};
pub use tonic::service::Routes;
pub use tonic::transport::Channel;
pub use tonic::{Code, Request, Response, Status};

/// The client of the runtime service.
pub type RuntimeClient = runtime_service_client::RuntimeServiceClient<Connection>;

/// The client of the image service.
pub type ImageClient = image_service_client::ImageServiceClient<Connection>;

/// The largest message that either side takes: what upstream's kubelet allows.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
