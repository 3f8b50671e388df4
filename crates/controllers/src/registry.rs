//! The list of controllers. A controller is in the cluster because it is in this list.

use base::Drain;
use client::ControllerError;
use futures::future::BoxFuture;

use crate::context::Context;
use crate::{
    certificates, deployment, endpoints, endpointslice, garbage, namespace, node_ipam, node_lifecycle, pod_gc,
    replicaset, root_ca, service_account,
};

/// One controller.
pub struct Registration {
    /// Upstream's name, as `--controllers` takes it.
    pub name: &'static str,
    /// Runs it until the drain signal.
    pub(crate) run: fn(Context, Drain) -> BoxFuture<'static, Result<(), ControllerError>>,
}

/// All controllers.
pub fn all() -> &'static [Registration] {
    macro_rules! register {
        ($($name:literal => $run:path,)*) => {
            &[$(Registration { name: $name, run: |context, drain| Box::pin($run(context, drain)) }),*]
        };
    }
    register! {
        "namespace-controller" => namespace::run,
        "serviceaccount-controller" => service_account::run,
        "root-ca-certificate-publisher-controller" => root_ca::run,
        "replicaset-controller" => replicaset::run,
        "deployment-controller" => deployment::run,
        "endpoints-controller" => endpoints::run,
        "endpointslice-controller" => endpointslice::run,
        "garbage-collector-controller" => garbage::run,
        "node-lifecycle-controller" => node_lifecycle::health::run,
        "taint-eviction-controller" => node_lifecycle::eviction::run,
        "pod-garbage-collector-controller" => pod_gc::run,
        "node-ipam-controller" => node_ipam::run,
        "certificatesigningrequest-approving-controller" => certificates::approve::run,
        "certificatesigningrequest-signing-controller" => certificates::sign::run,
        "certificatesigningrequest-cleaner-controller" => certificates::clean::run,
    }
}
