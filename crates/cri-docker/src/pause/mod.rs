//! The image that holds a sandbox's namespaces: the one that is configured, or one that is made here.

mod program;

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::TryStreamExt;

use crate::engine::Engine;
use crate::errors::{DockerError, Doing};

/// The name of the image that is made here; the tag changes with what is in it.
const REPOSITORY: &str = "skiff.local/pause";
const TAG: &str = "1";

/// Where its program is.
const PATH: &str = "pause";

/// An image, and what to run in it.
pub(crate) struct PauseImage {
    pub name: String,
    /// Nothing for what the image says itself.
    pub entrypoint: Option<Vec<String>>,
}

/// The name of the image.
pub(crate) fn name(engine: &Engine) -> String {
    engine.pause_image.clone().unwrap_or_else(|| format!("{REPOSITORY}:{TAG}"))
}

/// Sees to it that the image is there.
pub(crate) async fn ensure(engine: &Engine) -> Result<PauseImage, DockerError> {
    let name = name(engine);
    let entrypoint = engine.pause_image.is_none().then(|| vec![format!("/{PATH}")]);
    let there = engine.docker.inspect_image(&name).await.doing(format!("look for image {name}"));
    match there {
        Ok(_) => {}
        Err(err) if err.is_not_found() => match &engine.pause_image {
            Some(name) => crate::image::pull_by_name(engine, name, None).await?,
            None => import(engine).await?,
        },
        Err(err) => return Err(err),
    }
    Ok(PauseImage { name, entrypoint })
}

/// Gives Docker a root with nothing but the program.
async fn import(engine: &Engine) -> Result<(), DockerError> {
    let options = CreateImageOptionsBuilder::new().from_src("-").repo(REPOSITORY).tag(TAG).build();
    let body = bollard::body_full(archive().into());
    let progress = engine.docker.create_image(Some(options), Some(body), None);
    progress.try_collect::<Vec<_>>().await.doing("import the image that holds namespaces")?;
    Ok(())
}

fn archive() -> Vec<u8> {
    let program = program::elf();
    let mut header = tar::Header::new_ustar();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, PATH, program.as_slice()).expect("memory can be written");
    archive.into_inner().expect("memory can be written")
}
