//! Which kinds an update makes if they are missing (upstream's `AllowCreateOnUpdate`), and which have to be updated
//! with the version that was read (where `AllowUnconditionalUpdate` is false).

use api::kinds::Resource;

use super::key;

/// Kinds that an update of a missing object creates.
const CREATED_BY_UPDATE: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leasecandidates"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("node.k8s.io", "runtimeclasses"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Built-in kinds of which an update must say which version it replaces; custom resources are like them.
const UPDATED_BY_VERSION: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("certificates.k8s.io", "clustertrustbundles"),
    ("certificates.k8s.io", "podcertificaterequests"),
    ("coordination.k8s.io", "leasecandidates"),
    ("coordination.k8s.io", "leases"),
    ("internal.apiserver.k8s.io", "storageversions"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
    ("storagemigration.k8s.io", "storageversionmigrations"),
];

/// Whether an update must say which version of the object it replaces.
pub(crate) fn needs_resource_version(resource: &Resource) -> bool {
    resource.custom.is_some() || UPDATED_BY_VERSION.contains(&key(resource))
}

/// Whether an update of a missing object creates it.
pub(crate) fn is_created_by_update(resource: &Resource) -> bool {
    CREATED_BY_UPDATE.contains(&key(resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_about_kinds_that_there_are() {
        for (group, plural) in CREATED_BY_UPDATE.iter().chain(UPDATED_BY_VERSION) {
            let is_row = |row: &&std::sync::Arc<Resource>| row.group == *group && row.plural == *plural;
            let row = api::kinds::all().iter().find(is_row);
            assert!(row.is_some_and(|row| row.allows("update")), "{group} {plural}");
        }
    }
}
