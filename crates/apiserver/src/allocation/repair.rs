//! Keeps IPAddresses and Services in step: what a process that was killed left half done, and what somebody deleted by
//! hand.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use base::Drain;
use jiff::SignedDuration;
use serde_json::Value;

use super::claims::{self, Owner};
use super::{fields, ranges};
use crate::cache::{EventKind, Selection, Watcher};
use crate::registry::{Registry, Scope};

/// A safety net: nothing but a killed process leaves an address without its Service.
const INTERVAL: Duration = Duration::from_secs(600);

/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// An address that is younger may be of a Service that is just being made.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Keeps them in step until `drain`.
pub(crate) async fn run(registry: Arc<Registry>, drain: Drain) {
    while let Some(followed) = drain.until(follow(&registry)).await {
        if let Err(status) = followed {
            tracing::warn!(err = %status.message, "addresses of Services could not be repaired");
            if drain.until(registry.env.sleep(RETRY)).await.is_none() {
                return;
            }
        }
    }
}

/// Looks at everything once, and then at what is deleted, until it is time to look at everything again.
async fn follow(registry: &Registry) -> Result<(), Status> {
    registry.fresh().await?;
    let watch = |scope: Scope<'_>| {
        let cache = registry.resource_cache(scope.resource)?;
        Ok::<_, Status>(Watcher::from_now(registry.cache.clone(), cache, Selection::everything()).1)
    };
    let (mut addresses, mut networks) = (watch(claims::scope()?)?, watch(ranges::scope()?)?);
    complete(registry).await?;
    remove_orphans(registry).await?;
    let pause = registry.env.sleep(INTERVAL);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return Ok(()),
            changes = networks.changes() => {
                // A watch that fell behind begins anew.
                if changes.is_err() {
                    return Ok(());
                }
                ranges::keep(registry).await?;
            }
            changes = addresses.changes() => {
                let Ok(changes) = changes else { return Ok(()) };
                for change in changes.iter().filter(|change| change.kind == EventKind::Deleted) {
                    restore(registry, &change.object.value()).await?;
                }
            }
        }
    }
}

/// The Services' addresses and whose they are.
fn owners(registry: &Registry) -> Result<HashMap<IpAddr, Owner>, Status> {
    let services = api::kinds::find("", "v1", "services").ok_or_else(Status::no_such_resource)?;
    let snapshot = registry.resource_cache(services)?.snapshot(0);
    let mut owners = HashMap::new();
    for service in snapshot.range(None) {
        let service = service.value();
        for address in fields::owned_addresses(&service) {
            if let Some(other) = owners.insert(address, Owner::of(&service)) {
                tracing::warn!(%address, namespace = other.namespace, name = other.name, "two Services have one address");
            }
        }
    }
    Ok(owners)
}

/// Claims the addresses that Services have and nobody has claimed.
pub(super) async fn complete(registry: &Registry) -> Result<(), Status> {
    for (address, owner) in owners(registry)? {
        if !claims::is_known(registry, address)? {
            claims::make(registry, address, &owner).await?;
        }
    }
    Ok(())
}

/// Makes a claim again that is gone, if its Service still has the address.
async fn restore(registry: &Registry, claim: &Value) -> Result<(), Status> {
    let (Ok(address), Some(owner)) = (api::meta::name(claim).parse::<IpAddr>(), Owner::named_by(claim)) else {
        return Ok(());
    };
    registry.fresh().await?;
    let service = registry.cached_by("", "v1", "services", Some(&owner.namespace), &owner.name);
    let is_had = service.is_some_and(|service| fields::owned_addresses(&service.value()).contains(&address));
    if is_had && !claims::is_known(registry, address)? {
        claims::make(registry, address, &owner).await?;
    }
    Ok(())
}

/// Gives back addresses that no Service has.
async fn remove_orphans(registry: &Registry) -> Result<(), Status> {
    let owners = owners(registry)?;
    let snapshot = registry.resource_cache(claims::scope()?.resource)?.snapshot(0);
    let now = registry.env.now();
    for claim in snapshot.range(None) {
        let claim = claim.value();
        let owner = api::meta::name(&claim).parse().ok().and_then(|address: IpAddr| owners.get(&address));
        let is_young = api::meta::creation_timestamp(&claim).is_some_and(|made| now.duration_since(made) < GRACE);
        if !claims::is_ours(&claim) || is_young || (owner.is_some() && owner == Owner::named_by(&claim).as_ref()) {
            continue;
        }
        claims::delete(registry, &claim).await?;
        if let (Some(owner), Ok(address)) = (owner, api::meta::name(&claim).parse()) {
            claims::make(registry, address, owner).await?;
        }
    }
    Ok(())
}
