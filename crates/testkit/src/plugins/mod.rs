//! Plugins of a kubelet on real sockets: one that offers devices, and a driver of dynamic resources.

mod claims;
mod devices;
mod registrant;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Uri};

pub use claims::DraDriver;
pub use devices::{DevicePlugin, device};
pub use registrant::Registrant;

/// How long a kubelet may take to be there.
const DEADLINE: Duration = Duration::from_secs(60);

/// A client's connection with whoever listens on a socket.
pub async fn connect(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

/// Listens on a socket, in place of whoever did before.
pub fn listen(socket: &Path) -> UnixListenerStream {
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("made");
    let _ = std::fs::remove_file(socket);
    UnixListenerStream::new(UnixListener::bind(socket).expect("a free socket"))
}
