//! Reading image archives: OCI layouts and what `docker save` writes, plain or compressed.
//!
//! The archive is a stream. Everything large in it goes to the content store as it comes by, under the digest of what
//! it is; what it means is known when the indexes have been read, at the end.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;
use tar::{Archive, EntryType};

use super::content::ContentError;
use super::manifest::{self, MAX_DEPTH, ManifestError, Parsed};
use super::reference::InvalidReference;
use super::store::{ImageLayer, NewImage};
use super::{Digest, Image, ImageStore, ImageStoreError, Reference, platform};
use crate::dots::without_dots;
use crate::layer::Decompressed;

/// The largest index that is taken; real ones have a few kilobytes.
const MAX_INDEX: u64 = 8 * 1024 * 1024;

/// The full name, as containerd's tools write it.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// The name or only the tag, as the image specification says.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why an archive could not be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// It cannot be read.
    #[error("cannot read the archive: {0}")]
    Read(io::Error),
    /// It has neither of the files that say what it is.
    #[error("no image archive: neither index.json nor manifest.json is in it")]
    Unknown,
    /// A file in it cannot be understood.
    #[error("{file} in the archive cannot be read: {reason}")]
    Parse {
        /// The file.
        file: String,
        /// What the parser said.
        reason: String,
    },
    /// A file that it names is not in it.
    #[error("the archive names {0} but does not have it")]
    Missing(String),
    /// It has no image for this machine.
    #[error("the archive has no image for {}", platform::name())]
    Platform,
    /// What is in it is no image.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It does not say what its image is called, and nobody else did.
    #[error("the archive does not name its image; give a name for it")]
    NoName,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidReference),
    /// Content could not be stored.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The image could not be added.
    #[error(transparent)]
    Store(#[from] ImageStoreError),
}

/// Imports every image for this machine in `archive`, under `name` if there is one. Blocks.
///
/// The caller holds [`ImageStore::adding`].
pub(crate) fn import(
    store: &ImageStore,
    archive: impl Read,
    name: Option<&Reference>,
    now: Timestamp,
) -> Result<Vec<Arc<Image>>, ImportError> {
    let contents = Contents::read(store, Decompressed::new(archive).map_err(ImportError::Read)?)?;
    let images = match (&contents.index, &contents.docker) {
        (Some(index), docker) => from_layout(store, index, docker.as_deref(), name)?,
        (None, Some(docker)) => from_docker(&contents, docker, name)?,
        (None, None) => return Err(ImportError::Unknown),
    };
    if images.is_empty() {
        return Err(ImportError::Platform);
    }
    let add = |image| Ok(store.add(image, now)?);
    images.into_iter().map(add).collect()
}

/// What was in an archive.
struct Contents {
    index: Option<Vec<u8>>,
    docker: Option<Vec<u8>>,
    /// Where the files of the archive went, with their sizes.
    files: BTreeMap<PathBuf, (Digest, u64)>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Contents {
    fn read(store: &ImageStore, archive: impl Read) -> Result<Self, ImportError> {
        let mut contents = Self { index: None, docker: None, files: BTreeMap::new(), links: BTreeMap::new() };
        let mut archive = Archive::new(archive);
        for entry in archive.entries().map_err(ImportError::Read)? {
            let mut entry = entry.map_err(ImportError::Read)?;
            let path = entry.path().map_err(ImportError::Read)?;
            let path = path.strip_prefix(".").unwrap_or(&path).to_owned();
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {}
                EntryType::Symlink | EntryType::Link => {
                    if let Some(target) = entry.link_name().map_err(ImportError::Read)? {
                        let parent = path.parent().unwrap_or(Path::new(""));
                        contents.links.insert(path.clone(), without_dots(&parent.join(target)));
                    }
                    continue;
                }
                _ => continue,
            }
            match path.to_str() {
                Some("index.json") => contents.index = Some(small(&mut entry)?),
                Some("manifest.json") => contents.docker = Some(small(&mut entry)?),
                Some("oci-layout" | "repositories") => {}
                _ => {
                    let expected = blob_digest(&path);
                    let stored = store.content().write(&mut entry, expected.as_ref(), None)?;
                    contents.files.insert(path, stored);
                }
            }
        }
        Ok(contents)
    }

    fn file(&self, path: &str) -> Result<&(Digest, u64), ImportError> {
        let path = Path::new(path);
        let target = self.links.get(path).map_or(path, PathBuf::as_path);
        self.files.get(target).ok_or_else(|| ImportError::Missing(path.display().to_string()))
    }
}

fn small(entry: &mut impl Read) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    entry.take(MAX_INDEX).read_to_end(&mut bytes).map_err(ImportError::Read)?;
    Ok(bytes)
}

