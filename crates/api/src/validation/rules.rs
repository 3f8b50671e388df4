//! The rules of every kind, in one list.

use std::collections::HashMap;
use std::sync::LazyLock;

use k8s_openapi::api::{
    apps::v1 as apps_v1, autoscaling::v2 as autoscaling_v2, batch::v1 as batch_v1, coordination::v1 as coordination_v1,
    core::v1 as core_v1, discovery::v1 as discovery_v1, events::v1 as events_v1, networking::v1 as networking_v1,
    node::v1 as node_v1, policy::v1 as policy_v1, rbac::v1 as rbac_v1, scheduling::v1 as scheduling_v1,
    storage::v1 as storage_v1,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{apps, autoscaling, batch, core, events, names, networking, nodes, pods, policy, quota, rbac, scheduling};
use super::{services, storage, undecodable};
use crate::field::ErrorList;
use crate::kinds::Resource;

/// Judges a name.
pub(super) type NameRule = fn(&str) -> Vec<String>;

type One = Box<dyn Fn(&Value, &mut ErrorList) + Send + Sync>;
type Two = Box<dyn Fn(&Value, &Value, &mut ErrorList) + Send + Sync>;

/// The rules of one kind.
pub(super) struct Rules {
    key: (&'static str, &'static str, &'static str),
    /// What its objects may be called.
    pub(super) name: NameRule,
    /// Judges everything but the metadata.
    pub(super) create: Option<One>,
    /// Judges what only a new object must not have.
    pub(super) create_only: Option<One>,
    /// Judges the difference of an update.
    pub(super) update: Option<Two>,
    /// Whether an update is judged by its difference only.
    pub(super) update_only: bool,
    /// Whether upstream judges the metadata once more on update.
    pub(super) whole: bool,
    /// Judges the difference of a status update.
    pub(super) status: Option<Two>,
}

/// The rules of every kind that has some beyond its metadata.
pub(super) fn all() -> Vec<Rules> {
    vec![
        // Core.
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
        rules::<core_v1::Node>(names::dns_subdomain).create(nodes::node).update(nodes::node_update).update_only(),
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
        // Apps.
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
        rules::<apps_v1::StatefulSet>(names::dns_subdomain)
            .create(apps::stateful_set)
            .update(apps::stateful_set_update)
            .status(apps::stateful_set_status),
        // Batch.
        rules::<batch_v1::CronJob>(names::dns_subdomain).create(batch::cron_job),
        rules::<batch_v1::Job>(names::dns_subdomain)
            .create(batch::job)
            .update(batch::job_update)
            .update_only()
            .status(batch::job_status),
        // The other groups.
        rules::<autoscaling_v2::HorizontalPodAutoscaler>(names::dns_subdomain).create(autoscaling::autoscaler),
        rules::<coordination_v1::Lease>(names::dns_subdomain).create(scheduling::lease),
        rules::<discovery_v1::EndpointSlice>(names::dns_subdomain)
            .create(services::endpoint_slice)
            .update(services::endpoint_slice_update)
            .whole(),
        rules::<events_v1::Event>(names::dns_subdomain)
            .create(events::event)
            .update(events::event_update)
            .update_only(),
        rules::<networking_v1::Ingress>(names::dns_subdomain)
            .create(networking::ingress)
            .create_only(networking::ingress_create),
        rules::<networking_v1::IngressClass>(names::dns_subdomain)
            .create(networking::ingress_class)
            .update(networking::ingress_class_update),
        rules::<networking_v1::NetworkPolicy>(names::dns_subdomain).create(networking::network_policy),
        rules::<node_v1::RuntimeClass>(names::dns_subdomain)
            .create(scheduling::runtime_class)
            .update(scheduling::runtime_class_update),
        rules::<policy_v1::PodDisruptionBudget>(names::dns_subdomain)
            .create(policy::disruption_budget)
            .status(policy::disruption_budget_status),
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
        rules::<scheduling_v1::PriorityClass>(names::dns_subdomain)
            .create(scheduling::priority_class)
            .update(scheduling::priority_class_update)
            .update_only(),
        rules::<storage_v1::CSIDriver>(names::dns_subdomain).create(storage::csi_driver),
        rules::<storage_v1::CSINode>(names::dns_subdomain).create(storage::csi_node),
        rules::<storage_v1::StorageClass>(names::dns_subdomain)
            .create(storage::storage_class)
            .update(storage::storage_class_update)
            .update_only(),
        rules::<storage_v1::VolumeAttachment>(names::dns_subdomain).create(storage::volume_attachment),
    ]
}

type Key = (&'static str, &'static str, &'static str);

static BY_KIND: LazyLock<HashMap<Key, Rules>> =
    LazyLock::new(|| all().into_iter().map(|rules| (rules.key, rules)).collect());

/// The rules of a resource, if its kind has some.
pub(super) fn find(resource: &Resource) -> Option<&Rules> {
    BY_KIND.get(&(&resource.group, &resource.version, &resource.kind))
}

/// Reads a document as `K` and judges it.
fn typed<K: DeserializeOwned>(object: &Value, errors: &mut ErrorList, judge: fn(&K, &mut ErrorList)) {
    match K::deserialize(object) {
        Ok(object) => judge(&object, errors),
        Err(error) => errors.push(undecodable(&error)),
    }
}

/// Reads both documents as `K` and judges their difference.
pub(super) fn typed_update<K: DeserializeOwned>(
    new: &Value,
    old: &Value,
    errors: &mut ErrorList,
    judge: fn(&K, &K, &mut ErrorList),
) {
    match (K::deserialize(new), K::deserialize(old)) {
        (Ok(new), Ok(old)) => judge(&new, &old, errors),
        (Err(error), _) | (_, Err(error)) => errors.push(undecodable(&error)),
    }
}

/// Starts the rules of the kind `K`.
fn rules<K: k8s_openapi::Resource>(name: NameRule) -> Rules {
    Rules {
        key: (K::GROUP, K::VERSION, K::KIND),
        name,
        create: None,
        create_only: None,
        update: None,
        update_only: false,
        whole: false,
        status: None,
    }
}

impl Rules {
    /// Group, version and kind.
    #[cfg(test)]
    pub(super) fn key(&self) -> Key {
        self.key
    }

    fn create<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &mut ErrorList)) -> Self {
        self.create = Some(Box::new(move |object, errors| typed(object, errors, judge)));
        self
    }

    fn create_only<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &mut ErrorList)) -> Self {
        self.create_only = Some(Box::new(move |object, errors| typed(object, errors, judge)));
        self
    }

    fn update<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &K, &mut ErrorList)) -> Self {
        self.update = Some(Box::new(move |new, old, errors| typed_update(new, old, errors, judge)));
        self
    }

    fn update_only(mut self) -> Self {
        self.update_only = true;
        self
    }

    fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    fn status<K: DeserializeOwned + 'static>(mut self, judge: fn(&K, &K, &mut ErrorList)) -> Self {
        self.status = Some(Box::new(move |new, old, errors| typed_update(new, old, errors, judge)));
        self
    }
}
