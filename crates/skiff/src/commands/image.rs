//! `skiff image`: the images of this node's built-in runtime.

use std::io::Seek;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base::Instance;
use cri::{ImageSpec, ListImagesRequest, RemoveImageRequest};
use runtime::image::archive::{self, ImageOptions};

use crate::options::user::{Image, ImageAction};

/// Runs it.
pub async fn run(options: Image) -> Result<()> {
    match options.action {
        ImageAction::Import { installation, file } => import(&installation.instance(), &file).await,
        ImageAction::Build { installation, from_rootfs, tag, entrypoint, cmd, env, user, workdir } => {
            let user = (!user.is_empty()).then_some(user);
            let options = ImageOptions { entrypoint, cmd, env, user, working_dir: Some(workdir) };
            build(&installation.instance(), &from_rootfs, tag, options).await
        }
        ImageAction::List { installation } => list(&installation.instance()).await,
        ImageAction::Rm { installation, images } => remove(&installation.instance(), images).await,
    }
}

async fn import(instance: &Instance, path: &Path) -> Result<()> {
    let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
    send(instance, file, None).await.with_context(|| format!("cannot import {}", path.display()))
}

async fn build(instance: &Instance, rootfs: &Path, tag: String, options: ImageOptions) -> Result<()> {
    if !rootfs.is_dir() {
        bail!("--from-rootfs {} is not a directory", rootfs.display());
    }
    let (rootfs, name) = (rootfs.to_owned(), tag.clone());
    let archive = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
        archive::build(&rootfs, &name, &options, &mut file)?;
        file.rewind().context("cannot read back the image")?;
        anyhow::Ok(file)
    });
    let archive = archive.await?.with_context(|| format!("cannot build {tag}"))?;
    send(instance, tokio::fs::File::from_std(archive), Some(&tag)).await
}

async fn send(instance: &Instance, archive: tokio::fs::File, name: Option<&str>) -> Result<()> {
    let socket = runtime::Config::default_socket(instance);
    for image in runtime::import_archive(&socket, archive, name).await? {
        println!("{}  {}", image.id, image.names.join(" "));
    }
    Ok(())
}

async fn list(instance: &Instance) -> Result<()> {
    let mut images = connect(instance).await?;
    let listed = images.list_images(ListImagesRequest::default()).await?.into_inner().images;
    println!("{:<50} {:<20} SIZE", "IMAGE", "ID");
    for image in listed {
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        let id = id.get(..12).unwrap_or(id);
        let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
        for name in names {
            println!("{name:<50} {id:<20} {}", human(image.size));
        }
    }
    Ok(())
}

async fn remove(instance: &Instance, names: Vec<String>) -> Result<()> {
    let mut images = connect(instance).await?;
    for name in names {
        let spec = ImageSpec { image: name.clone(), ..ImageSpec::default() };
        let removed = images.remove_image(RemoveImageRequest { image: Some(spec) }).await;
        removed.with_context(|| format!("cannot remove {name}"))?;
        println!("{name}");
    }
    Ok(())
}

async fn connect(instance: &Instance) -> Result<cri::ImageClient> {
    let socket = runtime::Config::default_socket(instance);
    let (_, images) = cri::connect(&socket).await?;
    Ok(images)
}

/// Bytes in the largest unit of which there is at least one.
fn human(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let sizes = [0, 1536, 5 << 20, 3 << 30].map(human);
        assert_eq!(sizes, ["0 B", "1.5 KiB", "5.0 MiB", "3.0 GiB"]);
    }
}
