//! `skiff image`: the images of this node's built-in runtime.

use std::io::{IsTerminal, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base::Instance;
use cri::{ImageSpec, ImageStatusRequest, ListImagesRequest};
use runtime::image::archive::{self, ImageOptions};
use runtime::{ImageInfo, Images, RegistryRequest};
use serde_json::{Value, json};

use self::progress::Progress;
use super::table;
use crate::options::image::{Image, ImageAction, Login};

mod progress;

/// The file of standard input or output.
const STANDARD: &str = "-";

/// Runs it.
pub async fn run(options: Image) -> Result<()> {
    match options.action {
        ImageAction::Import { installation, tag, file } => import(&installation.instance(), &file, tag).await,
        ImageAction::Export { installation, output, images } => {
            export(&installation.instance(), &output, &images).await
        }
        ImageAction::Pull { installation, login, images } => pull(&installation.instance(), &login, images).await,
        ImageAction::Push { installation, login, image, name } => {
            push(&installation.instance(), &login, image, name).await
        }
        ImageAction::Build { installation, from_rootfs, tag, entrypoint, cmd, env, user, workdir, volumes } => {
            let user = (!user.is_empty()).then_some(user);
            let options = ImageOptions { entrypoint, cmd, env, user, working_dir: Some(workdir), volumes };
            build(&installation.instance(), &from_rootfs, tag, options).await
        }
        ImageAction::List { installation } => list(&installation.instance()).await,
        ImageAction::Inspect { installation, images } => inspect(&installation.instance(), images).await,
        ImageAction::Rm { installation, force, images } => remove(&installation.instance(), force, images).await,
        ImageAction::Prune { installation, all } => prune(&installation.instance(), all).await,
    }
}

fn images(instance: &Instance) -> Images {
    Images::new(&runtime::Config::default_socket(instance))
}

fn show(image: &ImageInfo) {
    println!("{}  {}", image.id, image.names.join(" "));
}

async fn import(instance: &Instance, path: &Path, name: Option<String>) -> Result<()> {
    let imported = if path == Path::new(STANDARD) {
        images(instance).import(tokio::io::stdin(), name.as_deref()).await
    } else {
        let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
        let size = file.metadata().await.ok().map(|metadata| metadata.len());
        images(instance).import(progress::Reading::new(file, size), name.as_deref()).await
    };
    imported.with_context(|| format!("cannot import {}", path.display()))?.iter().for_each(show);
    Ok(())
}

async fn export(instance: &Instance, path: &Path, names: &[String]) -> Result<()> {
    if path == Path::new(STANDARD) {
        if std::io::stdout().is_terminal() {
            bail!("an archive is nothing for a terminal: name a file with --output, or redirect it");
        }
        images(instance).export(names, tokio::io::stdout()).await?;
        return Ok(());
    }
    // Whole or not at all: half an archive looks like one.
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let file = tokio::fs::File::create(&partial).await.with_context(|| format!("cannot write {}", path.display()))?;
    match images(instance).export(names, file).await {
        Ok(size) => {
            std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}  {}", path.display(), human(size));
            Ok(())
        }
        Err(err) => {
            // The error is what counts, whether the rest goes or not.
            let _ = std::fs::remove_file(&partial);
            Err(err).context("cannot export")
        }
    }
}

async fn pull(instance: &Instance, login: &Login, names: Vec<String>) -> Result<()> {
    for name in names {
        let request = request(login, &name, None)?;
        let mut progress = Progress::new();
        let pulled = images(instance).pull(&request, |event| progress.show(event)).await;
        progress.end();
        show(&pulled.with_context(|| format!("cannot pull {name}"))?);
    }
    Ok(())
}

async fn push(instance: &Instance, login: &Login, image: String, name: Option<String>) -> Result<()> {
    let (name, image) = name.map_or_else(|| (image.clone(), None), |name| (name, Some(image.clone())));
    let request = request(login, &name, image)?;
    let mut progress = Progress::new();
    let pushed = images(instance).push(&request, |event| progress.show(event)).await;
    progress.end();
    show(&pushed.with_context(|| format!("cannot push to {name}"))?);
    Ok(())
}

