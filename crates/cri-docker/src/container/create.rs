//! `CreateContainer`.

use std::path::Path;
use std::sync::Arc;

use bollard::models::{ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{CreateContainerOptionsBuilder, InspectContainerOptions};
use cri::{ContainerConfig, CreateContainerRequest, CreateContainerResponse, Status};

use super::body::{Parts, body};
use super::groups;
use super::stop::discard;
use crate::engine::Engine;
use crate::errors::Doing;
use crate::names;
use crate::record::ContainerRecord;
use crate::sandbox::Sandbox;
use crate::times::nanoseconds;

/// Makes a container that can be started.
pub(crate) async fn create(
    engine: &Arc<Engine>,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse, Status> {
    let config = request.config.unwrap_or_default();
    let metadata = config.metadata.clone().ok_or_else(|| Status::invalid_argument("the container has no metadata"))?;
    let sandbox = Sandbox::get(engine, &request.pod_sandbox_id).await?;
    if !sandbox.is_running() {
        return Err(Status::failed_precondition(format!("pod sandbox {} is not ready", sandbox.id)));
    }
    let name = &config.image.as_ref().map(|spec| spec.image.clone()).unwrap_or_default();
    let image = engine.docker.inspect_image(name).await.doing(format!("find image {name}"))?;
    let sandbox_config = request.sandbox_config.unwrap_or_else(|| sandbox.record.config.clone());
    let log_path = log_path(&sandbox_config.log_directory, &config.log_path);
    let record = record(engine, &sandbox.id, &config, &image, log_path);
    let body = body(&Parts { engine, sandbox: &sandbox, config: &config, record: &record })?;
    let name = names::container(&metadata, &sandbox.record.metadata());
    let made = create_named(engine, &name, body.clone()).await?;
    let context = config.linux.and_then(|linux| linux.security_context).unwrap_or_default();
    let container_id = match groups::settle(engine, &made, &context, &image, &body).await? {
        None => made,
        Some(body) => {
            discard(engine, &made).await?;
            create_named(engine, &name, body).await?
        }
    };
    Ok(CreateContainerResponse { container_id })
}

/// Creates it; one of the same name that never came to run gives way.
async fn create_named(engine: &Engine, name: &str, body: ContainerCreateBody) -> Result<String, Status> {
    let create = async |body: ContainerCreateBody| {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        engine.docker.create_container(Some(options), body).await.doing(format!("create container {name}"))
    };
    let created = match create(body.clone()).await {
        Err(err) if err.is_conflict() => {
            let other = engine.docker.inspect_container(name, None::<InspectContainerOptions>).await;
            let other = other.doing(format!("inspect {name}"))?;
            let state = other.state.unwrap_or_default();
            if crate::times::parse(state.started_at.as_deref()).is_some() {
                return Err(err.into());
            }
            discard(engine, &other.id.unwrap_or_default()).await?;
            create(body).await?
        }
        other => other?,
    };
    Ok(created.id)
}

fn log_path(directory: &str, path: &str) -> String {
    if directory.is_empty() || path.is_empty() {
        return String::new();
    }
    Path::new(directory).join(path).to_string_lossy().into_owned()
}

fn record(
    engine: &Engine,
    sandbox: &str,
    config: &ContainerConfig,
    image: &ImageInspect,
    log_path: String,
) -> ContainerRecord {
    let image_id = image.id.clone().unwrap_or_default();
    let first = |names: &Option<Vec<String>>| names.iter().flatten().next().cloned();
    let given = config.image.as_ref().map(|spec| spec.image.clone()).unwrap_or_default();
    // Docker shows these itself, the environment may hold secrets, and files' contents are in neither.
    let kept = ContainerConfig { envs: Vec::new(), command: Vec::new(), args: Vec::new(), ..config.clone() };
    ContainerRecord {
        sandbox: sandbox.to_owned(),
        config: kept,
        created_at: nanoseconds(engine.env.now()),
        log_path,
        image_ref: first(&image.repo_digests).unwrap_or_else(|| image_id.clone()),
        image_name: first(&image.repo_tags).unwrap_or(given),
        image_id,
    }
}
