//! Which of an index's images is for this machine.

use oci_spec::image::{Descriptor, ImageIndex};

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

/// This machine as messages name it.
pub(super) fn name() -> String {
    format!("linux/{}", architecture())
}

/// What this machine runs, the best first: architectures with their variants, of which an empty one is none.
fn runs() -> Vec<(&'static str, &'static str)> {
    match architecture() {
        "amd64" => levels(level()),
        "arm64" => ARM64.to_vec(),
        "arm" => ARM64[2..].to_vec(),
        other => vec![(other, "")],
    }
}

/// A 64-bit ARM also runs what is for older ones.
const ARM64: [(&str, &str); 7] =
    [("arm64", "v8"), ("arm64", ""), ("arm", "v8"), ("arm", "v7"), ("arm", ""), ("arm", "v6"), ("arm", "v5")];

/// The levels of x86-64 from the highest on, then what says nothing of levels.
fn levels(level: usize) -> Vec<(&'static str, &'static str)> {
    let named = ["v1", "v2", "v3", "v4"];
    let mut all: Vec<_> = named[1..level.clamp(1, 4)].iter().rev().map(|variant| ("amd64", *variant)).collect();
    all.extend([("amd64", ""), ("amd64", "v1"), ("386", "")]);
    all
}

/// The level of x86-64 that this processor reaches.
#[cfg(target_arch = "x86_64")]
fn level() -> usize {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt");
    let v3 = v2 && has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("lzcnt");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    1 + usize::from(v2) + usize::from(v3) + usize::from(v4)
}

#[cfg(not(target_arch = "x86_64"))]
fn level() -> usize {
    1
}

/// Whether a configuration or descriptor of this architecture is for this machine.
pub(super) fn fits(os: &str, architecture: &str, variant: &str) -> bool {
    os == "linux" && runs().contains(&(architecture, variant))
}

/// The entry for this machine; one without platform is taken where it is the only one.
pub(super) fn select(index: &ImageIndex) -> Option<&Descriptor> {
    choose(index, &runs())
}

fn choose<'a>(index: &'a ImageIndex, runs: &[(&str, &str)]) -> Option<&'a Descriptor> {
    let manifests = index.manifests();
    let best = manifests.iter().filter_map(|descriptor| {
        let platform = descriptor.platform().as_ref().filter(|platform| platform.os().to_string() == "linux")?;
        let architecture = platform.architecture().to_string();
        let variant = platform.variant().as_deref().unwrap_or_default();
        let rank = runs.iter().position(|known| *known == (architecture.as_str(), variant))?;
        Some((rank, descriptor))
    });
    let only = match manifests.as_slice() {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    };
    best.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor).or(only)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The platform, as `os/architecture[/variant]`, that is chosen of these.
    #[track_caller]
    fn check(platforms: &[&str], runs: &[(&str, &str)], expected: Option<usize>) {
        let entry = |(number, text): (usize, &&str)| {
            let digest = format!("sha256:{number:064}");
            let mut entry =
                json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1});
            let mut parts = text.split('/');
            if let (Some(os), Some(architecture)) = (parts.next(), parts.next()) {
                entry["platform"] = json!({"os": os, "architecture": architecture});
                if let Some(variant) = parts.next() {
                    entry["platform"]["variant"] = json!(variant);
                }
            }
            entry
        };
        let manifests: Vec<_> = platforms.iter().enumerate().map(entry).collect();
        let index: ImageIndex =
            serde_json::from_value(json!({"schemaVersion": 2, "manifests": manifests})).expect("an index");
        let chosen = choose(&index, runs).map(|descriptor| descriptor.digest().to_string());
        assert_eq!(chosen, expected.map(|number| format!("sha256:{number:064}")), "{platforms:?}");
    }

    #[test]
    fn the_best_variant_that_runs_is_chosen() {
        let v3 = levels(3);
        check(&["linux/arm64", "linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"], &v3, Some(3));
        check(&["linux/amd64/v4", "linux/amd64"], &v3, Some(1));
        check(&["linux/386", "windows/amd64"], &v3, Some(0));
        check(&["unknown/unknown", "linux/amd64"], &levels(1), Some(1));
        check(&["linux/arm/v7", "linux/arm64/v8"], &ARM64, Some(1));
        check(&["linux/arm/v5", "linux/arm/v6"], &ARM64[2..], Some(1));
        check(&["linux/s390x"], &v3, None);
        check(&[""], &v3, Some(0));
        check(&["", ""], &v3, None);
    }
}
