//! How a node pulls and removes images. Names are those of upstream's kubelet and of its configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{ArgAction, Args, ValueEnum};

/// Images of a node.
#[derive(Args, Clone, Debug)]
pub struct Images {
    /// Percentage of disk use above which unused images are removed; 100 never removes any
    #[arg(long, env = "SKIFF_IMAGE_GC_HIGH_THRESHOLD", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub image_gc_high_threshold: u8,
    /// Percentage of disk use down to which unused images are removed
    #[arg(long, env = "SKIFF_IMAGE_GC_LOW_THRESHOLD", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub image_gc_low_threshold: u8,
    /// Age below which an unused image is kept
    #[arg(long, env = "SKIFF_MINIMUM_IMAGE_TTL_DURATION", default_value = "2m", value_parser = super::duration, value_name = "DURATION")]
    pub minimum_image_ttl_duration: Duration,
    /// Time without use after which an image is removed however much room there is; 0 for never
    #[arg(long, env = "SKIFF_IMAGE_MAXIMUM_GC_AGE", default_value = "0s", value_parser = super::duration, value_name = "DURATION")]
    pub image_maximum_gc_age: Duration,
    /// Pull one image at a time
    #[arg(long, env = "SKIFF_SERIALIZE_IMAGE_PULLS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub serialize_image_pulls: bool,
    /// How many images are pulled at a time where not one by one [default: no limit]
    #[arg(long, env = "SKIFF_MAX_PARALLEL_IMAGE_PULLS", value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    pub max_parallel_image_pulls: Option<u32>,
    /// How many pulls begin in a second; 0 for no limit
    #[arg(long, env = "SKIFF_REGISTRY_QPS", default_value_t = 5, value_name = "COUNT")]
    pub registry_qps: u32,
    /// How many pulls may begin at once after a quiet time
    #[arg(long, env = "SKIFF_REGISTRY_BURST", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    pub registry_burst: u32,
    /// CredentialProviderConfig that names programs which know credentials for registries
    #[arg(
        long,
        env = "SKIFF_IMAGE_CREDENTIAL_PROVIDER_CONFIG",
        requires = "image_credential_provider_bin_dir",
        value_name = "FILE"
    )]
    pub image_credential_provider_config: Option<PathBuf>,
    /// Directory of those programs
    #[arg(
        long,
        env = "SKIFF_IMAGE_CREDENTIAL_PROVIDER_BIN_DIR",
        requires = "image_credential_provider_config",
        value_name = "DIR"
    )]
    pub image_credential_provider_bin_dir: Option<PathBuf>,
    /// For which images that are on the node a pod needs credentials of its own
    #[arg(long, env = "SKIFF_IMAGE_PULL_CREDENTIALS_VERIFICATION_POLICY", value_enum, default_value_t = Policy::NeverVerifyPreloadedImages, value_name = "POLICY")]
    pub image_pull_credentials_verification_policy: Policy,
    /// Images that need none under NeverVerifyAllowlistedImages: names without tags, or beginnings with /* (may be repeated)
    #[arg(long, env = "SKIFF_PRELOADED_IMAGES_VERIFICATION_ALLOWLIST", value_delimiter = ',', value_name = "IMAGE")]
    pub preloaded_images_verification_allowlist: Vec<String>,
}

/// For which images a pod needs credentials of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Policy {
    /// For none
    NeverVerify,
    /// For those that the kubelet pulled
    NeverVerifyPreloadedImages,
    /// For all but those of a list
    NeverVerifyAllowlistedImages,
    /// For all
    AlwaysVerify,
}

impl Images {
    /// Puts them into the kubelet's configuration.
    pub fn set(&self, settings: &mut kubelet::ImageSettings) -> Result<()> {
        let (high, low) = (self.image_gc_high_threshold, self.image_gc_low_threshold);
        ensure!(
            low < high || high == 0,
            "--image-gc-low-threshold {low} must be less than --image-gc-high-threshold {high}"
        );
        let age = self.image_maximum_gc_age;
        ensure!(
            age.is_zero() || age > self.minimum_image_ttl_duration,
            "--image-maximum-gc-age must be greater than --minimum-image-ttl-duration"
        );
        ensure!(
            !self.serialize_image_pulls || self.max_parallel_image_pulls.is_none_or(|count| count == 1),
            "--max-parallel-image-pulls needs --serialize-image-pulls=false"
        );
        ensure!(
            self.registry_qps == 0 || self.registry_burst >= self.registry_qps,
            "--registry-burst must not be less than --registry-qps"
        );
        settings.gc_percent = (high, low);
        settings.minimum_age = self.minimum_image_ttl_duration;
        settings.maximum_age = (!age.is_zero()).then_some(age);
        settings.serialize_pulls = self.serialize_image_pulls;
        settings.max_parallel_pulls = self.max_parallel_image_pulls.and_then(|count| usize::try_from(count).ok());
        settings.registry_qps = self.registry_qps;
        settings.registry_burst = self.registry_burst;
        let programs = (&self.image_credential_provider_config, &self.image_credential_provider_bin_dir);
        settings.credential_providers =
            if let (Some(config), Some(dir)) = programs { Some((config.clone(), dir.clone())) } else { None };
        let list = self.preloaded_images_verification_allowlist.clone();
        let listed = self.image_pull_credentials_verification_policy == Policy::NeverVerifyAllowlistedImages;
        ensure!(
            listed || list.is_empty(),
            "--preloaded-images-verification-allowlist needs the policy NeverVerifyAllowlistedImages"
        );
        settings.verification = match self.image_pull_credentials_verification_policy {
            Policy::NeverVerify => kubelet::Verification::NeverVerify,
            Policy::NeverVerifyPreloadedImages => kubelet::Verification::NeverVerifyPreloadedImages,
            Policy::NeverVerifyAllowlistedImages => kubelet::Verification::NeverVerifyAllowlistedImages(list),
            Policy::AlwaysVerify => kubelet::Verification::AlwaysVerify,
        };
        Ok(())
    }
}
