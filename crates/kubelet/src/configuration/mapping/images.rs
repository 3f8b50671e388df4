//! How images are pulled and removed.

use super::super::document::KubeletConfiguration;
use super::{Config, count};
use crate::images::Verification;

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    let images = &mut config.images;
    images.gc_percent = (count(from.image_gc_high_threshold_percent), count(from.image_gc_low_threshold_percent));
    images.minimum_age = from.image_minimum_gc_age.get();
    images.maximum_age = Some(from.image_maximum_gc_age.get()).filter(|age| !age.is_zero());
    images.serialize_pulls = from.serialize_image_pulls;
    images.max_parallel_pulls = from.max_parallel_image_pulls.map(count);
    images.registry_qps = count(from.registry_pull_qps);
    images.registry_burst = count(from.registry_burst);
    images.verification = match from.image_pull_credentials_verification_policy.as_str() {
        "NeverVerify" => Verification::NeverVerify,
        "NeverVerifyAllowlistedImages" => {
            Verification::NeverVerifyAllowlistedImages(from.preloaded_images_verification_allowlist.clone())
        }
        "AlwaysVerify" => Verification::AlwaysVerify,
        _ => Verification::NeverVerifyPreloadedImages,
    };
}
