//! The rules of every kind, in one list.

use k8s_openapi::api::{
    admissionregistration::{v1 as admission_v1, v1beta1 as admission_v1beta1},
    apiserverinternal::v1alpha1 as apiserverinternal_v1alpha1,
    apps::v1 as apps_v1,
    autoscaling::v2 as autoscaling_v2,
    batch::v1 as batch_v1,
    certificates::{v1 as certificates_v1, v1beta1 as certificates_v1beta1},
    coordination::{v1 as coordination_v1, v1beta1 as coordination_v1beta1},
    core::v1 as core_v1,
    discovery::v1 as discovery_v1,
    events::v1 as events_v1,
    flowcontrol::v1 as flowcontrol_v1,
    networking::v1 as networking_v1,
    node::v1 as node_v1,
    policy::v1 as policy_v1,
    rbac::v1 as rbac_v1,
    resource::{v1 as resource_v1, v1alpha3 as resource_v1alpha3},
    scheduling::{v1 as scheduling_v1, v1alpha1 as scheduling_v1alpha1},
    storage::v1 as storage_v1,
    storagemigration::v1beta1 as storagemigration_v1beta1,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions_v1;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration_v1;

use super::{Rules, rules};
use crate::validation::{
    admission, apiregistration, apps, autoscaling, batch, certificates, coordination, core, definitions, devices,
    events, flowcontrol, migration, names, networking, nodes, pods, policy, quota, rbac, scheduling, services, storage,
    storage_versions,
};

/// The rules of every kind that has some beyond its metadata.
pub(in crate::validation) fn all() -> Vec<Rules> {
    [core(), workloads(), admission(), identity(), networks(), storage(), devices(), others()]
        .into_iter()
        .flatten()
        .collect()
}

/// The core group.
fn core() -> Vec<Rules> {
    vec![
        rules::<core_v1::ConfigMap>(names::dns_subdomain)
            .create(core::config_map)
            .update(core::config_map_update)
            .whole(),
        rules::<core_v1::Endpoints>(names::dns_subdomain).create(services::endpoints).whole(),
        rules::<core_v1::Event>(names::dns_subdomain).create(events::core_event),
        rules::<core_v1::LimitRange>(names::dns_subdomain).create(quota::limit_range).whole(),
        rules::<core_v1::Namespace>(names::dns_label)
            .create(core::namespace)
            .update_only()
            .status(core::namespace_status),
        rules::<core_v1::Node>(names::dns_subdomain)
            .create(nodes::node)
            .update(nodes::node_update)
            .status(nodes::node_update)
            .whole(),
        rules::<core_v1::PersistentVolume>(names::dns_subdomain)
            .create(storage::persistent_volume)
            .update(storage::persistent_volume_update)
            .whole(),
        rules::<core_v1::PersistentVolumeClaim>(names::dns_subdomain)
            .create(storage::claim)
            .update(storage::claim_update)
            .status(storage::claim_status)
            .whole(),
        rules::<core_v1::Pod>(names::dns_subdomain)
            .create(pods::pod)
            .update(pods::pod_update)
            .update_only()
            .status(pods::pod_status)
            .whole(),
        rules::<core_v1::PodTemplate>(names::dns_subdomain).create(pods::pod_template).whole(),
        rules::<core_v1::ReplicationController>(names::dns_subdomain)
            .create(apps::replication_controller)
            .status(apps::replication_controller_status),
        rules::<core_v1::ResourceQuota>(names::dns_subdomain)
            .create(quota::resource_quota)
            .update(quota::resource_quota_update)
            .status(quota::resource_quota_status),
        rules::<core_v1::Secret>(names::dns_subdomain).create(core::secret).update(core::secret_update).whole(),
        rules::<core_v1::Service>(names::dns_1035_label)
            .create(services::service)
            .update(services::service_update)
            .status(services::service_status)
            .whole(),
        rules::<core_v1::ServiceAccount>(names::dns_subdomain).whole(),
    ]
}

/// What makes pods.
fn workloads() -> Vec<Rules> {
    vec![
        rules::<apps_v1::ControllerRevision>(names::dns_subdomain)
            .create(apps::controller_revision)
            .update(apps::controller_revision_update),
        rules::<apps_v1::DaemonSet>(names::dns_subdomain)
            .create(apps::daemon_set)
            .update(apps::daemon_set_update)
            .status(apps::daemon_set_status),
        rules::<apps_v1::Deployment>(names::dns_subdomain)
            .create(apps::deployment)
            .update(apps::deployment_update)
            .status(apps::deployment_status),
        rules::<apps_v1::ReplicaSet>(names::dns_subdomain)
            .create(apps::replica_set)
            .update(apps::replica_set_update)
            .status(apps::replica_set_status),
        rules::<apps_v1::StatefulSet>(names::dns_label)
            .create(apps::stateful_set)
            .update(apps::stateful_set_update)
            .status(apps::stateful_set_status),
        rules::<batch_v1::CronJob>(names::dns_subdomain)
            .create(batch::cron_job)
            .create_only(batch::cron_job_create)
            .update(batch::cron_job_update)
            .update_only(),
        rules::<batch_v1::Job>(names::dns_subdomain)
            .create(batch::job)
            .update(batch::job_update)
            .update_only()
            .status(batch::job_status),
    ]
}

/// What decides about requests.
fn admission() -> Vec<Rules> {
    vec![
        rules::<admission_v1::MutatingWebhookConfiguration>(names::dns_subdomain)
            .create(admission::mutating_webhooks)
            .update(admission::mutating_webhooks_update)
            .update_only()
            .object_only(),
        rules::<admission_v1::ValidatingAdmissionPolicy>(names::dns_subdomain)
            .create(admission::validating_policy)
            .status(admission::validating_policy_status)
            .object_only(),
        rules::<admission_v1::ValidatingAdmissionPolicyBinding>(names::dns_subdomain)
            .create(admission::validating_policy_binding)
            .object_only(),
        rules::<admission_v1::ValidatingWebhookConfiguration>(names::dns_subdomain)
            .create(admission::validating_webhooks)
            .update(admission::validating_webhooks_update)
            .update_only()
            .object_only(),
        rules::<admission_v1beta1::MutatingAdmissionPolicy>(names::dns_subdomain)
            .create(admission::mutating_policy)
            .object_only(),
        rules::<admission_v1beta1::MutatingAdmissionPolicyBinding>(names::dns_subdomain)
            .create(admission::mutating_policy_binding)
            .object_only(),
    ]
}

/// Who may do what, and how they prove who they are.
fn identity() -> Vec<Rules> {
    vec![
        rules::<certificates_v1::CertificateSigningRequest>(names::path_segment)
            .create(certificates::signing_request)
            .update(certificates::signing_request_update)
            .update_only()
            .status(certificates::signing_request_status)
            .approval(certificates::signing_request_approval)
            .whole(),
        rules::<certificates_v1beta1::ClusterTrustBundle>(names::path_segment)
            .create(certificates::trust_bundle)
            .update(certificates::trust_bundle_update)
            .update_only()
            .whole(),
        rules::<certificates_v1beta1::PodCertificateRequest>(names::dns_subdomain)
            .create(certificates::pod_request)
            .update(certificates::pod_request_update)
            .update_only()
            .status_at(certificates::pod_request_status)
            .whole(),
        rules::<rbac_v1::ClusterRole>(names::path_segment).create(rbac::cluster_role).whole(),
        rules::<rbac_v1::ClusterRoleBinding>(names::path_segment)
            .create(rbac::cluster_role_binding)
            .update(rbac::cluster_role_binding_update)
            .whole(),
        rules::<rbac_v1::Role>(names::path_segment).create(rbac::role).whole(),
        rules::<rbac_v1::RoleBinding>(names::path_segment)
            .create(rbac::role_binding)
            .update(rbac::role_binding_update)
            .whole(),
    ]
}

/// Traffic and addresses.
fn networks() -> Vec<Rules> {
    vec![
        rules::<discovery_v1::EndpointSlice>(names::dns_subdomain)
            .create(services::endpoint_slice)
            .update(services::endpoint_slice_update)
            .whole(),
        rules::<networking_v1::IPAddress>(names::canonical_ip)
            .create(networking::ip_address)
            .update(networking::ip_address_update)
            .update_only(),
        rules::<networking_v1::Ingress>(names::dns_subdomain)
            .create(networking::ingress)
            .create_only(networking::ingress_create)
            .status(networking::ingress_status)
            .whole(),
        rules::<networking_v1::IngressClass>(names::dns_subdomain)
            .create(networking::ingress_class)
            .update(networking::ingress_class_update),
        rules::<networking_v1::NetworkPolicy>(names::dns_subdomain).create(networking::network_policy),
        rules::<networking_v1::ServiceCIDR>(names::dns_subdomain)
            .create(networking::service_cidr)
            .update(networking::service_cidr_update)
            .update_only(),
    ]
}

/// Classes of volumes and what drivers publish.
fn storage() -> Vec<Rules> {
    vec![
        rules::<storage_v1::CSIDriver>(names::dns_subdomain)
            .create(storage::csi_driver)
            .update(storage::csi_driver_update),
        rules::<storage_v1::CSINode>(names::dns_subdomain)
            .create(storage::csi_node)
            .update(storage::csi_node_update)
            .update_only()
            .object_only(),
        rules::<storage_v1::CSIStorageCapacity>(names::dns_subdomain)
            .create(storage::storage_capacity)
            .update(storage::storage_capacity_update)
            .update_only(),
        rules::<storage_v1::StorageClass>(names::dns_subdomain)
            .create(storage::storage_class)
            .update(storage::storage_class_update)
            .update_only(),
        rules::<storage_v1::VolumeAttachment>(names::dns_subdomain)
            .create(storage::volume_attachment)
            .update(storage::volume_attachment_update)
            .update_only()
            .object_only(),
        rules::<storage_v1::VolumeAttributesClass>(names::dns_subdomain)
            .create(storage::attributes_class)
            .update(storage::attributes_class_update)
            .whole(),
        rules::<storagemigration_v1beta1::StorageVersionMigration>(names::dns_subdomain)
            .create(migration::migration)
            .update(migration::migration_update)
            .status(migration::migration_status)
            .whole(),
    ]
}

/// Devices that pods can claim.
fn devices() -> Vec<Rules> {
    vec![
        rules::<resource_v1::DeviceClass>(names::dns_subdomain).create(devices::device_class).whole(),
        rules::<resource_v1alpha3::DeviceTaintRule>(names::dns_subdomain)
            .create(devices::taint_rule)
            .update(devices::taint_rule_update)
            .update_only()
            .status(devices::taint_rule_status)
            .whole(),
        rules::<resource_v1::ResourceClaim>(names::dns_subdomain)
            .create(devices::claim)
            .update(devices::claim_update)
            .update_only()
            .status(devices::claim_status)
            .whole(),
        rules::<resource_v1::ResourceClaimTemplate>(names::dns_subdomain)
            .create(devices::template)
            .update(devices::template_update)
            .update_only(),
        rules::<resource_v1::ResourceSlice>(names::dns_subdomain)
            .create(devices::resource_slice)
            .update(devices::resource_slice_update)
            .update_only(),
    ]
}

/// The other groups.
fn others() -> Vec<Rules> {
    vec![
        rules::<apiextensions_v1::CustomResourceDefinition>(names::dns_subdomain).document(
            definitions::create,
            definitions::update,
            definitions::status_update,
        ),
        rules::<apiregistration_v1::APIService>(names::path_segment)
            .create(apiregistration::api_service)
            .status(apiregistration::api_service_status)
            .whole(),
        rules::<autoscaling_v2::HorizontalPodAutoscaler>(names::dns_subdomain)
            .create(autoscaling::autoscaler)
            .status(autoscaling::autoscaler_status),
        rules::<coordination_v1::Lease>(names::dns_subdomain).create(coordination::lease),
        rules::<coordination_v1beta1::LeaseCandidate>(names::config_map_key)
            .create(coordination::lease_candidate)
            .update(coordination::lease_candidate_update),
        rules::<events_v1::Event>(names::dns_subdomain)
            .create(events::event)
            .update(events::event_update)
            .update_only(),
        rules::<flowcontrol_v1::FlowSchema>(names::dns_subdomain)
            .create(flowcontrol::flow_schema)
            .status(flowcontrol::flow_schema_status)
            .object_only(),
        rules::<flowcontrol_v1::PriorityLevelConfiguration>(names::dns_subdomain)
            .create(flowcontrol::priority_level)
            .status(flowcontrol::priority_level_status)
            .object_only(),
        rules::<node_v1::RuntimeClass>(names::dns_subdomain)
            .create(scheduling::runtime_class)
            .update(scheduling::runtime_class_update),
        rules::<policy_v1::PodDisruptionBudget>(names::dns_subdomain)
            .create(policy::disruption_budget)
            .status(policy::disruption_budget_status),
        rules::<apiserverinternal_v1alpha1::StorageVersion>(storage_versions::name).status(storage_versions::status),
        rules::<scheduling_v1::PriorityClass>(names::dns_subdomain)
            .create(scheduling::priority_class)
            .update(scheduling::priority_class_update)
            .update_only(),
        rules::<scheduling_v1alpha1::Workload>(names::dns_subdomain)
            .create(scheduling::workload)
            .update(scheduling::workload_update)
            .whole(),
    ]
}
