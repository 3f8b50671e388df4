//! Objects that every cluster has: the first namespaces, the first roles, the `kubernetes` Service with its endpoints,
//! and the public information about the cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use base::Drain;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::authorization::CLUSTER_INFO;
use crate::access::{Identity, rbac};
use crate::registry::{Caller, NewObject, Part, Registry, Scope, complete};

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Classes for the cluster's own pods, with their values and (upstream's) descriptions.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// The name of the Service and of its endpoints.
const KUBERNETES: &str = "kubernetes";

/// A safety net: what somebody has deleted or changed comes back.
const RESYNC: Duration = Duration::from_secs(600);

/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Makes the objects and keeps them until `drain`.
pub(crate) async fn run(registry: Arc<Registry>, mut authorities: watch::Receiver<String>, drain: Drain) {
    loop {
        let ca_pem = authorities.borrow_and_update().clone();
        let Some(synced) = drain.until(sync(&registry, &ca_pem)).await else { return };
        let pause = match synced {
            Ok(()) => RESYNC,
            Err(status) => {
                tracing::warn!(err = %status.message, "bootstrap objects could not be made");
                RETRY
            }
        };
        let woken = async {
            tokio::select! {
                () = registry.env.sleep(pause) => {}
                Ok(()) = authorities.changed() => {}
            }
        };
        if drain.until(woken).await.is_none() {
            return;
        }
    }
}

async fn sync(registry: &Registry, ca_pem: &str) -> Result<(), Status> {
    registry.fresh().await?;
    for namespace in NAMESPACES {
        let scope = Scope { resource: row("", "namespaces")?, namespace: None };
        if registry.cached(scope.resource, namespace).is_none() {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            create(registry, scope, object).await?;
        }
    }
    if !registry.authorization.has_roles() {
        rbac::reconcile(registry).await?;
        registry.authorization.roles_are_there();
    }
    let classes = Scope { resource: row("scheduling.k8s.io", "priorityclasses")?, namespace: None };
    for (name, value, description) in PRIORITY_CLASSES {
        if registry.cached(classes.resource, name).is_none() {
            let object = json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": value, "description": description,
            });
            create(registry, classes, object).await?;
        }
    }
    publish(registry, ca_pem).await?;
    note_tracking(registry).await?;
    crate::allocation::keep_ranges(registry).await?;
    let ports = json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": registry.config.secure_port}]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": KUBERNETES, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": registry.config.kubernetes_service_ip().to_string(), "ports": ports},
    });
    keep(registry, row("", "services")?, service, "/spec/ports").await?;
    if registry.config.advertised_address().is_loopback() {
        // A machine without a network has no address at which pods could reach this server.
        return Ok(());
    }
    let address = registry.config.advertised_address().to_string();
    let endpoint_port = json!({"name": "https", "port": registry.config.secure_port, "protocol": "TCP"});
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": KUBERNETES, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [endpoint_port]}],
    });
    keep(registry, row("", "endpoints")?, endpoints, "/subsets").await?;
    let is_ipv6 = registry.config.advertised_address().is_ipv6();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": KUBERNETES, "labels": {"kubernetes.io/service-name": KUBERNETES}},
        "addressType": if is_ipv6 { "IPv6" } else { "IPv4" },
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [endpoint_port],
    });
    keep(registry, row("discovery.k8s.io", "endpointslices")?, slice, "/endpoints").await
}

/// Says since when uses of tokens that secrets hold are noted: what was not used before that may have been all the same.
async fn note_tracking(registry: &Registry) -> Result<(), Status> {
    const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
    let scope = Scope { resource: row("", "configmaps")?, namespace: Some("kube-system") };
    if registry.cached(scope.resource, &scope.key(NAME)).is_some() {
        return Ok(());
    }
    let today = registry.env.now().strftime("%Y-%m-%d").to_string();
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "kube-system", "name": NAME},
        "data": {"since": today},
    });
    create(registry, scope, object).await
}

/// Publishes where the cluster is and whom it trusts. Whoever moves the cluster behind another address may write that
/// there: only an authority that is not this cluster's is corrected.
async fn publish(registry: &Registry, ca_pem: &str) -> Result<(), Status> {
    let (namespace, name) = CLUSTER_INFO;
    let scope = Scope { resource: row("", "configmaps")?, namespace: Some(namespace) };
    let config = &registry.config;
    let own = format!("https://{}", SocketAddr::new(config.advertised_address(), config.secure_port));
    let Some(found) = registry.cached(scope.resource, &scope.key(name)) else {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name},
            "data": {"kubeconfig": pki::kubeconfig::cluster_info(&own, ca_pem)},
        });
        return create(registry, scope, object).await;
    };
    let found = found.value();
    let text = found.pointer("/data/kubeconfig").and_then(Value::as_str).unwrap_or_default();
    let told: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let server = told.pointer("/clusters/0/cluster/server").and_then(Value::as_str).unwrap_or(&own);
    let wanted = pki::kubeconfig::cluster_info(server, ca_pem);
    let authority = "/clusters/0/cluster/certificate-authority-data";
    let as_wanted: Value = serde_saphyr::from_str(&wanted).map_err(Status::internal)?;
    if told.pointer(authority) == as_wanted.pointer(authority) {
        return Ok(());
    }
    let identity = Identity::server();
    let change = |current: &Value| {
        let mut changed = current.clone();
        changed["data"]["kubeconfig"] = wanted.as_str().into();
        Ok(changed)
    };
    registry.update(scope, name, Part::Main, Caller::server(&identity), &change).await.map(drop)
}

fn row(group: &str, plural: &str) -> Result<&'static Arc<Resource>, Status> {
    api::kinds::find(group, "v1", plural).ok_or_else(Status::no_such_resource)
}

/// Makes an object of this server's own, unless it is there.
pub(crate) async fn create(registry: &Registry, scope: Scope<'_>, mut value: Value) -> Result<(), Status> {
    let identity = Identity::server();
    let caller = Caller::server(&identity);
    complete(scope.resource, &mut value);
    match registry.create(scope, NewObject { value, by_update: false }, caller).await {
        // Another server was first.
        Err(status) if status.reason == api::status::reason::ALREADY_EXISTS => Ok(()),
        other => other.map(drop),
    }
}

/// Makes an object of the namespace `default`, or brings the part at `path` (and the ports) up to date.
async fn keep(registry: &Registry, resource: &Resource, wanted: Value, path: &str) -> Result<(), Status> {
    let scope = Scope { resource, namespace: Some("default") };
    let Some(found) = registry.cached(resource, &scope.key(KUBERNETES)) else {
        return create(registry, scope, wanted).await;
    };
    let mut wanted = wanted;
    complete(resource, &mut wanted);
    let parts = [path, "/ports"];
    let found = found.value();
    if parts.iter().all(|part| found.pointer(part) == wanted.pointer(part)) {
        return Ok(());
    }
    let identity = Identity::server();
    let caller = Caller::server(&identity);
    let change = |current: &Value| {
        let mut changed = current.clone();
        for part in parts {
            let segments: Vec<&str> = part.split('/').filter(|segment| !segment.is_empty()).collect();
            crate::strategy::copy_at(&mut changed, &wanted, &segments);
        }
        Ok(changed)
    };
    registry.update(scope, KUBERNETES, Part::Main, caller, &change).await.map(drop)
}
