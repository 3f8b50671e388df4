//! What manifests say: which image of an index is for this machine, and which blobs make it.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::store::{ImageLayer, NewImage};
use super::{ContentStore, Digest, platform};
use crate::image::content::ContentError;
use crate::image::digest::InvalidDigest;

/// How deep indexes may be nested in others.
pub(super) const MAX_DEPTH: usize = 4;

/// Why a manifest makes no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// It cannot be understood.
    #[error("manifest {digest} cannot be read: {reason}")]
    Parse {
        /// The manifest.
        digest: Digest,
        /// What the parser said.
        reason: String,
    },
    /// It is of Docker's first schema, which nobody writes any more.
    #[error(
        "media type \"application/vnd.docker.distribution.manifest.v1+prettyjws\" is no longer supported; push the image again with a client of today"
    )]
    FirstSchema,
    /// It is something else than an image.
    #[error("{digest} is an artifact of type {kind:?} and no container image")]
    Artifact {
        /// The manifest.
        digest: Digest,
        /// What it says of itself.
        kind: String,
    },
    /// A layer is packed in a way that is not known here.
    #[error("layer {digest} has media type {media_type:?}, which is not supported")]
    Layer {
        /// The layer.
        digest: String,
        /// What the manifest says of it.
        media_type: String,
    },
    /// A digest is of another algorithm, or none.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// The index has nothing for this machine.
    #[error("no match for platform {0} in manifest: not found")]
    Platform(String),
    /// It is not stored.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// A document of a repository.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Leads to manifests.
    Index(Box<ImageIndex>),
    /// Is one.
    Manifest(Box<ImageManifest>),
}

/// What tells one document from another, whatever it says of its media type.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "schemaVersion", default)]
    schema_version: u32,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(rename = "mediaType", default)]
    media_type: String,
}

/// Reads a document of which a registry or an archive says that it is of `media_type`.
pub(super) fn parse(bytes: &[u8], media_type: &str) -> Result<Parsed, ManifestError> {
    let invalid = |err: serde_json::Error| ManifestError::Parse { digest: Digest::of(bytes), reason: err.to_string() };
    let shape: Shape = serde_json::from_slice(bytes).map_err(invalid)?;
    if shape.schema_version == 1 || shape.fs_layers.is_some() {
        return Err(ManifestError::FirstSchema);
    }
    match (shape.manifests, shape.config) {
        (Some(_), None) => serde_json::from_slice(bytes).map(|index| Parsed::Index(Box::new(index))).map_err(invalid),
        (None, Some(_)) => {
            serde_json::from_slice(bytes).map(|manifest| Parsed::Manifest(Box::new(manifest))).map_err(invalid)
        }
        (None, None) => {
            let kind = if shape.media_type.is_empty() { media_type.to_owned() } else { shape.media_type };
            Err(ManifestError::Artifact { digest: Digest::of(bytes), kind })
        }
        // One document that different readers take for different things.
        (Some(_), Some(_)) => {
            let reason = "it has both manifests and a configuration".to_owned();
            Err(ManifestError::Parse { digest: Digest::of(bytes), reason })
        }
    }
}

/// The digest of the manifest or index that is for this machine.
pub(super) fn select(index: &ImageIndex) -> Result<Digest, ManifestError> {
    let found = platform::select(index).ok_or_else(|| ManifestError::Platform(platform::name()))?;
    digest(found)
}

/// The digest of a descriptor, if it is one that is understood here.
pub(super) fn digest(descriptor: &Descriptor) -> Result<Digest, ManifestError> {
    let text: &str = descriptor.digest().as_ref();
    Ok(Digest::parse(text)?)
}

/// The image of a stored manifest, without names.
pub(super) fn read(content: &ContentStore, manifest: &Digest) -> Result<NewImage, ManifestError> {
    match parse(&content.read(manifest)?, "")? {
        Parsed::Manifest(parsed) => image(manifest, &parsed),
        Parsed::Index(_) => Err(ManifestError::Parse {
            digest: manifest.clone(),
            reason: "it is an index where a manifest is expected".to_owned(),
        }),
    }
}

/// The image that a manifest describes, without names.
pub(super) fn image(digest_of: &Digest, manifest: &ImageManifest) -> Result<NewImage, ManifestError> {
    let config = manifest.config().media_type().to_string();
    let artifact = manifest.artifact_type().as_ref().map(ToString::to_string).filter(|kind| !kind.is_empty());
    if !is_image_config(&config) {
        let kind = artifact.unwrap_or(config);
        return Err(ManifestError::Artifact { digest: digest_of.clone(), kind });
    }
    let layer = |descriptor: &Descriptor| {
        let media_type = descriptor.media_type().to_string();
        if !is_layer(&media_type) {
            return Err(ManifestError::Layer { digest: descriptor.digest().to_string(), media_type });
        }
        Ok(ImageLayer { blob: digest(descriptor)?, size: descriptor.size() })
    };
    Ok(NewImage {
        config: digest(manifest.config())?,
        manifest: Some(digest_of.clone()),
        digest: Some(digest_of.clone()),
        layers: manifest.layers().iter().map(layer).collect::<Result<_, ManifestError>>()?,
        references: Vec::new(),
        imported: false,
    })
}

fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json")
}

/// Whether a layer is a tar archive, in one of the compressions that are read here. The bytes tell which.
fn is_layer(media_type: &str) -> bool {
    const ARCHIVES: [&str; 4] = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let rest = ARCHIVES.iter().find_map(|archive| media_type.strip_prefix(archive));
    rest.is_some_and(|rest| matches!(rest, "" | "+gzip" | ".gzip" | "+zstd" | ".zstd"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(config: &str, layer: &str) -> String {
        let digest = Digest::of(b"x").to_string();
        json!({
            "schemaVersion": 2,
            "config": {"mediaType": config, "digest": digest, "size": 1},
            "layers": [{"mediaType": layer, "digest": digest, "size": 1}],
        })
        .to_string()
    }

    /// What is said of a document that makes no image; nothing of one that does.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let told = parse(text.as_bytes(), "text/x").and_then(|parsed| match parsed {
            Parsed::Manifest(parsed) => image(&Digest::of(text.as_bytes()), &parsed).map(drop),
            Parsed::Index(index) => select(&index).map(drop),
        });
        let told = told.err().map_or_else(String::new, |err| err.to_string());
        assert!(if expected.is_empty() { told.is_empty() } else { told.contains(expected) }, "{told}");
    }

    #[test]
    fn only_images_are_taken() {
        const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
        const DOCKER: &str = "application/vnd.docker.container.image.v1+json";
        check(&manifest(CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd"), "");
        check(&manifest(DOCKER, "application/vnd.docker.image.rootfs.diff.tar.gzip"), "");
        check(&manifest(CONFIG, "application/vnd.oci.image.layer.v1.tar+encrypted"), "is not supported");
        check(
            &manifest("application/vnd.cncf.helm.config.v1+json", "x"),
            "artifact of type \"application/vnd.cncf.helm",
        );
        check(r#"{"schemaVersion": 1, "fsLayers": []}"#, "no longer supported");
        check(r#"{"schemaVersion": 2}"#, "artifact of type \"text/x\"");
        check(r#"{"schemaVersion": 2, "manifests": [], "config": {}}"#, "both");
        check(r#"{"schemaVersion": 2, "manifests": []}"#, "no match for platform linux/");
        check("nonsense", "cannot be read");
    }
}
