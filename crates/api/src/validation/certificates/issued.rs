//! What the certificate that a pod has asked for must be.

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
/// How long after its beginning and before its end a certificate may be replaced, in seconds.
const REFRESH_MARGIN: i64 = 600;

/// Judges the certificates in a status by what the pod has asked for.
pub(super) fn certificate(
    status: &PodCertificateRequestStatus,
    spec: &PodCertificateRequestSpec,
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
    times(status, &leaf, spec.max_expiration_seconds.unwrap_or_default(), path, errors);
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

fn alternative_names(leaf: &X509Certificate<'_>, path: &Path, errors: &mut ErrorList) {
    let names = leaf.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let (name, why) = match name {
            GeneralName::DNSName("") => ("", "leaf certificate should not contain empty DNSName"),
            GeneralName::DNSName(name) if name.contains("..") => {
                (*name, "leaf certificate's DNSName should not contain '..'")
            }
            GeneralName::DNSName(name) if name.starts_with('.') || name.ends_with('.') => {
                (*name, "leaf certificate's DNSName should not start or end with '.'")
            }
            GeneralName::RFC822Name(name) if !name.contains('@') => {
                (*name, "leaf certificate should not contain invalid EmailAddress")
            }
            _ => continue,
        };
        errors.push(FieldError::invalid(path, name, why));
    }
}

/// Judges the times of the status, which must be those of the certificate.
fn times(
    status: &PodCertificateRequestStatus,
    leaf: &X509Certificate<'_>,
    longest: i32,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (begin_path, end_path) = (path.child("notBefore"), path.child("notAfter"));
    let refresh_path = path.child("beginRefreshAt");
    const CONSISTENT: &str = "must be present and consistent with the issued certificate";
    let refresh_range = "must be present and in the range [notbefore+10min, notafter-10min]";
    let mut required = |time: &Option<Time>, path: &Path, why: &str| {
        if time.is_none() {
            errors.push(FieldError::required(path, why));
        }
    };
    required(&status.not_before, &begin_path, CONSISTENT);
    required(&status.not_after, &end_path, CONSISTENT);
    required(&status.begin_refresh_at, &refresh_path, refresh_range);
    let (Some(begin), Some(end), Some(refresh)) = (&status.not_before, &status.not_after, &status.begin_refresh_at)
    else {
        return;
    };
    let validity = leaf.validity();
    let (leaf_begin, leaf_end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let (begins, ends, refreshes) = (begin.0.as_second(), end.0.as_second(), refresh.0.as_second());
    let lifetime = leaf_end - leaf_begin;
    let chain_path = path.child("certificateChain");
    let error = if begins != leaf_begin {
        let why = "must be set to the NotBefore time encoded in the leaf certificate";
        FieldError::invalid(&begin_path, check::json(begin), why)
    } else if ends != leaf_end {
        let why = "must be set to the NotAfter time encoded in the leaf certificate";
        FieldError::invalid(&end_path, check::json(end), why)
    } else if lifetime < MIN_LIFETIME {
        FieldError::invalid(&chain_path, lifetime, "leaf certificate lifetime must be >= 1 hour")
    } else if lifetime > i64::from(longest) {
        let why = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})");
        FieldError::invalid(&chain_path, lifetime, why)
    } else if refreshes < begins + REFRESH_MARGIN {
        FieldError::invalid(&refresh_path, check::json(refresh), "must be at least 10 minutes after status.notBefore")
    } else if refreshes > ends - REFRESH_MARGIN {
        FieldError::invalid(&refresh_path, check::json(refresh), "must be at least 10 minutes before status.notAfter")
    } else {
        return;
    };
    errors.push(error);
}
