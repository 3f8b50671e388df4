//! Making a container: its root and its specification.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerConfig, NamespaceMode, PodSandboxConfig};

use super::mounts::{self, Preparation, PrepareError};
use super::volumes;
use super::{Container, ContainerPaths, ContainerRecord, ContainerState, signal};
use crate::cdi::{self, CdiError};
use crate::confinement::{ConfinementError, relabel};
use crate::disk::{self, DiskError};
use crate::engine::{Engine, EventKind};
use crate::id::ContainerId;
use crate::image::Image;
use crate::sandbox::{self, Sandbox, SandboxPhase, UserNamespaceError};
use crate::shim::protocol::{ShimConfig, rootfs};
use crate::spec::{self, SpecError, SpecInput};

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// The request has no metadata.
    #[error("container config must include metadata with a name")]
    NoMetadata,
    /// It wants more than its pod may have.
    #[error("no privileged container allowed in sandbox")]
    Privileged,
    /// The sandbox was stopped.
    #[error("sandbox {0} is not ready")]
    SandboxNotReady(String),
    /// There is no such image.
    #[error("image {0:?} not found")]
    NoImage(String),
    /// There is no such container to share processes with.
    #[error("target container {0:?} is not running")]
    NoTarget(String),
    /// Another container of the same attempt is there, and is different.
    #[error("a container of attempt {attempt} of {name} exists: {existing}")]
    Exists {
        /// The container's name in the pod.
        name: String,
        /// Which attempt.
        attempt: u32,
        /// The container.
        existing: ContainerId,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its root or a source of its mounts cannot be mounted.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// It cannot be confined.
    #[error(transparent)]
    Confinement(#[from] ConfinementError),
    /// It cannot be described.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The pod's users make no sense.
    #[error(transparent)]
    Users(#[from] UserNamespaceError),
    /// A vendor's device cannot be given.
    #[error(transparent)]
    Cdi(#[from] CdiError),
    /// The work was broken off.
    #[error("making the container was broken off")]
    Aborted,
}

/// Makes a container, or finds the one that an earlier call with the same configuration made.
pub(crate) async fn create(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    config: ContainerConfig,
    sandbox_config: Option<PodSandboxConfig>,
) -> Result<ContainerId, CreateError> {
    let names = config.metadata.clone().filter(|names| !names.name.is_empty()).ok_or(CreateError::NoMetadata)?;
    let _stays = sandbox.operation.read().await;
    let key = format!("container {} {} {}", sandbox.id(), names.name, names.attempt);
    let _alone = engine.locks.lock(key).await;
    let sandbox_record = sandbox.record();
    if sandbox_record.phase != SandboxPhase::Ready {
        return Err(CreateError::SandboxNotReady(sandbox.id().to_string()));
    }
    let of_sandbox = engine.containers_of(sandbox.id());
    if let Some(existing) = of_sandbox.iter().find(|other| other.record().config.metadata.as_ref() == Some(&names)) {
        if existing.record().config == config && existing.state() == ContainerState::Created {
            return Ok(existing.id().clone());
        }
        let (name, attempt) = (names.name, names.attempt);
        return Err(CreateError::Exists { name, attempt, existing: existing.id().clone() });
    }
    // Until the container is known, nothing else tells that its layers are needed.
    let _needed = engine.images.adding().await;
    let plan = Plan::new(engine, sandbox, config, sandbox_config.unwrap_or(sandbox_record.config))?;
    let (id, worker) = (plan.id.clone(), engine.clone());
    let images: Vec<_> = plan.images().map(|image| image.id.clone()).collect();
    let made = tokio::task::spawn_blocking(move || plan.carry_out(&worker)).await.map_err(|_| CreateError::Aborted)?;
    if matches!(made, Err(CreateError::Prepare(PrepareError::Overlay(_)))) {
        // A layer may be gone.
        images.iter().for_each(|image| engine.suspect(image));
    }
    let container = made?;
    engine.insert_container(container.clone());
    engine.emit_container(EventKind::ContainerCreatedEvent, &container);
    Ok(id)
}

/// Everything that is known before the work on the disk begins.
struct Plan {
    id: ContainerId,
    paths: ContainerPaths,
    sandbox: Arc<Sandbox>,
    config: ContainerConfig,
    sandbox_config: PodSandboxConfig,
    image: Arc<Image>,
    mounted_images: Vec<Arc<Image>>,
    target_pid_namespace: Option<PathBuf>,
}

impl Plan {
    fn new(
        engine: &Engine,
        sandbox: &Arc<Sandbox>,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<Self, CreateError> {
        let of_pod = sandbox_config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        if spec::security_context(&config).privileged && !of_pod.is_some_and(|context| context.privileged) {
            return Err(CreateError::Privileged);
        }
        let find = |name: &str| engine.images.find(name).ok_or_else(|| CreateError::NoImage(name.to_owned()));
        let image = find(config.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default())?;
        let mounted = config.mounts.iter().filter_map(|mount| mount.image.as_ref());
        let mounted_images = mounted.map(|image| find(&image.image)).collect::<Result<_, _>>()?;
        let options = spec::security_context(&config).namespace_options.unwrap_or_default();
        let target_pid_namespace = if options.pid() == NamespaceMode::Target {
            let target = engine.container(&options.target_id).and_then(|target| target.pid());
            let pid = target.ok_or_else(|| CreateError::NoTarget(options.target_id.clone()))?;
            Some(PathBuf::from(format!("/proc/{pid}/ns/pid")))
        } else {
            None
        };
        let id = ContainerId::generate(engine.env.random());
        let paths = engine.paths.container(&id);
        let sandbox = sandbox.clone();
        Ok(Self { id, paths, sandbox, config, sandbox_config, image, mounted_images, target_pid_namespace })
    }

    fn carry_out(self, engine: &Engine) -> Result<Arc<Container>, CreateError> {
        let result = self.build(engine);
        if result.is_err() {
            undo(&self.paths, &self.id);
        }
        result
    }

    fn build(&self, engine: &Engine) -> Result<Arc<Container>, CreateError> {
        let Self { paths, image, .. } = self;
        let volumes = volumes::mounts(image, &self.config.mounts, paths);
        let mut config = self.config.clone();
        // Before the others, which may be below them.
        config.mounts.splice(..0, volumes.iter().cloned());
        let config = &config;
        disk::create_dir(paths.data())?;
        disk::create_dir(paths.bundle())?;
        let map = sandbox::id_map(&self.sandbox.record().config)?;
        let users = map.map(|map| (map, self.sandbox.paths().namespace("user")));
        let context = spec::security_context(config);
        let profile = engine.confinement.profile(&context)?;
        let labels = engine.confinement.labels(&context);
        let label = labels.as_ref().map(|labels| labels.files.as_str());
        let images = &self.mounted_images;
        let preparation = Preparation { engine, paths, mounts: &config.mounts, images, users, label };
        preparation.mount_root(image)?;
        volumes::fill(&volumes, paths, map)?;
        let prepared = preparation.mount_sources()?;
        if let Some(label) = label {
            self.sandbox
                .paths()
                .shown()
                .iter()
                .try_for_each(|path| relabel(path, label))
                .map_err(PrepareError::from)?;
        }
        let cgroup = self.sandbox.paths().cgroup_parent(&self.sandbox_config).join(self.id.as_str());
        let oci_runtime = engine.runtime_handlers.program(&self.sandbox.record().runtime_handler);
        let input = SpecInput {
            config,
            sandbox_config: &self.sandbox_config,
            sandbox: self.sandbox.paths(),
            image: &image.config,
            rootfs: &rootfs(paths.bundle()),
            cgroup: &cgroup,
            sandbox_options: sandbox::namespace_options(&self.sandbox.record().config),
            prepared: &prepared,
            target_pid_namespace: self.target_pid_namespace.clone(),
            is_for_program: oci_runtime.is_some(),
            map,
            profile: profile.as_deref(),
            labels: labels.as_ref(),
        };
        let mut made = spec::make(&input)?;
        let devices = cdi::wanted(config)?;
        cdi::inject(&mut made.document, devices.iter().map(String::as_str), &engine.cdi_dirs)?;
        disk::write_json(&paths.spec(), &made.document)?;
        let directory = Path::new(&self.sandbox_config.log_directory);
        let has_log = !config.log_path.is_empty() && !self.sandbox_config.log_directory.is_empty();
        let log_path = has_log.then(|| directory.join(&config.log_path));
        let shim = ShimConfig {
            id: self.id.to_string(),
            state_dir: paths.data().to_owned(),
            shim_cgroup: engine.shim_cgroup(),
            cgroup: cgroup.clone(),
            log_path: log_path.clone(),
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            own_pid_namespace: made.own_pid_namespace,
            oom_score_adj: oom_score_adj(config),
            filter: made.filter,
            users: map.map(|_| self.sandbox.paths().namespace("user")),
            uid: map.map_or(0, |map| map.host_id) + made.user.uid,
            start_timeout: whole_seconds(engine.start_timeout),
            oci_runtime: oci_runtime.clone(),
        };
        disk::write_json(&ShimConfig::file(paths.bundle()), &shim)?;
        let record = ContainerRecord {
            id: self.id.clone(),
            sandbox: self.sandbox.id().clone(),
            config: self.config.clone(),
            image: image.id.clone(),
            image_ref: image.digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
            layers: self.layers(),
            created_at: engine.env.now(),
            log_path,
            cgroup,
            user: made.user,
            stop_signal: stop_signal(config, image),
            mounted_images: self.mounted_images.iter().map(|image| image.id.clone()).collect(),
            own_pid_namespace: made.own_pid_namespace,
        };
        // The record makes the container: without one, a later start removes the rest.
        disk::write_record(&paths.record(), &record)?;
        Ok(Arc::new(Container::new(record, paths.clone(), ContainerState::Created)))
    }

    /// The image of the root, and those that are mounted.
    fn images(&self) -> impl Iterator<Item = &Arc<Image>> {
        std::iter::once(&self.image).chain(&self.mounted_images)
    }

    fn layers(&self) -> Vec<crate::layer::LayerId> {
        self.images().flat_map(|image| image.unpacked.iter().cloned()).collect()
    }
}

/// Changes the limits in the specification of a container that was not started.
pub(crate) fn update_spec(container: &Container, change: &cri::LinuxContainerResources) -> Result<(), DiskError> {
    let path = container.paths().spec();
    let Some(mut document) = disk::read_json::<serde_json::Value>(&path)? else { return Ok(()) };
    let mut resources = container.resources();
    super::merge(&mut resources, change);
    let mut limits = spec::limits(&resources);
    limits["devices"] = document["linux"]["resources"]["devices"].take();
    document["linux"]["resources"] = limits;
    disk::write_json(&path, &document)
}

/// Who says nothing gets the usual score, and not that of the node's own processes.
fn oom_score_adj(config: &ContainerConfig) -> Option<i32> {
    let resources = config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    i32::try_from(resources.map_or(0, |resources| resources.oom_score_adj)).ok()
}

/// At least one: none at all would be no limit.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn stop_signal(config: &ContainerConfig, image: &Image) -> i32 {
    let of_image = image.config.config().as_ref().and_then(|config| config.stop_signal().clone()).unwrap_or_default();
    signal::stop_signal(config.stop_signal(), &of_image)
}

/// Removes what a failed attempt made.
fn undo(paths: &ContainerPaths, id: &ContainerId) {
    let unmounted = mounts::unmount(paths).map_err(|err: io::Error| err.to_string());
    let removed = unmounted.and_then(|()| {
        disk::remove_dir(paths.bundle()).and_then(|()| disk::remove_dir(paths.data())).map_err(|err| err.to_string())
    });
    if let Err(err) = removed {
        tracing::warn!(container = %id, err, "cannot remove the rest of a container that was not made");
    }
}
