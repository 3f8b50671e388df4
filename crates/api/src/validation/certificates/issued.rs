//! What the certificate that a pod has asked for must be.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1beta1::{PodCertificateRequestSpec, PodCertificateRequestStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

const MAX_CHAIN: usize = 100 * 1024;
/// In seconds.
const MIN_LIFETIME: i64 = 3600;
/// How far from now a certificate may begin, in seconds.
const MAX_SKEW: i64 = 300;
/// How long after its beginning and before its end a certificate may be replaced, in seconds.
const REFRESH_MARGIN: i64 = 600;
const NANOSECONDS: i64 = 1_000_000_000;

/// Judges the certificates in a status by what the pod has asked for.
pub(super) fn certificate(
    status: &PodCertificateRequestStatus,
    spec: &PodCertificateRequestSpec,
    now: Timestamp,
    path: &Path,
    errors: &mut ErrorList,
) {
    let chain_path = path.child("certificateChain");
    let chain = check::text(&status.certificate_chain);
    if chain.len() > MAX_CHAIN {
        errors.push(FieldError::too_long(&chain_path, MAX_CHAIN));
        return;
    }
    let refused = |why: &str| FieldError::invalid(&chain_path, chain, why);
    let blocks: Vec<Pem> = Pem::iter_from_buffer(chain.as_bytes()).map_while(Result::ok).collect();
    let Some(leaf_block) = blocks.first() else {
        errors.push(refused("issued certificate chain must contain at least one certificate"));
        return;
    };
    if leaf_block.label != "CERTIFICATE" {
        errors.push(refused("issued certificate chain must consist entirely of CERTIFICATE PEM blocks"));
        return;
    }
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf_block.contents) else {
        errors.push(refused("leaf certificate does not parse as valid X.509"));
        return;
    };
    alternative_names(&leaf, &chain_path, errors);
    if leaf.public_key().raw != spec.pkix_public_key.0 {
        errors.push(refused("leaf certificate was not issued to the requested public key"));
        return;
    }
    let issued = Issued { leaf: &leaf, longest: spec.max_expiration_seconds.unwrap_or_default(), now };
    issued.times(status, path, errors);
    if !errors.is_empty() {
        return;
    }
    for block in &blocks[1..] {
        if block.label != "CERTIFICATE" {
            // Upstream spells it so.
            errors.push(refused("issued certificate chain must consist entirely of CERTFICATE PEM blocks"));
            return;
        }
        if X509Certificate::from_der(&block.contents).is_err() {
            errors.push(refused("intermediate certificate does not parse as valid X.509"));
            return;
        }
    }
}

/// Every name of the certificate can be wrong in several ways.
fn alternative_names(leaf: &X509Certificate<'_>, path: &Path, errors: &mut ErrorList) {
    let names = leaf.subject_alternative_name().ok().flatten();
    let mut refuse = |name: &str, why: &str| errors.push(FieldError::invalid(path, name, why));
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match *name {
            GeneralName::DNSName(name) => {
                if name.is_empty() {
                    refuse(name, "leaf certificate should not contain empty DNSName");
                }
                if name.contains("..") {
                    refuse(name, "leaf certificate's DNSName should not contain '..'");
                }
                if name.starts_with('.') || name.ends_with('.') {
                    refuse(name, "leaf certificate's DNSName should not start or end with '.'");
                }
            }
            GeneralName::RFC822Name(name) if !name.contains('@') => {
                refuse(name, "leaf certificate should not contain invalid EmailAddress");
            }
            _ => {}
        }
    }
}

/// A certificate by which the times of a status are judged.
struct Issued<'a> {
    leaf: &'a X509Certificate<'a>,
    /// How long it may last, in seconds.
    longest: i32,
    now: Timestamp,
}

impl Issued<'_> {
    /// Judges the times of the status, which must be those of the certificate.
    fn times(&self, status: &PodCertificateRequestStatus, path: &Path, errors: &mut ErrorList) {
        const CONSISTENT: &str = "must be present and consistent with the issued certificate";
        const IN_RANGE: &str = "must be present and in the range [notbefore+10min, notafter-10min]";
        let paths = ["notBefore", "notAfter", "beginRefreshAt"].map(|name| path.child(name));
        let times = [&status.not_before, &status.not_after, &status.begin_refresh_at];
        for ((time, path), why) in times.iter().zip(&paths).zip([CONSISTENT, CONSISTENT, IN_RANGE]) {
            if time.is_none() {
                errors.push(FieldError::required(path, why));
            }
        }
        let [Some(begin), Some(end), Some(refresh)] = times else { return };
        let [begin_path, end_path, refresh_path] = &paths;
        let wrong = |path: &Path, time: &Time, why: &str| Some(FieldError::invalid(path, check::json(time), why));
        let validity = self.leaf.validity();
        let (leaf_begin, leaf_end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let (begins, ends, refreshes) = (begin.0.as_second(), end.0.as_second(), refresh.0.as_second());
        let error = if begins != leaf_begin {
            wrong(begin_path, begin, "must be set to the NotBefore time encoded in the leaf certificate")
        } else if !self.is_near(begin.0) {
            wrong(begin_path, begin, "must be set to within 5 minutes of kube-apiserver's current time")
        } else if ends != leaf_end {
            wrong(end_path, end, "must be set to the NotAfter time encoded in the leaf certificate")
        } else if let Some(why) = self.lifetime(leaf_end - leaf_begin) {
            let lifetime = (leaf_end - leaf_begin).saturating_mul(NANOSECONDS);
            Some(FieldError::invalid(&path.child("certificateChain"), lifetime, why))
        } else if refreshes < begins + REFRESH_MARGIN {
            wrong(refresh_path, refresh, "must be at least 10 minutes after status.notBefore")
        } else if refreshes > ends - REFRESH_MARGIN {
            wrong(refresh_path, refresh, "must be at least 10 minutes before status.notAfter")
        } else {
            None
        };
        errors.extend(error);
    }

    fn is_near(&self, time: Timestamp) -> bool {
        self.now.duration_since(time).abs() < jiff::SignedDuration::from_secs(MAX_SKEW)
    }

    /// What is wrong with so many seconds.
    fn lifetime(&self, seconds: i64) -> Option<String> {
        if seconds < MIN_LIFETIME {
            return Some("leaf certificate lifetime must be >= 1 hour".to_owned());
        }
        let longest = self.longest;
        let why = || format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})");
        (seconds > i64::from(longest)).then(why)
    }
}
