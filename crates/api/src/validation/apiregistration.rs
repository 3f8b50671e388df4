//! API services.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use super::{check, names, urls};
use crate::field::{ErrorList, FieldError, Path, quote};

/// Judges an API service.
pub(super) fn api_service(service: &APIService, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = service.spec.clone().unwrap_or_default();
    let (group, version) = (check::text(&spec.group), check::text(&spec.version));
    let name = check::text(&service.metadata.name);
    let wanted = format!("{version}.{group}");
    if names::path_segment(name).is_empty() && name != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&wanted));
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, why));
    }
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&path.child("group"), why));
    }
    check::optional_name(errors, &path.child("group"), group, names::dns_subdomain);
    check::invalid(errors, &path.child("version"), version, names::dns_1035_label(version));
    for (field, priority, limit) in [
        ("groupPriorityMinimum", spec.group_priority_minimum, 20_000),
        ("versionPriority", spec.version_priority, 1_000),
    ] {
        if !(1..=limit).contains(&priority) {
            let why = format!("must be positive and less than {limit}");
            errors.push(FieldError::invalid(&path.child(field), priority, why));
        }
    }
    let insecure = spec.insecure_skip_tls_verify == Some(true);
    let insecure_path = path.child("insecureSkipTLSVerify");
    let bundle = spec.ca_bundle.as_ref().map_or(0, |bundle| bundle.0.len());
    let Some(service) = &spec.service else {
        if bundle > 0 {
            let why = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), format!("{bundle} bytes"), why));
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&insecure_path, true, why));
        }
        return;
    };
    let service_path = path.child("service");
    check::required(errors, &service_path.child("namespace"), check::text(&service.namespace));
    check::required(errors, &service_path.child("name"), check::text(&service.name));
    urls::port(service.port.unwrap_or(443), &service_path.child("port"), errors);
    if insecure && bundle > 0 {
        errors.push(FieldError::invalid(&insecure_path, true, "may not be true if caBundle is present"));
    }
}

/// Judges an update of the status of an API service.
pub(super) fn api_service_status(new: &APIService, _: &APIService, errors: &mut ErrorList) {
    let list = Path::new("status").child("conditions");
    let conditions = new.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for (index, condition) in conditions.enumerate() {
        let path = list.index(index).child("status");
        check::one_of(errors, &path, &condition.status, &["True", "False", "Unknown"]);
    }
}
