//! Making an image of a directory: one layer and a configuration, as an OCI layout archive.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

use super::reference::InvalidReference;
use super::{Algorithm, Digest, Reference, platform};

/// What the image's containers do unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Directories that each container gets for itself, beside its root.
    pub volumes: Vec<String>,
}

/// Why no archive could be made.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The image's name is none.
    #[error("{0}")]
    Name(String),
    /// The directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive: {0}")]
    Write(#[from] io::Error),
}

impl From<InvalidReference> for ArchiveError {
    fn from(err: InvalidReference) -> Self {
        Self::Name(err.to_string())
    }
}

/// Writes an archive with one image called `name`, whose root is the content of `rootfs`.
///
/// Owners, modes, times and links are kept; sockets are left out. The layer is put together in a temporary file first,
/// because its digest stands before it.
pub fn build(rootfs: &Path, name: &str, options: &ImageOptions, output: impl Write) -> Result<(), ArchiveError> {
    let name = Reference::parse(name)?;
    let mut layer = tempfile::tempfile()?;
    write_layer(rootfs, &mut layer)?;
    let (layer_digest, layer_size) = digest_of(&mut layer)?;
    let mut config = json!({
        "Entrypoint": options.entrypoint,
        "Cmd": options.cmd,
        "Env": with_path(&options.env),
    });
    if let Some(user) = &options.user {
        config["User"] = json!(user);
    }
    if let Some(dir) = &options.working_dir {
        config["WorkingDir"] = json!(dir);
    }
    if !options.volumes.is_empty() {
        config["Volumes"] = options.volumes.iter().map(|place| (place.clone(), json!({}))).collect();
    }
    let config = json!({
        "architecture": platform::architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer_digest.as_str()]},
        "history": [{"created_by": "skiff image build --from-rootfs"}],
    })
    .to_string();
    let config_digest = Digest::of(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest.as_str(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer_digest.as_str(),
            "size": layer_size,
        }],
    })
    .to_string();
    let manifest_digest = Digest::of(manifest.as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest_digest.as_str(),
            "size": manifest.len(),
            "annotations": {"io.containerd.image.name": name.tagged().unwrap_or_else(|| name.to_string())},
        }],
    })
    .to_string();
    let mut archive = Builder::new(output);
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", index.as_bytes())?;
    add(&mut archive, &manifest_digest.layout_path(), manifest.as_bytes())?;
    add(&mut archive, &config_digest.layout_path(), config.as_bytes())?;
    let mut header = file_header(layer_size);
    archive.append_data(&mut header, layer_digest.layout_path(), layer)?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn with_path(env: &[String]) -> Vec<String> {
    let mut env = env.to_vec();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    env
}

fn file_header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn add(archive: &mut Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut file_header(content.len() as u64), path, content)
}

fn digest_of(file: &mut File) -> io::Result<(Digest, u64)> {
    file.rewind()?;
    let mut hasher = Algorithm::Sha256.hasher();
    let mut chunk = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hasher.update(&chunk[..read]);
    }
    file.rewind()?;
    Ok((hasher.finish(), size))
}

fn write_layer(rootfs: &Path, output: &mut File) -> Result<(), ArchiveError> {
    let mut archive = Builder::new(io::BufWriter::new(output));
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let read = |path: &Path, source: io::Error| ArchiveError::Read { path: path.to_owned(), source };
    for entry in WalkDir::new(rootfs).sort_by_file_name().min_depth(1) {
        let entry = entry.map_err(|err| {
            let path = err.path().unwrap_or(rootfs).to_owned();
            ArchiveError::Read { path, source: err.into() }
        })?;
        let path = entry.path();
        let Ok(name) = path.strip_prefix(rootfs) else { continue };
        let metadata = fs::symlink_metadata(path).map_err(|err| read(path, err))?;
        if metadata.file_type().is_socket() {
            continue;
        }
        let mut header = Header::new_gnu();
        header.set_metadata(&metadata);
        let key = (metadata.dev(), metadata.ino());
        if metadata.is_file() && metadata.nlink() > 1 {
            if let Some(first) = links.get(&key) {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                archive.append_link(&mut header, name, first)?;
                continue;
            }
            links.insert(key, name.to_owned());
        }
        if metadata.is_file() {
            let file = File::open(path).map_err(|err| read(path, err))?;
            archive.append_data(&mut header, name, file)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(|err| read(path, err))?;
            header.set_size(0);
            archive.append_link(&mut header, name, target)?;
        } else {
            if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
                header.set_device_major(rustix::fs::major(metadata.rdev()))?;
                header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
            }
            header.set_size(0);
            archive.append_data(&mut header, name, io::empty())?;
        }
    }
    archive.into_inner()?.flush()?;
    Ok(())
}
