//! The component: build, then run until drained.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, SpawnedTasks, spawner};
use streaming::Streaming;
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Config, Paths};
use crate::confinement::Confinement;
use crate::container;
use crate::disk::{self, DiskError};
use crate::engine::{Engine, Parts};
use crate::handlers::RuntimeHandlers;
use crate::id::{ContainerId, SandboxId};
use crate::image::{ImageStore, Patience, Settings};
use crate::private_mount;
use crate::sandbox::{self, Sandbox, SandboxPhase};
use crate::service::{Service, archive_routes};

/// Why the runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or directory could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The run directory cannot be kept apart from the machine's other mounts.
    #[error("cannot make {} a private mount: {source}", path.display())]
    PrivateMount {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What an earlier run left half done cannot be removed.
    #[error("cannot remove the rest of sandbox {id}: {reason}")]
    Rest {
        /// The sandbox.
        id: String,
        /// Why.
        reason: String,
    },
    /// The pod network cannot be brought in line with the sandboxes that exist.
    #[error("cannot bring the pod network in line with the sandboxes: {0}")]
    Network(#[from] network::RetainError),
    /// The streaming server has no port.
    #[error("cannot listen for streaming connections: {0}")]
    Streaming(#[source] io::Error),
    /// The socket is taken or refused.
    #[error(transparent)]
    Bind(#[from] base::BindError),
}

/// Why the runtime ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] cri::ServeError),
}

/// The container runtime of one installation.
#[derive(Debug)]
pub struct Runtime {
    engine: Arc<Engine>,
    listener: UnixListener,
    streaming: TcpListener,
    tasks: SpawnedTasks,
}

impl Runtime {
    /// Adopts what runs, and listens on the socket; calls are answered once [`Runtime::run`] is called.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let paths = Paths::new(&config.instance);
        disk::create_dir(paths.data())?;
        disk::create_dir(paths.run())?;
        private_mount::ensure(paths.run())
            .map_err(|source| BuildError::PrivateMount { path: paths.run().to_owned(), source })?;
        // The socket first: it also keeps a second runtime away from the same directories.
        let listener = base::bind_socket(&config.socket)?;
        let (streaming, streaming_listener) =
            Streaming::bind(config.env.clone(), config.stream_idle_timeout).await.map_err(BuildError::Streaming)?;
        let images = Arc::new(ImageStore::open(paths.data())?);
        let (spawner, tasks) = spawner();
        let confinement = Confinement::new(&config.machine_root, &config.instance.name(), paths.run());
        let engine = Arc::new(Engine::new(Parts {
            paths,
            env: config.env,
            instance: config.instance.name(),
            shim_program: config.shim_program,
            start_timeout: config.start_timeout,
            images,
            registries: Settings { hosts_dir: config.registry_config_dir, patience: Patience::default() },
            network: config.pod_network,
            streaming,
            spawner,
            runtime_handlers: RuntimeHandlers::detect(config.runtime_handlers).await,
            cdi_dirs: config.cdi_dirs,
            confinement,
        }));
        adopt_sandboxes(&engine).await?;
        adopt_containers(&engine).await?;
        engine.spawner.spawn("preload images", preload_images(engine.clone(), config.image_preload_dir));
        engine.spawner.spawn("collect images", collect_postponed(engine.clone()));
        Ok(Self { engine, listener, streaming: streaming_listener, tasks })
    }

    /// Serves until `drain` fires. Containers keep running.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let Self { engine, listener, streaming, mut tasks } = self;
        engine.spawner.spawn("streaming server", streaming::serve(engine.streaming.clone(), streaming, drain.clone()));
        let service = Service::new(engine.clone(), drain.clone());
        let mut routes = cri::routes(service.clone(), service);
        let router = std::mem::take(routes.axum_router_mut());
        *routes.axum_router_mut() = router.merge(archive_routes(engine.clone()));
        let serve = cri::serve_routes(listener, routes, drain);
        let failed = |err| tracing::error!(%err, "a task of the container runtime failed");
        let result = tasks.run_until(serve, failed).await;
        // Watchers of running containers never end by themselves; operations were answered before this point.
        drop(engine);
        tasks.shutdown(Duration::ZERO).await;
        Ok(result?)
    }
}

/// Imports what lies on the node; whoever pulls meanwhile waits for it.
async fn preload_images(engine: Arc<Engine>, dir: PathBuf) {
    let _adding = engine.images.adding().await;
    let worker = engine.clone();
    let work = move || worker.preloads.import(&worker.images, &dir, worker.env.now());
    if let Err(err) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%err, "preloading images failed");
    }
    engine.preloaded.send_replace(true);
}

/// Removes what could not be removed while somebody was adding images, or what a container was the last to need.
///
/// Nothing goes because a runtime starts: what an earlier one has pulled of an image is gone on with.
async fn collect_postponed(engine: Arc<Engine>) {
    loop {
        engine.images.postponed().await;
        let worker = engine.clone();
        match tokio::task::spawn_blocking(move || worker.collect_images()).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::warn!(%err, "cannot remove what no image needs any more"),
            Err(err) => tracing::error!(%err, "removing what no image needs failed"),
        }
    }
}

async fn adopt_sandboxes(engine: &Arc<Engine>) -> Result<(), BuildError> {
    for name in disk::list_dirs(&engine.paths.sandboxes())? {
        let Some(id) = SandboxId::parse(&name) else { continue };
        let paths = engine.paths.sandbox(&id);
        let rest = |reason: String| BuildError::Rest { id: name.clone(), reason };
        match Sandbox::load(paths.clone()) {
            Ok(Some(sandbox)) if sandbox.record().phase == SandboxPhase::Creating => {
                let removed = sandbox::remove_rest(engine, &Arc::new(sandbox)).await;
                removed.map_err(|err| rest(err.to_string()))?;
            }
            Ok(Some(sandbox)) => engine.insert_sandbox(Arc::new(sandbox)),
            Ok(None) => sandbox::discard(&paths).map_err(|err| rest(err.to_string()))?,
            Err(err) if err.is_damage() => {
                tracing::warn!(sandbox = name, %err, "a sandbox is removed with its containers, for its record is damaged");
                sandbox::discard(&paths).map_err(|err| rest(err.to_string()))?;
            }
            Err(err) => return Err(err.into()),
        }
    }
    if let Some(network) = &engine.network {
        let sandboxes = engine.sandboxes();
        let known = |sandbox: &Arc<Sandbox>| Some((sandbox.id().to_string(), sandbox::reservation(&sandbox.record())?));
        network.retain(sandboxes.iter().filter_map(known).collect()).await?;
    }
    Ok(())
}

async fn adopt_containers(engine: &Arc<Engine>) -> Result<(), BuildError> {
    for name in disk::list_dirs(&engine.paths.containers())? {
        if let Some(id) = ContainerId::parse(&name) {
            container::adopt(engine, engine.paths.container(&id)).await?;
        }
    }
    Ok(())
}