/// What the runtime is asked for, with the credentials that are given or that fit best.
fn request(login: &Login, name: &str, image: Option<String>) -> Result<RegistryRequest> {
    let mut request = RegistryRequest { name: name.to_owned(), image, ..RegistryRequest::default() };
    if let Some(creds) = &login.creds {
        let (user, password) = creds.split_once(':').context("--creds needs USER:PASSWORD")?;
        (request.username, request.password) = (user.to_owned(), password.to_owned());
        return Ok(request);
    }
    let path = login.authfile.clone().or_else(|| Some(std::env::home_dir()?.join(".docker/config.json")));
    let Some(path) = path.filter(|path| login.authfile.is_some() || path.exists()) else { return Ok(request) };
    let read = || format!("cannot read {}", path.display());
    let bytes = std::fs::read(&path).with_context(read)?;
    if let Some(auth) = kubelet::docker_config(&bytes, name).with_context(read)?.into_iter().next() {
        request.auth = auth.auth;
        (request.username, request.password) = (auth.username, auth.password);
        request.identity_token = auth.identity_token;
    }
    Ok(request)
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
    let imported = images(instance).import(tokio::fs::File::from_std(archive), Some(&tag)).await?;
    imported.iter().for_each(show);
    Ok(())
}

async fn list(instance: &Instance) -> Result<()> {
    let mut images = connect(instance).await?;
    let listed = images.list_images(ListImagesRequest::default()).await?.into_inner().images;
    let mut rows = vec![["IMAGE", "ID", "SIZE", "PINNED"].map(str::to_owned)];
    for image in listed {
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        let id = id.get(..12).unwrap_or(id).to_owned();
        let pinned = if image.pinned { "yes" } else { "" };
        let mut names = if image.repo_tags.is_empty() { image.repo_digests } else { image.repo_tags };
        if names.is_empty() {
            names.push("<none>".to_owned());
        }
        rows.extend(names.into_iter().map(|name| [name, id.clone(), human(image.size), pinned.to_owned()]));
    }
    print!("{}", table::aligned(&rows));
    Ok(())
}

async fn inspect(instance: &Instance, names: Vec<String>) -> Result<()> {
    let mut images = connect(instance).await?;
    let mut found = Vec::new();
    for name in names {
        let spec = ImageSpec { image: name.clone(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(spec), verbose: true };
        let answer = images.image_status(request).await?.into_inner();
        let image = answer.image.with_context(|| format!("no image {name:?}"))?;
        let mut shown = json!({
            "id": image.id,
            "repoTags": image.repo_tags,
            "repoDigests": image.repo_digests,
            "size": image.size,
            "pinned": image.pinned,
            "username": image.username,
            "uid": image.uid.map(|uid| uid.value),
        });
        // The runtime's own words are documents of their own.
        let info = answer.info.get("info").and_then(|info| serde_json::from_str::<Value>(info).ok());
        if let Some(Value::Object(info)) = info {
            for (key, value) in info {
                shown[key] = value;
            }
        }
        found.push(shown);
    }
    let mut output = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, &found)?;
    writeln!(output)?;
    Ok(())
}

async fn remove(instance: &Instance, force: bool, names: Vec<String>) -> Result<()> {
    let mut failure = None;
    for name in names {
        match images(instance).remove(&name, force).await {
            Ok(removed) => {
                removed.untagged.iter().for_each(|name| println!("Untagged: {name}"));
                removed.deleted.iter().for_each(|id| println!("Deleted: {id}"));
            }
            // The others go all the same.
            Err(err) => {
                let err = anyhow::Error::from(err).context(format!("cannot remove {name}"));
                if let Some(earlier) = failure.replace(err) {
                    eprintln!("skiff: {}", base::error_chain(earlier.as_ref()));
                }
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn prune(instance: &Instance, all: bool) -> Result<()> {
    let removed = images(instance).prune(all).await.context("cannot remove unused images")?;
    removed.iter().for_each(show);
    println!("removed {} images of {}", removed.len(), human(removed.iter().map(|image| image.size).sum()));
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

    #[test]
    fn credentials_are_those_that_are_given_or_fit() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("config.json");
        std::fs::write(&file, r#"{"auths": {"r.io": {"auth": "dTpw"}, "q.io": {"identitytoken": "t"}}}"#)
            .expect("written");
        let login = |creds: Option<&str>| Login { creds: creds.map(str::to_owned), authfile: Some(file.clone()) };
        let told = |creds, name| {
            let request = request(&login(creds), name, None).expect("a request");
            [request.username, request.password, request.auth, request.identity_token]
        };
        assert_eq!(told(Some("me:a:b"), "r.io/x"), ["me", "a:b", "", ""]);
        assert_eq!(told(None, "r.io/x"), ["", "", "dTpw", ""]);
        assert_eq!(told(None, "q.io/x"), ["", "", "", "t"]);
        assert_eq!(told(None, "busybox"), ["", "", "", ""]);
        assert!(request(&login(Some("me")), "x", None).is_err());
    }
}
