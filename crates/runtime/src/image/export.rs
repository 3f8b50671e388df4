//! Writing images as an archive that every tool takes: an OCI layout that is what `docker save` writes too.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use oci_spec::image::ImageManifest;
use serde_json::{Value, json};
use tar::{Builder, Header};

use super::content::ContentError;
use super::{ContentStore, Digest, Image, ImageStore};

/// How much of a blob tells how it is compressed.
const MAGIC: u64 = 4;

/// Why images could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// Content is missing or damaged.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Whoever takes the archive does not.
    #[error("cannot write the archive: {0}")]
    Write(#[from] io::Error),
}

/// The manifest of an image: as it came, or made where it came without one. With its media type.
pub(crate) fn manifest(content: &ContentStore, image: &Image) -> Result<(Vec<u8>, String), ExportError> {
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    if let Some(digest) = &image.manifest {
        let bytes = content.read(digest)?;
        let parsed: Option<ImageManifest> = serde_json::from_slice(&bytes).ok();
        let media_type = parsed.and_then(|parsed| parsed.media_type().as_ref().map(ToString::to_string));
        return Ok((bytes, media_type.unwrap_or_else(|| OCI.to_owned())));
    }
    let config = content.read(&image.id)?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let mut magic = Vec::new();
        content.open_blob(&layer.blob)?.take(MAGIC).read_to_end(&mut magic)?;
        let packed = match magic.as_slice() {
            [0x1f, 0x8b, ..] => "+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
            _ => "",
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{packed}");
        layers.push(json!({"mediaType": media_type, "digest": layer.blob.as_str(), "size": layer.size}));
    }
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {"mediaType": config_type, "digest": image.id.as_str(), "size": config.len()},
        "layers": layers,
    });
    Ok((manifest.to_string().into_bytes(), OCI.to_owned()))
}

/// Writes images, each under some of its names. Blocks; the caller holds [`ImageStore::adding`].
pub(crate) fn export(
    store: &ImageStore,
    images: &[(Arc<Image>, Vec<String>)],
    output: impl Write,
) -> Result<(), ExportError> {
    let content = store.content();
    let mut archive = Builder::new(output);
    let (mut index, mut docker, mut written) = (Vec::new(), Vec::new(), BTreeSet::new());
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    for (image, names) in images {
        let (bytes, media_type) = manifest(content, image)?;
        let digest = Digest::of(&bytes);
        if written.insert(digest.clone()) {
            add(&mut archive, &digest.layout_path(), &bytes)?;
        }
        for blob in image.layers.iter().map(|layer| &layer.blob).chain([&image.id]) {
            if written.insert(blob.clone()) {
                let file = content.open_blob(blob)?;
                let mut header = header(file.metadata()?.len());
                archive.append_data(&mut header, blob.layout_path(), file)?;
            }
        }
        let entry = |name: Option<&String>| descriptor(image, &digest, &media_type, bytes.len(), name);
        let unnamed = names.is_empty().then_some(None);
        index.extend(names.iter().map(Some).chain(unnamed).map(entry));
        let layers: Vec<String> = image.layers.iter().map(|layer| layer.blob.layout_path()).collect();
        docker.push(json!({"Config": image.id.layout_path(), "RepoTags": names, "Layers": layers}));
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": index});
    add(&mut archive, "index.json", index.to_string().as_bytes())?;
    add(&mut archive, "manifest.json", Value::from(docker).to_string().as_bytes())?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn descriptor(image: &Image, digest: &Digest, media_type: &str, size: usize, name: Option<&String>) -> Value {
    let (os, architecture) = (image.config.os().to_string(), image.config.architecture().to_string());
    let mut entry = json!({
        "mediaType": media_type,
        "digest": digest.as_str(),
        "size": size,
        "platform": {"os": os, "architecture": architecture},
    });
    if let Some(variant) = image.config.variant() {
        entry["platform"]["variant"] = json!(variant);
    }
    if let Some(name) = name {
        // What readers take for the tag alone, and what they take for the whole name.
        let tag = name.rsplit_once(':').map_or(name.as_str(), |(_, tag)| tag);
        entry["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": tag,
        });
    }
    entry
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn add(archive: &mut Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(content.len() as u64), path, content)
}
