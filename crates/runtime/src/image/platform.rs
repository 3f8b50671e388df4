//! Which of an index's images is for this machine.

use oci_spec::image::{Descriptor, ImageIndex};

use super::Digest;

/// The architecture as image indexes write it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The entry for this machine: of the same system and architecture; one without platform is taken where it is the only one.
pub(super) fn select(index: &ImageIndex) -> Option<&Descriptor> {
    let manifests = index.manifests();
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform().as_ref().is_some_and(|platform| {
            platform.os().to_string() == "linux" && platform.architecture().to_string() == architecture()
        })
    };
    let only = match manifests.as_slice() {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    };
    manifests.iter().find(fits).or(only)
}

/// The digest of a descriptor, if it is one that is understood here.
pub(super) fn digest(descriptor: &Descriptor) -> Option<Digest> {
    Digest::parse(descriptor.digest().as_ref()).ok()
}