/// The digest in `blobs/<algorithm>/<digits>`.
fn blob_digest(path: &Path) -> Option<Digest> {
    let (algorithm, digits) = path.to_str()?.strip_prefix("blobs/")?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{digits}")).ok()
}

fn parse<'a, T: Deserialize<'a>>(file: &str, bytes: &'a [u8]) -> Result<T, ImportError> {
    serde_json::from_slice(bytes).map_err(|err| ImportError::Parse { file: file.to_owned(), reason: err.to_string() })
}

fn from_layout(
    store: &ImageStore,
    index: &[u8],
    docker: Option<&[u8]>,
    name: Option<&Reference>,
) -> Result<Vec<NewImage>, ImportError> {
    let index: ImageIndex = parse("index.json", index)?;
    let mut images: Vec<NewImage> = Vec::new();
    for descriptor in index.manifests() {
        let Some(manifest) = image_manifest(store, descriptor)? else { continue };
        let references = match name {
            Some(name) => vec![name.clone()],
            None => descriptor_names(descriptor)?,
        };
        match images.iter_mut().find(|image| image.manifest.as_ref() == Some(&manifest)) {
            Some(image) => image.references.extend(references),
            None => {
                let image = manifest::read(store.content(), &manifest)?;
                images.push(NewImage { references, imported: true, ..image });
            }
        }
    }
    // Archives of `docker save` are both; the names stand only in the other part when they have no registry.
    if let (Some(docker), None) = (docker, name) {
        let manifests: Vec<DockerManifest> = parse("manifest.json", docker)?;
        for image in images.iter_mut().filter(|image| image.references.is_empty()) {
            let same = |manifest: &&DockerManifest| manifest.config.ends_with(image.config.hex());
            if let Some(manifest) = manifests.iter().find(same) {
                image.references = manifest.references()?;
            }
        }
    }
    if images.iter().any(|image| image.references.is_empty()) {
        return Err(ImportError::NoName);
    }
    Ok(images)
}

fn descriptor_names(descriptor: &Descriptor) -> Result<Vec<Reference>, ImportError> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
    // A bare tag does not name an image.
    let ref_name = annotation(REF_NAME).filter(|name| name.contains([':', '/']));
    let name = annotation(IMAGE_NAME).or(ref_name);
    Ok(name.map(|name| Reference::parse(name)).transpose()?.into_iter().collect())
}

/// The manifest for this machine that a descriptor leads to, directly or through indexes.
fn image_manifest(store: &ImageStore, descriptor: &Descriptor) -> Result<Option<Digest>, ImportError> {
    let other_machine = descriptor.platform().as_ref().is_some_and(|platform| {
        let variant = platform.variant().as_deref().unwrap_or_default();
        !platform::fits(&platform.os().to_string(), &platform.architecture().to_string(), variant)
    });
    if other_machine {
        return Ok(None);
    }
    let mut digest = manifest::digest(descriptor)?;
    for _ in 0..MAX_DEPTH {
        // An archive may hold a part of what its indexes name.
        let bytes = match store.content().read(&digest) {
            Err(ContentError::Absent(_)) => return Ok(None),
            read => read?,
        };
        match manifest::parse(&bytes, descriptor.media_type().as_ref()) {
            Ok(Parsed::Manifest(parsed)) => {
                // What else is in the archive, such as signatures, does no harm.
                let artifact = matches!(manifest::image(&digest, &parsed), Err(ManifestError::Artifact { .. }));
                return Ok((!artifact).then_some(digest));
            }
            Ok(Parsed::Index(index)) => match manifest::select(&index) {
                Err(ManifestError::Platform(_)) => return Ok(None),
                selected => digest = selected?,
            },
            Err(ManifestError::Artifact { .. }) => return Ok(None),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(None)
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
struct DockerManifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

impl DockerManifest {
    fn references(&self) -> Result<Vec<Reference>, ImportError> {
        let tags = self.repo_tags.as_deref().unwrap_or_default();
        Ok(tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<_, _>>()?)
    }
}

fn from_docker(contents: &Contents, docker: &[u8], name: Option<&Reference>) -> Result<Vec<NewImage>, ImportError> {
    let manifests: Vec<DockerManifest> = parse("manifest.json", docker)?;
    let mut images = Vec::new();
    for manifest in manifests {
        let references = name.map_or_else(|| manifest.references(), |name| Ok(vec![name.clone()]))?;
        if references.is_empty() {
            return Err(ImportError::NoName);
        }
        let layer = |path: &String| {
            let (blob, size) = contents.file(path)?.clone();
            Ok(ImageLayer { blob, size })
        };
        images.push(NewImage {
            config: contents.file(&manifest.config)?.0.clone(),
            manifest: None,
            digest: None,
            layers: manifest.layers.iter().map(layer).collect::<Result<_, ImportError>>()?,
            references,
            imported: true,
        });
    }
    Ok(images)
}
