//! IPAddresses: each says which Service has an address. Whoever makes the object has the address.

use std::net::IpAddr;

use api::status::{Status, reason};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::Family;
use crate::access::Identity;
use crate::http::options::DeleteOptions;
use crate::registry::{Caller, DeleteTarget, NewObject, Registry, Scope, complete};

/// Who makes and deletes these objects, as their label says.
const MANAGER: &str = "ipallocator.k8s.io";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// A Service by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Owner {
    /// Of a Service.
    pub(super) fn of(service: &Value) -> Self {
        let namespace = api::meta::namespace(service).unwrap_or_default().to_owned();
        Self { namespace, name: api::meta::name(service).to_owned() }
    }

    /// Of an IPAddress whose parent is a Service.
    pub(super) fn named_by(claim: &Value) -> Option<Self> {
        let parent = claim.pointer("/spec/parentRef")?;
        let text = |field: &str| parent.get(field).and_then(Value::as_str).unwrap_or_default();
        (text("group").is_empty() && text("resource") == "services")
            .then(|| Self { namespace: text("namespace").to_owned(), name: text("name").to_owned() })
    }
}

/// The resource.
pub(super) fn scope() -> Result<Scope<'static>, Status> {
    let resource = api::kinds::find("networking.k8s.io", "v1", "ipaddresses").ok_or_else(Status::no_such_resource)?;
    Ok(Scope { resource, namespace: None })
}

/// Whether an object is one of those that are made here.
pub(super) fn is_ours(claim: &Value) -> bool {
    claim.pointer("/metadata/labels").and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
}

/// Whether the address is somebody's, as far as the cache knows.
pub(super) fn is_known(registry: &Registry, address: IpAddr) -> Result<bool, Status> {
    Ok(registry.cached(scope()?.resource, &address.to_string()).is_some())
}

/// Claims an address; `false` if it is somebody's.
///
/// Boxed, because a creation allocates and an allocation creates.
pub(super) fn make<'a>(
    registry: &'a Registry,
    address: IpAddr,
    owner: &'a Owner,
) -> BoxFuture<'a, Result<bool, Status>> {
    Box::pin(async move {
        let scope = scope()?;
        let mut value = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {
                "name": address.to_string(), "labels": {FAMILY: Family::of(address).name(), MANAGED_BY: MANAGER},
            },
            "spec": {"parentRef": {"resource": "services", "namespace": owner.namespace, "name": owner.name}},
        });
        complete(scope.resource, &mut value);
        let identity = Identity::server();
        match registry.create(scope, NewObject { value, by_update: false }, Caller::server(&identity)).await {
            Ok(_) => Ok(true),
            Err(status) if status.reason == reason::ALREADY_EXISTS => Ok(false),
            Err(status) => Err(status),
        }
    })
}

/// Gives an address back, if it is that Service's.
pub(super) fn remove<'a>(
    registry: &'a Registry,
    address: IpAddr,
    owner: &'a Owner,
) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        let (scope, name) = (scope()?, address.to_string());
        let Some(current) = registry.current(scope.resource, &scope.key(&name)).await? else { return Ok(()) };
        if Owner::named_by(&current.value).as_ref() != Some(owner) {
            return Ok(());
        }
        delete(registry, &current.value).await
    })
}

/// Deletes an IPAddress as it was seen.
pub(super) async fn delete(registry: &Registry, claim: &Value) -> Result<(), Status> {
    let identity = Identity::server();
    let uid = api::meta::uid(claim).map(str::to_owned);
    let options = DeleteOptions { uid, ..DeleteOptions::default() };
    let target = DeleteTarget {
        scope: scope()?,
        name: api::meta::name(claim),
        options: &options,
        caller: Caller::server(&identity),
    };
    match registry.delete(target).await {
        Err(status) if status.code != 404 && status.code != 409 => Err(status),
        // Gone meanwhile, or another one by now.
        _ => Ok(()),
    }
}
