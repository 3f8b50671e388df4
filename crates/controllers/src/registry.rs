//! The list of controllers. A controller is in the cluster because it is in this list.

use base::Drain;
use client::ControllerError;
use futures::future::BoxFuture;

use crate::context::Context;
use crate::{
    account_tokens, bootstrap, certificates, cluster_role_aggregation, deployment, endpoints, endpointslice, garbage,
    namespace, node_ipam, node_lifecycle, pod_gc, policy_status, replicaset, resource_claim, resource_quota, root_ca,
    service_account, service_cidr, storage_migration, storage_protection,
};

/// One controller.
pub struct Registration {
    /// Upstream's name, as `--controllers` takes it.
    pub name: &'static str,
    /// The account of `kube-system` that it acts as: upstream's, whose roles every cluster has. The empty name is none:
    /// it acts as the controller manager.
    pub(crate) account: &'static str,
    /// Runs it until the drain signal.
    pub(crate) run: fn(Context, Drain) -> BoxFuture<'static, Result<(), ControllerError>>,
}

/// All controllers.
pub fn all() -> &'static [Registration] {
    macro_rules! register {
        ($($name:literal as $account:literal => $run:path,)*) => {
            &[$(Registration {
                name: $name,
                account: $account,
                run: |context, drain| Box::pin($run(context, drain)),
            }),*]
        };
    }
    register! {
        "namespace-controller" as "namespace-controller" => namespace::run,
        "serviceaccount-controller" as "service-account-controller" => service_account::run,
        "serviceaccount-token-controller" as "" => account_tokens::fill::run,
        "legacy-serviceaccount-token-cleaner-controller" as "legacy-service-account-token-cleaner" =>
            account_tokens::clean::run,
        "root-ca-certificate-publisher-controller" as "root-ca-cert-publisher" => root_ca::run,
        "replicaset-controller" as "replicaset-controller" => replicaset::run,
        "deployment-controller" as "deployment-controller" => deployment::run,
        "endpoints-controller" as "endpoint-controller" => endpoints::run,
        "endpointslice-controller" as "endpointslice-controller" => endpointslice::run,
        "garbage-collector-controller" as "generic-garbage-collector" => garbage::run,
        "node-lifecycle-controller" as "node-controller" => node_lifecycle::health::run,
        "taint-eviction-controller" as "node-controller" => node_lifecycle::eviction::run,
        "pod-garbage-collector-controller" as "pod-garbage-collector" => pod_gc::run,
        "node-ipam-controller" as "node-controller" => node_ipam::run,
        "certificatesigningrequest-approving-controller" as "certificate-controller" => certificates::approve::run,
        "certificatesigningrequest-signing-controller" as "certificate-controller" => certificates::sign::run,
        "certificatesigningrequest-cleaner-controller" as "certificate-controller" => certificates::clean::run,
        "kube-apiserver-serving-clustertrustbundle-publisher-controller" as
            "kube-apiserver-serving-clustertrustbundle-publisher" => certificates::publish::run,
        "bootstrap-signer-controller" as "bootstrap-signer" => bootstrap::sign::run,
        "token-cleaner-controller" as "token-cleaner" => bootstrap::clean::run,
        "clusterrole-aggregation-controller" as "clusterrole-aggregation-controller" => cluster_role_aggregation::run,
        "resourcequota-controller" as "resourcequota-controller" => resource_quota::run,
        "resourceclaim-controller" as "resourceclaim-controller" => resource_claim::run,
        "persistentvolumeclaim-protection-controller" as "pvc-protection-controller" => storage_protection::run_claims,
        "persistentvolume-protection-controller" as "pv-protection-controller" => storage_protection::run_volumes,
        "service-cidr-controller" as "service-cidrs-controller" => service_cidr::run,
        "validatingadmissionpolicy-status-controller" as "validatingadmissionpolicy-status-controller" =>
            policy_status::run,
        "storage-version-migrator-controller" as "storage-version-migrator-controller" => storage_migration::run,
    }
}
