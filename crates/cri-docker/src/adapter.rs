//! The component: build, then run until drained.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, SpawnedTasks, spawner};
use bollard::Docker;
use streaming::Streaming;
use tokio::net::{TcpListener, UnixListener};

use crate::config::Config;
use crate::container;
use crate::daemon::{self, Daemon};
use crate::engine::{Engine, Parts};
use crate::errors::DockerError;
use crate::service::Service;

/// Why the adapter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Docker Engine does not answer.
    #[error("cannot reach Docker Engine at {}: {source}", socket.display())]
    Docker {
        /// Its socket.
        socket: PathBuf,
        /// What went wrong.
        source: bollard::errors::Error,
    },
    /// It refuses what must be known at the start.
    #[error(transparent)]
    Refused(#[from] DockerError),
    /// The streaming server has no port.
    #[error("cannot listen for streaming connections: {0}")]
    Streaming(#[source] io::Error),
    /// The socket is taken or refused.
    #[error(transparent)]
    Bind(#[from] base::BindError),
}

/// Why the adapter ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] cri::ServeError),
}

/// The adapter of one machine.
#[derive(Debug)]
pub struct Adapter {
    engine: Arc<Engine>,
    listener: UnixListener,
    streaming: TcpListener,
    tasks: SpawnedTasks,
}

impl Adapter {
    /// Greets Docker Engine, goes on with the logs of containers, and listens on the socket; calls are answered once
    /// [`Adapter::run`] is called.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        // The socket first: it also keeps a second adapter away from the same logs.
        let listener = base::bind_socket(&config.socket)?;
        let (streaming, streaming_listener) =
            Streaming::bind(config.env.clone(), config.stream_idle_timeout).await.map_err(BuildError::Streaming)?;
        let docker = connect(&config).await?;
        let daemon = Daemon::ask(&docker).await?;
        let (spawner, tasks) = spawner();
        let engine = Arc::new(Engine::new(Parts {
            docker,
            daemon,
            env: config.env,
            cni: config.cni,
            pause_image: config.pod_infra_container_image,
            streaming,
            spawner,
        }));
        container::adopt_logs(&engine).await?;
        Ok(Self { engine, listener, streaming: streaming_listener, tasks })
    }

    /// Serves until `drain` fires. Containers keep running.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let Self { engine, listener, streaming, mut tasks } = self;
        engine.spawner.spawn("streaming server", streaming::serve(engine.streaming.clone(), streaming, drain.clone()));
        let service = Service::new(engine.clone(), drain.clone());
        let serve = cri::serve(listener, service.clone(), service, drain);
        let failed = |err| tracing::error!(%err, "a task of the Docker adapter failed");
        let result = tasks.run_until(serve, failed).await;
        // Collectors of logs never end by themselves, and find their place again; operations were answered before.
        drop(engine);
        tasks.shutdown(Duration::ZERO).await;
        Ok(result?)
    }
}

async fn connect(config: &Config) -> Result<Docker, BuildError> {
    let failed = |source| BuildError::Docker { socket: config.docker_endpoint.clone(), source };
    let path = config.docker_endpoint.to_string_lossy();
    let timeout = daemon::PATIENCE.as_secs();
    let docker = Docker::connect_with_unix(&path, timeout, bollard::API_DEFAULT_VERSION).map_err(failed)?;
    docker.with_request_modifier(daemon::mend_credentials).negotiate_version().await.map_err(failed)
}
