//! Cluster IPs and node ports: each is given to one Service at a time.
//!
//! What is in use is kept in memory, rebuilt from the Services in the watch cache when the first one is needed. A
//! request holds what it takes until its write is done; a write that fails gives it back.

mod service;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use api::kinds::Resource;
use api::status::Status;
use ipnet::IpNet;
use serde_json::Value;

use crate::config::Config;
use crate::registry::Registry;

/// The address at a position of a network.
pub(crate) fn nth_address(network: &IpNet, position: u128) -> Option<IpAddr> {
    let address = match network {
        IpNet::V4(network) => {
            let position = u32::try_from(position).ok()?;
            IpAddr::V4(Ipv4Addr::from(u32::from(network.network()).checked_add(position)?))
        }
        IpNet::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network.network()).checked_add(position)?)),
    };
    network.contains(&address).then_some(address)
}

#[derive(Debug, Default)]
struct Used {
    addresses: HashSet<IpAddr>,
    /// Node ports, with how many ports of one Service share each (TCP and UDP may).
    ports: HashMap<u16, usize>,
    is_loaded: bool,
}

/// Gives out addresses and ports.
#[derive(Clone, Debug)]
pub(crate) struct ServiceAllocator {
    network: IpNet,
    ports: RangeInclusive<u16>,
    used: Arc<Mutex<Used>>,
}

/// What a request has taken; dropped without [`Held::keep`], it is given back.
pub(crate) struct Held {
    allocator: Option<ServiceAllocator>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Held {
    /// For requests that need nothing.
    pub(crate) fn nothing() -> Self {
        Self { allocator: None, addresses: Vec::new(), ports: Vec::new() }
    }

    /// The write is done: the Service has it now.
    pub(crate) fn keep(mut self) {
        self.allocator = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(allocator) = self.allocator.take() {
            allocator.give_back(&self.addresses, &self.ports);
        }
    }
}

/// Why an address or port was not given.
#[derive(Debug)]
enum Refused {
    NotInRange,
    Taken,
    Full,
}

impl ServiceAllocator {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            network: config.service_cluster_ip_range,
            ports: config.service_node_port_range.clone(),
            used: Arc::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a new Service needs and writes it into the object.
    pub(crate) async fn allocate_create(
        &self,
        registry: &Registry,
        resource: &Resource,
        object: &mut Value,
    ) -> Result<Held, Status> {
        self.allocate_update(registry, resource, object, &Value::Null).await
    }

    /// Takes what a changed Service needs beyond what it had.
    pub(crate) async fn allocate_update(
        &self,
        registry: &Registry,
        resource: &Resource,
        object: &mut Value,
        old: &Value,
    ) -> Result<Held, Status> {
        if !is_service(resource) {
            return Ok(Held::nothing());
        }
        self.load(registry, resource).await?;
        service::allocate(self, registry.env.random(), object, old)
    }

    /// Gives back what a deleted Service had.
    pub(crate) fn release(&self, resource: &Resource, object: &Value) {
        if is_service(resource) {
            let (addresses, ports) = service::owned(object);
            self.give_back(&addresses, &ports);
        }
    }

    /// Gives back what a Service had and has no more.
    pub(crate) fn release_replaced(&self, resource: &Resource, new: &Value, old: &Value) {
        if !is_service(resource) {
            return;
        }
        let (new_addresses, mut new_ports) = service::owned(new);
        let (old_addresses, old_ports) = service::owned(old);
        let addresses: Vec<IpAddr> = old_addresses.into_iter().filter(|old| !new_addresses.contains(old)).collect();
        let mut ports = Vec::new();
        for port in old_ports {
            match new_ports.iter().position(|new| *new == port) {
                Some(index) => {
                    new_ports.swap_remove(index);
                }
                None => ports.push(port),
            }
        }
        self.give_back(&addresses, &ports);
    }

    /// Reads what the Services that are there have, once.
    async fn load(&self, registry: &Registry, resource: &Resource) -> Result<(), Status> {
        if self.lock().is_loaded {
            return Ok(());
        }
        registry.fresh().await?;
        let snapshot = registry.resource_cache(resource)?.snapshot(0);
        let mut used = self.lock();
        // Another request may have been first; what was taken since then must stay.
        if !used.is_loaded {
            for service in snapshot.range(None) {
                let (addresses, ports) = service::owned(&service.value());
                used.addresses.extend(addresses);
                for port in ports {
                    *used.ports.entry(port).or_default() += 1;
                }
            }
            used.is_loaded = true;
        }
        Ok(())
    }

    fn take_address(&self, wanted: IpAddr) -> Result<(), Refused> {
        let is_usable = self.network.contains(&wanted)
            && wanted != self.network.network()
            && (matches!(self.network, IpNet::V6(_)) || wanted != self.network.broadcast());
        if !is_usable {
            return Err(Refused::NotInRange);
        }
        if self.lock().addresses.insert(wanted) { Ok(()) } else { Err(Refused::Taken) }
    }

    fn take_any_address(&self, random: &base::Random) -> Result<IpAddr, Refused> {
        let bits = u32::from(self.network.max_prefix_len() - self.network.prefix_len()).min(32);
        let size = 1_u64 << bits;
        // The first addresses are left to those who ask for a certain one, as long as there are others.
        let reserved = (size / 16).clamp(16, 256).min(size / 2);
        let start = reserved + random.below(size - reserved);
        let candidates = (start..size).chain(reserved..start).chain(1..reserved);
        for position in candidates {
            let Some(address) = nth_address(&self.network, u128::from(position)) else { continue };
            if self.take_address(address).is_ok() {
                return Ok(address);
            }
        }
        Err(Refused::Full)
    }

    fn take_port(&self, wanted: u16) -> Result<(), Refused> {
        if !self.ports.contains(&wanted) {
            return Err(Refused::NotInRange);
        }
        let mut used = self.lock();
        if used.ports.contains_key(&wanted) {
            return Err(Refused::Taken);
        }
        used.ports.insert(wanted, 1);
        Ok(())
    }

    /// Takes a port a second time for another protocol of the same Service.
    fn share_port(&self, port: u16) {
        *self.lock().ports.entry(port).or_default() += 1;
    }

    fn take_any_port(&self, random: &base::Random) -> Result<u16, Refused> {
        let (first, last) = (*self.ports.start(), *self.ports.end());
        let size = u64::from(last.saturating_sub(first)) + 1;
        let offset = u16::try_from(random.below(size)).unwrap_or(0);
        let start = first.saturating_add(offset);
        (start..=last).chain(first..start).find(|port| self.take_port(*port).is_ok()).ok_or(Refused::Full)
    }

    fn give_back(&self, addresses: &[IpAddr], ports: &[u16]) {
        let mut used = self.lock();
        for address in addresses {
            used.addresses.remove(address);
        }
        for port in ports {
            if let Some(count) = used.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    used.ports.remove(port);
                }
            }
        }
    }
}

fn is_service(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "services"
}
