//! Starts what a plan says: a sandbox, a container.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use cri as v1;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;

use super::cri_config::{self, ContainerInputs, PodPlace};
use super::grant::grant;
use super::kill::{self, Reason};
use super::messages::termination_path;
use super::observed::{Observed, Sandbox, State};
use super::plan::Start;
use super::references::References;
use super::{dns, hosts, lifecycle, names, spec, users};
use crate::context::Context;
use crate::environment::{self, FieldContext, Inputs};
use crate::images::rpc_message;
use crate::volumes::{self, Mounted};

/// How long a `postStart` hook may take at most.
const POST_START_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Why something was not started: a reason as in a waiting container's state, and a message for people.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct StartError {
    /// One word.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// When it may be tried again, where that is known.
    pub retry_at: Option<Timestamp>,
}

impl StartError {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message, retry_at: None }
    }
}

/// Makes a sandbox for a pod.
pub async fn sandbox(context: &Context, pod: &Pod, attempt: u32) -> Result<(), StartError> {
    let fail = |message: String| {
        let text = format!("Failed to create pod sandbox: {message}");
        context.event(pod, None, EventType::Warning, "FailedCreatePodSandBox", text.clone());
        StartError::new("CreatePodSandboxError", text)
    };
    let log_directory = cri_config::log_directory(&context.config.pod_logs_dir, pod);
    tokio::fs::create_dir_all(&log_directory)
        .await
        .map_err(|err| fail(format!("cannot create {}: {err}", log_directory.display())))?;
    for shortage in dns::shortages(pod, &context.dns) {
        context.event(pod, None, EventType::Warning, shortage.reason(), shortage.to_string());
    }
    hosts::check_hostname(pod, &context.dns.domain).map_err(|err| fail(err.to_string()))?;
    let runtime_handler = runtime_handler(context, pod).await.map_err(fail)?;
    if users::has_own(pod) {
        check_users(context, &runtime_handler).await.map_err(fail)?;
    }
    if let Err(err) = context.resource_claims.prepare(context, pod).await {
        let message = format!("Failed to prepare dynamic resources: prepare dynamic resources: {err}");
        context.event(pod, None, EventType::Warning, "FailedPrepareDynamicResources", message.clone());
        return Err(StartError::new("CreatePodSandboxError", message));
    }
    let config = sandbox_config(context, pod, attempt).await.map_err(|err| fail(err.to_string()))?;
    let (handler, began) = (runtime_handler.clone(), context.env.instant());
    let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler };
    let made = context.runtime.clone().run_pod_sandbox(request).await;
    context.metrics.runtime.sandbox_run(&handler, began.elapsed(), made.is_ok());
    made.map(drop).map_err(|status| fail(rpc_message(&status)))
}

/// The runtime's own name for the class that the pod asks for; empty for the usual one.
async fn runtime_handler(context: &Context, pod: &Pod) -> Result<String, String> {
    let Some(name) = spec::spec(pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    match Api::<RuntimeClass>::all(context.client.clone()).get_opt(name).await {
        Ok(Some(class)) => Ok(class.handler),
        Ok(None) => Err(format!("RuntimeClass \"{name}\" not found")),
        Err(err) => Err(format!("failed to get RuntimeClass {name}: {err}")),
    }
}

/// Whether the runtime gives pods users of their own: one that does not would run them with the machine's.
async fn check_users(context: &Context, handler: &str) -> Result<(), String> {
    match (features(context, handler).await?.user_namespaces, handler) {
        (true, _) => Ok(()),
        (false, "") => Err("can't set `spec.hostUsers: false`, runtime does not support user namespaces".to_owned()),
        (false, handler) => Err(format!(
            "can't set `spec.hostUsers: false`, RuntimeClass handler \"{handler}\" does not support user namespaces"
        )),
    }
}

/// What the runtime says that a handler can do; nothing where it says nothing.
async fn features(context: &Context, handler: &str) -> Result<v1::RuntimeHandlerFeatures, String> {
    let status = context.runtime.clone().status(v1::StatusRequest { verbose: false }).await;
    let handlers = status.map_err(|status| rpc_message(&status))?.into_inner().runtime_handlers;
    Ok(handlers.into_iter().find(|known| known.name == handler).and_then(|known| known.features).unwrap_or_default())
}

/// Whether mounts of a container can be read-only all the way down, where it matters.
async fn can_be_deep(context: &Context, pod: &Pod, container: &Container) -> Result<bool, String> {
    if !volumes::asks_for_deep_read_only(container) {
        return Ok(false);
    }
    let handler = runtime_handler(context, pod).await?;
    Ok(features(context, &handler).await?.recursive_read_only_mounts)
}

async fn pod_users(context: &Context, pod: &Pod) -> Result<Option<users::Users>, users::UsersError> {
    context.users.of(pod, &context.config.pod_dir(spec::uid(pod))).await
}

async fn sandbox_config(context: &Context, pod: &Pod, attempt: u32) -> Result<v1::PodSandboxConfig, users::UsersError> {
    let place = PodPlace { cgroup: context.pod_cgroup(pod), users: pod_users(context, pod).await? };
    Ok(cri_config::sandbox_config(pod, attempt, &place, &context.node_facts()))
}

/// What a container is started in.
pub struct Surroundings<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What the runtime has of it.
    pub observed: &'a Observed,
    /// Its sandbox.
    pub sandbox: &'a Sandbox,
    /// Its volumes.
    pub mounted: &'a Mounted,
    /// The objects that it refers to.
    pub references: &'a References,
}

