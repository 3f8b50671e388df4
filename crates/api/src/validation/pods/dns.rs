//! How a pod resolves names, and what it is called itself.

use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodSpec};

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
const MAX_HOST_NAME: usize = 64;

/// Judges where names are resolved.
pub(super) fn policy(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check::required_one_of(errors, path, check::text(&spec.dns_policy), &policies);
}

/// Judges the pod's own servers, which must be there if it has no others.
pub(super) fn config(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let has_no_other = check::text(&spec.dns_policy) == "None";
    match &spec.dns_config {
        None if has_no_other => {
            errors.push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        Some(config) if has_no_other && config.nameservers.as_ref().is_none_or(Vec::is_empty) => {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(&path.child("nameservers"), why));
        }
        Some(config) => servers(config, path, errors),
        None => {}
    }
}

fn servers(config: &PodDNSConfig, path: &Path, errors: &mut ErrorList) {
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let servers_path = path.child("nameservers");
    if servers.len() > MAX_NAMESERVERS {
        let why = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(&servers_path, servers.to_vec(), why));
    }
    for (index, server) in servers.iter().enumerate() {
        check::ip(errors, &servers_path.index(index), server);
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let searches_path = path.child("searches");
    if searches.len() > MAX_SEARCHES {
        let why = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.push(FieldError::invalid(&searches_path, searches.to_vec(), why));
    }
    if searches.join(" ").len() > MAX_SEARCH_CHARACTERS {
        let why =
            format!("must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(&searches_path, searches.to_vec(), why));
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        let judged = names::dns_subdomain_with_underscore(name);
        check::invalid(errors, &searches_path.index(index), name, judged);
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if check::text(&option.name).is_empty() {
            errors.push(FieldError::required(&path.child("options").index(index), "must not be empty"));
        }
    }
}

/// Judges a name that the pod has instead of that of its host or its own.
pub(super) fn host_name(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(name) = &spec.hostname_override else {
        return;
    };
    for (field, set) in [("setHostnameAsFQDN", spec.set_hostname_as_fqdn), ("hostNetwork", spec.host_network)] {
        if set == Some(true) {
            errors.push(FieldError::forbidden(path, format!("may not be specified when {field} is true")));
        }
    }
    if name.len() > MAX_HOST_NAME {
        errors.push(FieldError::too_long(path, MAX_HOST_NAME));
    }
    check::invalid(errors, path, name.as_str(), names::dns_subdomain(name));
}

/// Judges names that a pod resolves by itself.
pub(super) fn host_aliases(aliases: &[HostAlias], path: &Path, errors: &mut ErrorList) {
    for alias in aliases {
        check::ip(errors, &path.child("ip"), &alias.ip);
        for hostname in alias.hostnames.iter().flatten() {
            check::invalid(errors, &path.child("hostnames"), hostname.as_str(), names::dns_subdomain(hostname));
        }
    }
}
