//! Leases and who would like to hold them.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1beta1::LeaseCandidate;

use super::semver::Version;
use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

const OLDEST_EMULATION_VERSION: &str = "OldestEmulationVersion";

/// Judges a lease.
pub(super) fn lease(lease: &Lease, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = lease.spec.clone().unwrap_or_default();
    if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    check::optional_non_negative(errors, &path.child("leaseTransitions"), spec.lease_transitions);
    if let Some(found) = &spec.strategy {
        strategy(found, &path.child("strategy"), errors);
    }
    if !check::text(&spec.preferred_holder).is_empty() && check::text(&spec.strategy).is_empty() {
        let why = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(&path.child("preferredHolder"), why));
    }
}

/// Upstream tells of these one field deeper than they lie.
fn strategy(strategy: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child("strategy");
    if strategy.contains('/') {
        check::invalid(errors, &path, strategy, names::qualified_name(strategy));
    } else {
        check::one_of(errors, &path, strategy, &[OLDEST_EMULATION_VERSION]);
    }
}

/// Judges a candidate for a lease.
pub(super) fn lease_candidate(candidate: &LeaseCandidate, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = candidate.spec.clone().unwrap_or_default();
    check::required(errors, &path.child("leaseName"), &spec.lease_name);
    let mut read = |field: &str, text: &str| {
        let version = Version::parse(text);
        if version.is_none() && !text.is_empty() {
            errors.push(FieldError::invalid(&path.child(field), text, "must be a valid semantic version"));
        }
        version.unwrap_or_default()
    };
    let emulation = read("emulationVersion", check::text(&spec.emulation_version));
    let binary = read("binaryVersion", &spec.binary_version);
    let both = !spec.binary_version.is_empty() && !check::text(&spec.emulation_version).is_empty();
    if both && binary < emulation {
        let why = "must be greater than or equal to `emulationVersion`";
        errors.push(FieldError::invalid(&path.child("binaryVersion"), spec.binary_version.as_str(), why));
    }
    let wanted = spec.strategy.as_str();
    if wanted.is_empty() {
        errors.push(FieldError::required(&path.child("strategy"), ""));
        return;
    }
    if wanted == OLDEST_EMULATION_VERSION {
        for (field, version) in [("binaryVersion", &binary), ("emulationVersion", &emulation)] {
            if *version == Version::default() {
                let why = format!("must be specified when `strategy` is '{OLDEST_EMULATION_VERSION}'");
                errors.push(FieldError::required(&path.child(field), why));
            }
        }
    }
    strategy(wanted, &path, errors);
}

/// Judges an update of a candidate.
pub(super) fn lease_candidate_update(new: &LeaseCandidate, old: &LeaseCandidate, errors: &mut ErrorList) {
    let lease = |candidate: &LeaseCandidate| candidate.spec.as_ref().map(|spec| spec.lease_name.clone());
    check::immutable(errors, &Path::new("spec").child("leaseName"), &lease(new), &lease(old));
}