/// Starts an instance of a container: image, configuration, creation, start, hook.
pub async fn container(context: &Context, around: &Surroundings<'_>, start: &Start) -> Result<(), StartError> {
    let pod = around.pod;
    let Some(container) = spec::container(pod, &start.name) else { return Ok(()) };
    let outcome = start_container(context, around, &container, start).await;
    if let Err(err) = &outcome
        && !matches!(err.reason, "PostStartHookError")
    {
        // The image's own events say what happened; this one says what it means for the container.
        let message = match err.reason {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => {
                format!("Error: {}", err.reason)
            }
            _ => format!("Error: {}", err.message),
        };
        context.event(pod, Some(&container.name), EventType::Warning, "Failed", message);
    }
    outcome
}

async fn start_container(
    context: &Context,
    around: &Surroundings<'_>,
    container: &Container,
    start: &Start,
) -> Result<(), StartError> {
    let id = match start_made(context, around, container).await? {
        Some(id) => id,
        None => make_and_start(context, around, container, start).await?,
    };
    let (pod, sandbox) = (around.pod, around.sandbox);
    context.event(pod, Some(&container.name), EventType::Normal, "Started", "Container started".to_owned());
    let log = cri_config::log_path(&container.name, start.restart_count);
    context.logs.started(&id, cri_config::log_directory(&context.config.pod_logs_dir, pod).join(log));
    let ips = if spec::host_network(pod) { &context.node_ips } else { &sandbox.ips };
    post_start(context, pod, container, &id, ips).await
}

/// Starts the instance that was made and not started, where a kubelet or runtime before was broken off in between; its
/// identifier. One that does not fit any more, or cannot be started, makes room for another of the same number.
async fn start_made(
    context: &Context,
    around: &Surroundings<'_>,
    container: &Container,
) -> Result<Option<String>, StartError> {
    let latest = around.observed.latest(&container.name);
    let Some(made) = latest.filter(|instance| instance.state == State::Created) else { return Ok(None) };
    let mut runtime = context.runtime.clone();
    if made.sandbox_id == around.sandbox.id && made.hash == names::container_hash(container) {
        let request = v1::StartContainerRequest { container_id: made.id.clone() };
        let Err(refusal) = runtime.start_container(request).await else { return Ok(Some(made.id.clone())) };
        let request = v1::ContainerStatusRequest { container_id: made.id.clone(), verbose: false };
        let status = runtime.container_status(request).await.map(|answer| answer.into_inner().status);
        match status.map(Option::unwrap_or_default) {
            Ok(status) if status.state() == v1::ContainerState::ContainerCreated => {}
            // Who was broken off has started it all the same, and it may be through by now.
            Ok(status) if status.started_at > 0 => return Ok(Some(made.id.clone())),
            _ => return Err(StartError::new("RunContainerError", refusal.message().to_owned())),
        }
    }
    let request = v1::RemoveContainerRequest { container_id: made.id.clone() };
    let removed = runtime.remove_container(request).await;
    removed.map_err(|status| StartError::new("CreateContainerError", status.message().to_owned()))?;
    Ok(None)
}

