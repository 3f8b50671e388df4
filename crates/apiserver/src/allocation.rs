//! Cluster IPs and node ports: each is given to one Service at a time.
//!
//! An address is a Service's when its IPAddress says so; which ports are in use is kept in memory, rebuilt from the
//! Services in the watch cache when the first one is needed. A request holds what it takes until its write is done; a
//! write that fails gives it back.

mod addresses;
mod carry;
mod claims;
mod families;
mod fields;
mod node_ports;
mod ranges;
mod repair;
#[cfg(test)]
mod tests;

pub(crate) use ranges::keep as keep_ranges;
pub(crate) use repair::run as repair;

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use api::field::ErrorList;
use api::kinds::Resource;
use api::status::Status;
use base::{Random, nth_address};
use ipnet::IpNet;
use serde_json::Value;

use self::claims::Owner;
use crate::config::Config;
use crate::registry::Registry;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|family| family.name() == name)
    }
}

#[derive(Debug, Default)]
struct Used {
    /// Node ports; those of one Service may be of several of its ports.
    ports: HashSet<u16>,
    is_loaded: bool,
}

/// Gives out addresses and ports.
#[derive(Clone, Debug)]
pub(crate) struct ServiceAllocator {
    /// The families that Services may have, the primary first.
    families: Vec<Family>,
    ports: RangeInclusive<u16>,
    used: Arc<Mutex<Used>>,
}

/// A write that may need addresses and ports.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) resource: &'a Resource,
    pub(crate) dry_run: bool,
}

