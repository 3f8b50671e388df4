//! Upstream's defaulting: what an object gets before admission and validation see it.
//!
//! Two layers: defaults that markers declare ([`declared`]) for every type, then one function for each kind with more
//! of it, in [`KINDS`]. Objects must have gone through [`crate::decode::normalize`], so that what is empty is absent.
//! What needs other objects (cluster IPs, service accounts, priorities) is the business of strategies and admission.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod core;
mod declared;
mod edit;
mod networking;
mod others;
mod pod;
mod service;
mod storage;

use serde_json::{Map, Value};

use crate::kinds::Resource;

type Object = Map<String, Value>;

/// A kind, by group and name, and what its objects get in any version.
type Row = (&'static str, &'static str, fn(&mut Object));

/// The kinds with defaulting of their own.
const KINDS: &[Row] = &[
    ("", "Endpoints", core::endpoints),
    ("", "LimitRange", core::limit_range),
    ("", "Namespace", core::namespace),
    ("", "Node", core::node),
    ("", "PersistentVolume", storage::persistent_volume),
    ("", "PersistentVolumeClaim", storage::persistent_volume_claim),
    ("", "Pod", pod::pod),
    ("", "PodTemplate", pod::pod_template),
    ("", "ReplicationController", core::replication_controller),
    ("", "Secret", core::secret),
    ("", "Service", service::service),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", admission::admission_policy),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", admission::admission_policy_binding),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", admission::mutating_webhooks),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", admission::admission_policy),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", admission::admission_policy_binding),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", admission::validating_webhooks),
    ("apiextensions.k8s.io", "CustomResourceDefinition", others::custom_resource_definition),
    ("apiregistration.k8s.io", "APIService", others::api_service),
    ("apps", "DaemonSet", apps::daemon_set),
    ("apps", "Deployment", apps::deployment),
    ("apps", "ReplicaSet", apps::replica_set),
    ("apps", "StatefulSet", apps::stateful_set),
    ("authentication.k8s.io", "TokenRequest", others::token_request),
    ("autoscaling", "HorizontalPodAutoscaler", autoscaling::horizontal_pod_autoscaler),
    ("batch", "CronJob", batch::cron_job),
    ("batch", "Job", batch::job),
    ("discovery.k8s.io", "EndpointSlice", networking::endpoint_slice),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", others::flow_schema),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", others::priority_level_configuration),
    ("networking.k8s.io", "IngressClass", networking::ingress_class),
    ("networking.k8s.io", "NetworkPolicy", networking::network_policy),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", others::role_binding),
    ("rbac.authorization.k8s.io", "RoleBinding", others::role_binding),
    ("resource.k8s.io", "ResourceClaim", others::resource_claim),
    ("resource.k8s.io", "ResourceClaimTemplate", others::resource_claim_template),
    ("scheduling.k8s.io", "PriorityClass", others::priority_class),
    ("storage.k8s.io", "CSIDriver", storage::csi_driver),
    ("storage.k8s.io", "StorageClass", storage::storage_class),
];

/// Applies upstream's defaults to an object of the resource.
pub fn apply(resource: &Resource, object: &mut Value) {
    apply_kind(&resource.group, &resource.kind, resource.schema, object);
}

/// Applies upstream's defaults to an object of a kind that is no resource, such as `TokenRequest`.
pub fn apply_kind(group: &str, kind: &str, type_name: &str, object: &mut Value) {
    declared::apply(object, type_name);
    let Value::Object(object) = object else { return };
    if let Some((_, _, function)) = KINDS.iter().find(|row| row.0 == group && row.1 == kind) {
        function(object);
    }
}

#[cfg(test)]
mod tests;
