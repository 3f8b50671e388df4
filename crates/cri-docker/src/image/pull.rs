//! `PullImage`.

use std::sync::Arc;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use cri::{AuthConfig, PullImageRequest, PullImageResponse, Status};
use futures::TryStreamExt;

use super::find;
use crate::engine::Engine;
use crate::errors::{DockerError, Doing};

/// How long Docker may take to say the first word of a pull: it waits for a registry.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Pulls an image, whose id is the answer.
pub(crate) async fn pull(engine: &Arc<Engine>, request: PullImageRequest) -> Result<PullImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    if name.is_empty() {
        return Err(Status::invalid_argument("no image is named"));
    }
    by_name(engine, &name, request.auth.map(|auth| credentials(auth, &name))).await?;
    let image = find(engine, &name).await?;
    let id = image.and_then(|image| image.id);
    Ok(PullImageResponse { image_ref: id.ok_or_else(|| Status::not_found(format!("image {name} not found")))? })
}

/// Has Docker pull an image.
pub(crate) async fn by_name(
    engine: &Engine,
    name: &str,
    credentials: Option<DockerCredentials>,
) -> Result<(), DockerError> {
    tracing::info!(image = name, "pulling an image");
    let docker = engine.docker.clone().with_timeout(PATIENCE);
    let (image, tag) = split(name);
    let options = CreateImageOptionsBuilder::new().from_image(image).tag(tag).build();
    // An error comes as part of the progress.
    let progress = docker.create_image(Some(options), None, credentials);
    progress.try_for_each(|_| std::future::ready(Ok(()))).await.doing(format!("pull image {name}"))
}

/// A name without its tag, and the tag: without one, Docker would pull them all. What names a digest stays whole.
fn split(name: &str) -> (&str, &str) {
    if name.contains('@') {
        return (name, "");
    }
    match name.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((image, tag)) if !tag.contains('/') => (image, tag),
        _ => (name, "latest"),
    }
}

/// Credentials for the registry of an image, as CRI brings them.
fn credentials(auth: AuthConfig, name: &str) -> DockerCredentials {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let registry = match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "https://index.docker.io/v1/",
    };
    DockerCredentials {
        username: some(auth.username),
        password: some(auth.password),
        auth: some(auth.auth),
        serveraddress: Some(some(auth.server_address).unwrap_or_else(|| registry.to_owned())),
        identitytoken: some(auth.identity_token),
        registrytoken: some(auth.registry_token),
        email: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_off() {
        assert_eq!(split("nginx"), ("nginx", "latest"));
        assert_eq!(split("localhost:5000/a/b:1.2"), ("localhost:5000/a/b", "1.2"));
        assert_eq!(split("localhost:5000/a"), ("localhost:5000/a", "latest"));
        assert_eq!(split("a@sha256:00"), ("a@sha256:00", ""));
    }

    #[test]
    fn credentials_are_for_the_images_registry() {
        let of = |name: &str| credentials(AuthConfig::default(), name).serveraddress.expect("always named");
        assert_eq!(of("127.0.0.1:5000/a:1"), "127.0.0.1:5000");
        assert_eq!(of("library/nginx"), "https://index.docker.io/v1/");
    }
}
