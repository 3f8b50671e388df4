//! What the kubelet is told about images. Names in comments are those of upstream's configuration.

use std::path::PathBuf;
use std::time::Duration;

/// How images are pulled and removed.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// `imageGCHighThresholdPercent` and `imageGCLowThresholdPercent`: at which use of the disk unused images are
    /// removed, and down to which.
    pub gc_percent: (u8, u8),
    /// How often the disk is looked at. There is no event for a disk that fills.
    pub interval: Duration,
    /// `imageMinimumGCAge`: an image younger than this is kept, because it may be about to be used.
    pub minimum_age: Duration,
    /// `imageMaximumGCAge`: an image that nothing has used for so long is removed, however much room there is.
    pub maximum_age: Option<Duration>,
    /// `serializeImagePulls`: one image at a time.
    pub serialize_pulls: bool,
    /// `maxParallelImagePulls`: how many at a time, where not one by one.
    pub max_parallel_pulls: Option<usize>,
    /// `registryPullQPS`: how many pulls begin in a second; 0 for no limit.
    pub registry_qps: u32,
    /// `registryBurst`: how many may begin at once after a quiet time.
    pub registry_burst: u32,
    /// Where a configuration of Docker's with credentials may lie; the first that is there counts.
    pub docker_configs: Vec<PathBuf>,
    /// `--image-credential-provider-config` and `--image-credential-provider-bin-dir`.
    pub credential_providers: Option<(PathBuf, PathBuf)>,
    /// `imagePullCredentialsVerificationPolicy`.
    pub verification: Verification,
}

impl ImageSettings {
    /// The usual values, for a kubelet that keeps its things in `kubelet_dir`.
    pub fn new(kubelet_dir: PathBuf) -> Self {
        Self {
            gc_percent: (85, 80),
            interval: Duration::from_secs(300),
            minimum_age: Duration::from_secs(120),
            maximum_age: None,
            serialize_pulls: true,
            max_parallel_pulls: None,
            registry_qps: 5,
            registry_burst: 10,
            docker_configs: vec![
                kubelet_dir.join("config.json"),
                PathBuf::from("/root/.docker/config.json"),
                PathBuf::from("/.docker/config.json"),
            ],
            credential_providers: None,
            verification: Verification::NeverVerifyPreloadedImages,
        }
    }
}

/// Whether a pod needs credentials of its own for an image that is on the node already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// It never does.
    NeverVerify,
    /// It does for images that the kubelet pulled.
    #[default]
    NeverVerifyPreloadedImages,
    /// It does for all but these: complete names without tags, or beginnings of them that end with `/*`.
    NeverVerifyAllowlistedImages(Vec<String>),
    /// It always does.
    AlwaysVerify,
}

impl Verification {
    /// Whether credentials are to be checked for an image, of which it is known whether the kubelet pulled it.
    pub fn applies(&self, repository: &str, pulled_by_kubelet: bool) -> bool {
        match self {
            Self::NeverVerify => false,
            Self::NeverVerifyPreloadedImages => pulled_by_kubelet,
            Self::NeverVerifyAllowlistedImages(allowed) => !allowed.iter().any(|one| match one.strip_suffix('*') {
                Some(prefix) => repository.starts_with(prefix),
                None => repository == one,
            }),
            Self::AlwaysVerify => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_say_for_which_images_credentials_count() {
        let listed = Verification::NeverVerifyAllowlistedImages(vec!["r.io/a".to_owned(), "r.io/team/*".to_owned()]);
        for (policy, repository, pulled, applies) in [
            (&Verification::NeverVerify, "r.io/a", true, false),
            (&Verification::NeverVerifyPreloadedImages, "r.io/a", false, false),
            (&Verification::NeverVerifyPreloadedImages, "r.io/a", true, true),
            (&Verification::AlwaysVerify, "r.io/a", false, true),
            (&listed, "r.io/a", true, false),
            (&listed, "r.io/team/x/y", true, false),
            (&listed, "r.io/ab", true, true),
        ] {
            assert_eq!(policy.applies(repository, pulled), applies, "{policy:?} {repository}");
        }
    }
}