/// Makes an instance and starts it; its identifier.
async fn make_and_start(
    context: &Context,
    around: &Surroundings<'_>,
    container: &Container,
    start: &Start,
) -> Result<String, StartError> {
    let (pod, sandbox) = (around.pod, around.sandbox);
    let config_error = |message: String| StartError::new("CreateContainerConfigError", message);
    let users = pod_users(context, pod).await.map_err(|err| config_error(err.to_string()))?;
    let sandbox_config =
        sandbox_config(context, pod, sandbox.attempt).await.map_err(|err| config_error(err.to_string()))?;
    let secrets = pull_secrets(around).await;
    let image = context
        .puller
        .ensure(context, pod, container, &secrets, &sandbox_config)
        .await
        .map_err(|err| StartError { reason: err.reason, message: err.message, retry_at: err.retry_at })?;
    let ips = if spec::host_network(pod) { &context.node_ips } else { &sandbox.ips };
    let grant = grant(context, pod, container).await.map_err(config_error)?;
    let environment = variables(context, around, container, ips).await.map_err(config_error)?;
    let command = environment::command(container, &environment);
    let images = image_volumes(context, around, container, &secrets, &sandbox_config).await?;
    let can_be_deep = can_be_deep(context, pod, container).await.map_err(config_error)?;
    let sources = volumes::Sources { mounted: around.mounted, images: &images, environment: &environment, can_be_deep };
    let mut mounts = grant.mounts.clone();
    let of_volumes = volumes::container_mounts(context, pod, container, &sources).await;
    mounts.extend(of_volumes.map_err(|err| config_error(err.to_string()))?);
    mounts.extend(own_mounts(context, pod, container, ips, start.restart_count, &mounts).await.map_err(config_error)?);
    if let Some(users) = users {
        for mount in &mut mounts {
            (mount.uid_mappings, mount.gid_mappings) = (users.mappings(), users.mappings());
        }
    }
    let inputs = ContainerInputs {
        restart_count: start.restart_count,
        environment,
        command,
        mounts,
        devices: volumes::container_devices(container, around.mounted).map_err(|err| config_error(err.to_string()))?,
        grant,
        image_ref: image.image_ref.clone(),
        image_user: (image.uid, image.username.clone()),
        users,
        target_id: target_id(around, &container.name).map_err(config_error)?,
        resources: context.container_resources(pod, container),
    };
    let config = cri_config::container_config(pod, container, inputs, &context.node_facts())
        .map_err(|err| config_error(err.to_string()))?;
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: sandbox.id.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox_config),
    };
    let mut runtime = context.runtime.clone();
    let created = runtime.create_container(request).await;
    let id = created
        .map_err(|status| StartError::new("CreateContainerError", status.message().to_owned()))?
        .into_inner()
        .container_id;
    context.event(pod, Some(&container.name), EventType::Normal, "Created", "Container created".to_owned());
    runtime
        .start_container(v1::StartContainerRequest { container_id: id.clone() })
        .await
        .map_err(|status| StartError::new("RunContainerError", status.message().to_owned()))?;
    Ok(id)
}

/// The running instance that an ephemeral container is to see into, if it names one.
fn target_id(around: &Surroundings<'_>, name: &str) -> Result<Option<String>, String> {
    let ephemeral = spec::spec(around.pod).ephemeral_containers.iter().flatten().find(|one| one.name == name);
    let Some(target) = ephemeral.and_then(|one| one.target_container_name.as_deref()) else { return Ok(None) };
    match around.observed.latest(target).filter(|instance| instance.state == State::Running) {
        Some(instance) => Ok(Some(instance.id.clone())),
        None => Err(format!("unable to find target container {target}")),
    }
}

async fn post_start(
    context: &Context,
    pod: &Pod,
    container: &Container,
    id: &str,
    ips: &[String],
) -> Result<(), StartError> {
    let Some(handler) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
        return Ok(());
    };
    let ip = ips.first().map(String::as_str);
    if let Err(err) = lifecycle::run(context, pod, container, id, ip, handler, POST_START_LIMIT).await {
        tracing::info!(namespace = spec::namespace(pod), name = spec::name(pod), err = %err, "postStart hook failed");
        let name = Some(container.name.as_str());
        context.event(pod, name, EventType::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
        let target = kill::Target { id, name: &container.name, grace: spec::grace_period(pod) };
        kill::container(context, pod, &target, &Reason::FailedPostStart, ip).await;
        return Err(StartError::new("PostStartHookError", err.to_string()));
    }
    Ok(())
}

async fn pull_secrets(around: &Surroundings<'_>) -> Vec<Arc<Secret>> {
    let mut secrets = Vec::new();
    for reference in spec::spec(around.pod).image_pull_secrets.iter().flatten() {
        // A secret that is missing may be one of several: the pull decides.
        if let Ok(secret) = around.references.secret(&reference.name).await {
            secrets.extend(secret);
        }
    }
    secrets
}

