//! Making a sandbox.

use std::sync::Arc;

use cri::{NamespaceMode, PodSandboxConfig};

use super::files::FileError;
use super::namespaces::NamespaceError;
use super::network::ConnectError;
use super::pause::PauseError;
use super::{
    Sandbox, SandboxPhase, SandboxRecord, UserNamespaceError, files, metadata, namespace_options, namespaces, network,
    pause,
};
use crate::config::DEPTH;
use crate::disk::{self, DiskError};
use crate::engine::{Engine, EventKind};
use crate::id::SandboxId;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunSandboxError {
    /// The request has no metadata.
    #[error("sandbox config must include metadata with a name and a uid")]
    NoMetadata,
    /// Another sandbox of the same attempt is there, and is different.
    #[error("a sandbox of attempt {attempt} of pod {namespace}/{name} exists: {existing}")]
    Exists {
        /// The pod's name.
        name: String,
        /// The pod's namespace.
        namespace: String,
        /// Which attempt.
        attempt: u32,
        /// The sandbox.
        existing: SandboxId,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No namespaces.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A user namespace that is not offered.
    #[error(transparent)]
    UserNamespace(#[from] UserNamespaceError),
    /// No files.
    #[error(transparent)]
    File(#[from] FileError),
    /// No shared pid namespace.
    #[error(transparent)]
    Pause(#[from] PauseError),
    /// No network.
    #[error("failed to set up sandbox network: {0}")]
    Network(#[from] ConnectError),
    /// The work was broken off.
    #[error("making the sandbox was broken off")]
    Aborted,
}

/// Makes a sandbox, or finds the one that an earlier call with the same configuration made.
pub(crate) async fn run(
    engine: &Arc<Engine>,
    config: PodSandboxConfig,
    runtime_handler: String,
) -> Result<SandboxId, RunSandboxError> {
    let names = metadata(&config);
    if names.name.is_empty() || names.uid.is_empty() {
        return Err(RunSandboxError::NoMetadata);
    }
    super::id_map(&config)?;
    let key = format!("sandbox {} {} {} {}", names.namespace, names.name, names.uid, names.attempt);
    let _alone = engine.locks.lock(key).await;
    let same_name = |sandbox: &&Arc<Sandbox>| metadata(&sandbox.record().config) == names;
    if let Some(existing) = engine.sandboxes().iter().find(same_name) {
        let record = existing.record();
        if record.phase == SandboxPhase::Ready && record.config == config {
            return Ok(record.id);
        }
        let (name, namespace, attempt) = (names.name, names.namespace, names.attempt);
        return Err(RunSandboxError::Exists { name, namespace, attempt, existing: record.id });
    }
    let id = SandboxId::generate(engine.env.random());
    let record = SandboxRecord {
        id: id.clone(),
        config,
        runtime_handler,
        created_at: engine.env.now(),
        phase: SandboxPhase::Creating,
        ips: Vec::new(),
    };
    let sandbox = Arc::new(Sandbox::new(record, engine.paths.sandbox(&id)));
    if let Err(err) = make(engine, &sandbox).await {
        if let Err(err) = super::remove::remove_rest(engine, &sandbox).await {
            tracing::warn!(sandbox = %id, %err, "cannot remove the rest of a sandbox that was not made");
        }
        return Err(err);
    }
    engine.insert_sandbox(sandbox.clone());
    engine.emit_sandbox(EventKind::ContainerCreatedEvent, &sandbox);
    engine.emit_sandbox(EventKind::ContainerStartedEvent, &sandbox);
    Ok(id)
}

async fn make(engine: &Engine, sandbox: &Arc<Sandbox>) -> Result<(), RunSandboxError> {
    let (blocking, program) = (sandbox.clone(), engine.shim_program.clone());
    let work = tokio::task::spawn_blocking(move || -> Result<(), RunSandboxError> {
        let (paths, config) = (blocking.paths(), blocking.record().config);
        disk::create_dir(paths.data())?;
        disk::create_dir(paths.run())?;
        // On the disk before anything is made, so that it is found and removed after a crash.
        blocking.write()?;
        files::write(&config, paths)?;
        if super::id_map(&config)?.is_some() {
            disk::open_way(paths.run(), DEPTH)?;
        }
        namespaces::make(&config, paths, &program)?;
        if namespace_options(&config).ipc() != NamespaceMode::Node {
            namespaces::mount_shm(&config, paths)?;
        }
        Ok(())
    });
    work.await.map_err(|_| RunSandboxError::Aborted)??;
    let config = sandbox.record().config;
    if namespace_options(&config).pid() == NamespaceMode::Pod {
        let cgroup = sandbox.paths().cgroup_parent(&config).join(sandbox.id().as_str());
        pause::start(&engine.shim_program, sandbox.paths(), &cgroup, super::id_map(&config)?.is_some()).await?;
    }
    let ips = network::connect(engine, sandbox.id(), &config, sandbox.paths()).await?;
    sandbox.update(|record| {
        record.phase = SandboxPhase::Ready;
        record.ips = ips;
    })?;
    Ok(())
}
