//! Images.

use std::fs;
use std::process::{Command, Stdio};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use cri::{AuthConfig, ImageSpec};
use futures::TryStreamExt;

use crate::support::{IMAGE, Machine, eventually};

/// Nobody else is in the namespace.
const REGISTRY: &str = "127.0.0.1:5000";
const USER: &str = "somebody";
/// In the alphabet that Docker does not read, this would be read as no password at all.
const PASSWORD: &str = "pa~?>~?>~?>ss";
const HASH: &str = "$2b$04$U8ow4Kx8yPDvT.fWFJc.8u3TKp33TOfwzEx8jI0jP0TllONK3MZi6";

pub async fn images_are_pulled_and_removed(machine: &mut Machine) {
    let config = machine.path("registry.yml");
    let passwords = machine.path("passwords");
    fs::write(&passwords, format!("{USER}:{HASH}\n")).expect("written");
    let storage = format!("{{filesystem: {{rootdirectory: {}}}}}", machine.path("registry").display());
    let auth = format!("{{htpasswd: {{realm: test, path: {}}}}}", passwords.display());
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {storage}\nhttp: {{addr: \"{REGISTRY}\"}}\nauth: {auth}\n"
    );
    fs::write(&config, text).expect("written");
    let mut command = Command::new("docker-registry");
    let registry = command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut registry = registry.expect("the registry starts");
    eventually("the registry", async || tokio::net::TcpStream::connect(REGISTRY).await.ok()).await;
    let name = format!("{REGISTRY}/team/app:1");
    push(machine, &name).await;

    remove(machine, &name).await;
    pull(machine, &name, "wrong").await.expect_err("the password is wrong");
    let id = pull(machine, &name, PASSWORD).await.expect("pulled");
    let image = status(machine, &name).await.expect("it is there");
    assert_eq!(image.id, id);
    assert!(image.repo_digests[0].starts_with(&format!("{REGISTRY}/team/app@sha256:")), "{:?}", image.repo_digests);
    assert!(image.size > 0 && !image.pinned);
    let listed = machine.images.list_images(cri::ListImagesRequest::default()).await.expect("listed").into_inner();
    assert!(listed.images.iter().any(|image| image.repo_tags.contains(&name)), "{listed:?}");
    let by_digest = image.repo_digests[0].clone();
    remove(machine, &name).await;
    assert_eq!(status(machine, &name).await, None);
    assert_eq!(pull(machine, &by_digest, PASSWORD).await.expect("pulled by its digest"), id);
    remove(machine, &id).await;
    remove(machine, &id).await;
    assert!(status(machine, &id).await.is_none());
    push_back(machine).await;
    let _ = registry.kill();
    let _ = registry.wait();
}

/// The image of the tests had the same id, and went with all its names.
async fn push_back(machine: &mut Machine) {
    assert_eq!(status(machine, IMAGE).await, None);
    machine.import_busybox().await;
}

async fn push(machine: &Machine, name: &str) {
    let (repository, tag) = name.rsplit_once(':').expect("a tag");
    let options = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
    machine.docker.tag_image(IMAGE, Some(options)).await.expect("named");
    let credentials = DockerCredentials {
        username: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..DockerCredentials::default()
    };
    let docker = machine.docker.clone().with_request_modifier(|mut request| {
        // As the adapter does it.
        if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
            let text = value.to_str().expect("text").replace('+', "-").replace('/', "_");
            *value = text.parse().expect("a header");
        }
        request
    });
    let options = PushImageOptionsBuilder::new().tag(tag).build();
    let progress = docker.push_image(repository, Some(options), Some(credentials));
    progress.try_collect::<Vec<_>>().await.expect("pushed");
}

async fn pull(machine: &mut Machine, name: &str, password: &str) -> Result<String, cri::Status> {
    let auth = AuthConfig { username: USER.to_owned(), password: password.to_owned(), ..Default::default() };
    let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
    let request = cri::PullImageRequest { image, auth: Some(auth), sandbox_config: None };
    Ok(machine.images.pull_image(request).await?.into_inner().image_ref)
}

async fn status(machine: &mut Machine, name: &str) -> Option<cri::Image> {
    let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
    let request = cri::ImageStatusRequest { image, verbose: false };
    machine.images.image_status(request).await.expect("answered").into_inner().image
}

async fn remove(machine: &mut Machine, name: &str) {
    let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
    machine.images.remove_image(cri::RemoveImageRequest { image }).await.expect("removed");
}