/// What a request has taken, until it ends. Where the request is cut off, ports are free at once, and addresses when
/// somebody looks for such.
#[must_use]
pub(crate) struct Held {
    allocator: ServiceAllocator,
    owner: Owner,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Held {
    /// The write is done, or came to nothing: then everything is given back.
    pub(crate) async fn end(mut self, registry: &Registry, is_done: bool) {
        let addresses = std::mem::take(&mut self.addresses);
        if is_done {
            self.ports.clear();
        } else {
            give_back(registry, &self.owner, addresses).await;
        }
    }

    fn take_port(&mut self, wanted: u16) -> Result<(), Refused> {
        self.allocator.take_port(wanted)?;
        self.ports.push(wanted);
        Ok(())
    }

    fn take_any_port(&mut self, random: &Random) -> Result<u16, Refused> {
        let taken = self.allocator.take_any_port(random)?;
        self.ports.push(taken);
        Ok(taken)
    }

    /// The ports that may be taken, as they are written.
    fn port_range(&self) -> String {
        format!("{}-{}", self.allocator.ports.start(), self.allocator.ports.end())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.allocator.give_back_ports(self.ports.iter());
    }
}

/// Why an address or port was not given.
#[derive(Debug)]
enum Refused {
    NotInRange,
    Taken,
    Full,
}

/// 422 for a Service.
fn invalid(name: &str, errors: ErrorList) -> Status {
    Status::invalid("", "Service", name, errors)
}

impl ServiceAllocator {
    pub(crate) fn new(config: &Config) -> Self {
        let networks = config.service_cluster_ip_range.iter();
        Self {
            families: networks.map(|network| Family::of(network.addr())).collect(),
            ports: config.service_node_port_range.clone(),
            used: Arc::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a Service needs beyond what it had (nothing, if it is new), and writes it into the object.
    pub(crate) async fn allocate(
        &self,
        request: Request<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<Option<Held>, Status> {
        if !is_service(request.resource) {
            return Ok(None);
        }
        self.load(request).await?;
        let mut held =
            Held { allocator: self.clone(), owner: Owner::of(object), addresses: Vec::new(), ports: Vec::new() };
        let taken = match self.prepare(&mut held, request.registry.env.random(), object, old) {
            Ok(()) => take_addresses(&mut held, request, object, old).await,
            Err(status) => Err(status),
        };
        match taken {
            Ok(()) => Ok(Some(held)),
            Err(status) => {
                held.end(request.registry, false).await;
                Err(status)
            }
        }
    }

    /// Settles families and takes ports.
    fn prepare(&self, held: &mut Held, random: &Random, object: &mut Value, old: &Value) -> Result<(), Status> {
        carry::over(object, old);
        families::settle(&self.families, object, old).map_err(|errors| invalid(api::meta::name(object), errors))?;
        node_ports::take(held, random, object, old)
    }

    /// Gives back what a deleted Service had.
    pub(crate) async fn release(&self, registry: &Registry, resource: &Resource, object: &Value) {
        self.release_replaced(registry, resource, &Value::Null, object).await;
    }

    /// Gives back what a Service had and has no more.
    pub(crate) async fn release_replaced(&self, registry: &Registry, resource: &Resource, new: &Value, old: &Value) {
        if !is_service(resource) {
            return;
        }
        self.give_back_ports(fields::owned_ports(old).difference(&fields::owned_ports(new)));
        let kept = fields::owned_addresses(new);
        let addresses = fields::owned_addresses(old).into_iter().filter(|address| !kept.contains(address)).collect();
        give_back(registry, &Owner::of(old), addresses).await;
    }

    /// Reads which ports the Services that are there have, and claims the addresses of those from before there were
    /// claims. Once.
    async fn load(&self, request: Request<'_>) -> Result<(), Status> {
        if self.lock().is_loaded {
            return Ok(());
        }
        request.registry.fresh().await?;
        repair::complete(request.registry).await?;
        let snapshot = request.registry.resource_cache(request.resource)?.snapshot(0);
        let mut used = self.lock();
        // Another request may have been first; what was taken since then must stay.
        if !used.is_loaded {
            used.ports.extend(snapshot.range(None).flat_map(|service| fields::owned_ports(&service.value())));
            used.is_loaded = true;
        }
        Ok(())
    }

    fn take_port(&self, wanted: u16) -> Result<(), Refused> {
        if !self.ports.contains(&wanted) {
            return Err(Refused::NotInRange);
        }
        if self.lock().ports.insert(wanted) { Ok(()) } else { Err(Refused::Taken) }
    }

    fn take_any_port(&self, random: &Random) -> Result<u16, Refused> {
        let (first, last) = (*self.ports.start(), *self.ports.end());
        let size = u64::from(last.saturating_sub(first)) + 1;
        let offset = u16::try_from(random.below(size)).unwrap_or(0);
        let start = first.saturating_add(offset);
        (start..=last).chain(first..start).find(|port| self.take_port(*port).is_ok()).ok_or(Refused::Full)
    }

    fn give_back_ports<'a>(&self, ports: impl Iterator<Item = &'a u16>) {
        let mut used = self.lock();
        for port in ports {
            used.ports.remove(port);
        }
    }
}

/// Gives addresses back. What fails is found later.
async fn give_back(registry: &Registry, owner: &Owner, addresses: Vec<IpAddr>) {
    for address in addresses {
        if let Err(status) = claims::remove(registry, address, owner).await {
            tracing::warn!(%address, err = %status.message, "address of a Service could not be given back");
        }
    }
}

/// Takes the addresses that `object` needs beyond those of `old`, and writes them into it.
async fn take_addresses(held: &mut Held, request: Request<'_>, object: &mut Value, old: &Value) -> Result<(), Status> {
    let wanted = addresses::wanted(object, old);
    if wanted.is_empty() {
        return Ok(());
    }
    request.registry.fresh().await?;
    let networks = ranges::usable(request.registry)?;
    for wanted in wanted {
        let given = match wanted.named {
            Some(named) => {
                let taken = take_address(held, request, &networks, named).await?;
                taken.map_err(|refused| addresses::refusal(object, named, &refused))?;
                named
            }
            None => take_any_address(held, request, &networks, wanted.family).await?,
        };
        addresses::write(object, wanted, given);
    }
    Ok(())
}

/// Takes an address that was named. A dry run does not look whether somebody has it, as upstream's does not.
async fn take_address(
    held: &mut Held,
    request: Request<'_>,
    networks: &[IpNet],
    wanted: IpAddr,
) -> Result<Result<(), Refused>, Status> {
    if !networks.iter().any(|network| ranges::has(network, wanted)) {
        return Ok(Err(Refused::NotInRange));
    }
    if !request.dry_run {
        if !claims::make(request.registry, wanted, &held.owner).await? {
            return Ok(Err(Refused::Taken));
        }
        held.addresses.push(wanted);
    }
    Ok(Ok(()))
}

/// Takes any free address of a family.
async fn take_any_address(
    held: &mut Held,
    request: Request<'_>,
    networks: &[IpNet],
    family: Family,
) -> Result<IpAddr, Status> {
    let registry = request.registry;
    for network in networks.iter().filter(|network| Family::of(network.addr()) == family) {
        let bits = u32::from(network.max_prefix_len() - network.prefix_len()).min(32);
        let size = 1_u64 << bits;
        // The first addresses are left to those who ask for a certain one, as long as there are others.
        let reserved = (size / 16).clamp(16, 256).min(size / 2);
        let start = reserved + registry.env.random().below(size - reserved);
        for position in (start..size).chain(reserved..start).chain(1..reserved) {
            let Some(address) = nth_address(network, u128::from(position)) else { continue };
            if !ranges::has(network, address) || claims::is_known(registry, address)? {
                continue;
            }
            if request.dry_run {
                return Ok(address);
            }
            // Somebody may have been quicker than the cache.
            if claims::make(registry, address, &held.owner).await? {
                held.addresses.push(address);
                return Ok(address);
            }
        }
    }
    Err(Status::internal("failed to allocate a serviceIP: range is full"))
}

fn is_service(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "services"
}