/// The images that a container mounts as volumes, pulled as the volumes want it.
async fn image_volumes(
    context: &Context,
    around: &Surroundings<'_>,
    container: &Container,
    secrets: &[Arc<Secret>],
    sandbox: &v1::PodSandboxConfig,
) -> Result<BTreeMap<String, v1::ImageSpec>, StartError> {
    let mut images = BTreeMap::new();
    for volume in spec::spec(around.pod).volumes.iter().flatten() {
        let Some(source) = &volume.image else { continue };
        if !container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name) {
            continue;
        }
        // Pulled as if it were the container's own: events and waiting times are the container's.
        let wanted = Container {
            name: container.name.clone(),
            image: source.reference.clone(),
            image_pull_policy: source.pull_policy.clone(),
            ..Container::default()
        };
        let present = context.puller.ensure(context, around.pod, &wanted, secrets, sandbox).await;
        let present = present.map_err(|err| StartError {
            reason: err.reason,
            message: format!("failed to get image volumes: {}", err.message),
            retry_at: err.retry_at,
        })?;
        let user_specified_image = source.reference.clone().unwrap_or_default();
        let image = v1::ImageSpec { image: present.image_ref, user_specified_image, ..v1::ImageSpec::default() };
        images.insert(volume.name.clone(), image);
    }
    Ok(images)
}

/// The container's variables; an error is a message for the user.
async fn variables(
    context: &Context,
    around: &Surroundings<'_>,
    container: &Container,
    ips: &[String],
) -> Result<Vec<(String, String)>, String> {
    let (config_map_names, secret_names) = environment::references(container);
    let mut config_maps = BTreeMap::new();
    for name in config_map_names {
        let object = around.references.config_map(&name).await;
        let object = object.map_err(|err| format!("failed to sync configmap cache: {err}"))?;
        config_maps.insert(name, object);
    }
    let mut secrets = BTreeMap::new();
    for name in secret_names {
        let object = around.references.secret(&name).await;
        secrets.insert(name, object.map_err(|err| format!("failed to sync secret cache: {err}"))?);
    }
    let files = env_files(around, container).await?;
    // A container started before the services are known would miss them for all its life.
    context.services.synced().await;
    let services = context.services.lister().list();
    let fields = FieldContext { pod_ips: ips, host_ips: &context.node_ips, allocatable: context.allocatable() };
    let inputs =
        Inputs { config_maps: &config_maps, secrets: &secrets, files: &files, services: &services, fields: &fields };
    environment::build(around.pod, container, &inputs).map_err(|err| err.to_string())
}

type EnvFiles = BTreeMap<(String, String), Option<BTreeMap<String, String>>>;

/// The files of variables that a container refers to.
async fn env_files(around: &Surroundings<'_>, container: &Container) -> Result<EnvFiles, String> {
    let mut files = EnvFiles::new();
    for (volume, path) in environment::file_references(container) {
        let Some(place) = around.mounted.volumes.get(&volume).map(|place| place.path.clone()) else {
            return Err(format!("cannot find the volume \"{volume}\" referenced by fileKeyRef"));
        };
        let inside = path.clone();
        let read = tokio::task::spawn_blocking(move || volumes::read_inside(&place, &inside)).await;
        let text = read.map_err(|err| err.to_string())?;
        let text = text.map_err(|err| format!("couldn't read file \"{path}\" of volume \"{volume}\": {err}"))?;
        let variables = match text {
            Some(text) => {
                Some(environment::parse_file(&text).map_err(|err| format!("couldn't parse env file: {err}"))?)
            }
            None => None,
        };
        files.insert((volume, path), variables);
    }
    Ok(files)
}

/// What the kubelet itself mounts: `/etc/hosts` and the file for the termination message.
async fn own_mounts(
    context: &Context,
    pod: &Pod,
    container: &Container,
    ips: &[String],
    restart_count: u32,
    mounts: &[v1::Mount],
) -> Result<Vec<v1::Mount>, String> {
    let mut own = Vec::new();
    let pod_dir = context.config.pod_dir(spec::uid(pod));
    let mount = |container_path: &str, host_path: &Path| v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        selinux_relabel: true,
        ..v1::Mount::default()
    };
    if !mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == "/etc/hosts") {
        let path = pod_dir.join("etc-hosts");
        let host = match spec::host_network(pod) {
            true => Some(tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default()),
            false => None,
        };
        let text = hosts::hosts_file(pod, ips, &context.dns.domain, host.as_deref());
        write_file(&path, text.as_bytes()).await?;
        own.push(mount("/etc/hosts", &path));
    }
    if let Some(message_path) = container.termination_message_path.as_deref().filter(|path| !path.is_empty()) {
        let path = termination_path(&pod_dir, &container.name, restart_count);
        write_file(&path, b"").await?;
        // Whoever the container runs as must be able to write it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        tokio::fs::set_permissions(&path, mode)
            .await
            .map_err(|err| format!("cannot prepare {}: {err}", path.display()))?;
        own.push(mount(message_path, &path));
    }
    Ok(own)
}

async fn write_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = async {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::write(path, bytes).await
    };
    write.await.map_err(|err| format!("cannot write {}: {err}", path.display()))
}
