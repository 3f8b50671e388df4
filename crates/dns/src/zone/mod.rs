//! The cluster's names as an immutable value.

mod lookup;
mod records;

use std::net::IpAddr;
use std::sync::Arc;

use client::ObjectKey;
use hickory_proto::ProtoError;
use hickory_proto::rr::Name;

pub use lookup::Answer;
pub use records::{EndpointRecords, PortRecord, ServiceKind, ServiceRecords, service_records};

/// The time in seconds for which answers about the cluster may be kept.
pub const TTL: u32 = 5;

/// All names of the cluster. Cloning is cheap, and a clone is not changed by changes of the original.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: Name,
    /// The domain's labels in lower case, the last first.
    domain_labels: Arc<[String]>,
    /// Where this server is.
    server_ips: Arc<[IpAddr]>,
    /// Services by namespace and name.
    services: imbl::HashMap<String, imbl::HashMap<String, Arc<ServiceRecords>>>,
    namespaces: imbl::HashSet<String>,
    reverse: imbl::HashMap<IpAddr, Vec<(ObjectKey, Name)>>,
    serial: u32,
}

impl Zone {
    /// An empty zone for a domain such as `cluster.local`.
    pub fn new(domain: &str, server_ips: &[IpAddr]) -> Result<Self, ProtoError> {
        let mut name = Name::from_ascii(domain)?;
        name.set_fqdn(true);
        let domain_labels = name.iter().rev().map(lower).collect();
        Ok(Self {
            domain: name,
            domain_labels,
            server_ips: server_ips.into(),
            services: imbl::HashMap::new(),
            namespaces: imbl::HashSet::new(),
            reverse: imbl::HashMap::new(),
            serial: 1,
        })
    }

    /// Adds, changes or (`None`) removes a service.
    pub fn set_service(&mut self, key: &ObjectKey, records: Option<ServiceRecords>) {
        let namespace = key.namespace().to_owned();
        let services = self.services.entry(namespace.clone()).or_default();
        let old = match &records {
            Some(records) => services.insert(key.name.clone(), Arc::new(records.clone())),
            None => services.remove(&key.name),
        };
        if services.is_empty() {
            self.services.remove(&namespace);
        }
        if old.as_deref() == records.as_ref() {
            return;
        }
        let gone: Vec<_> = old.iter().flat_map(|records| records.reverse(key, &self.domain)).collect();
        for (ip, _) in gone {
            self.remove_reverse(ip, key);
        }
        for (ip, name) in records.iter().flat_map(|records| records.reverse(key, &self.domain)) {
            self.reverse.entry(ip).or_default().push((key.clone(), name));
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Adds or removes a namespace.
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        let changed = if exists {
            self.namespaces.insert(name.to_owned()).is_none()
        } else {
            self.namespaces.remove(name).is_some()
        };
        self.serial = self.serial.wrapping_add(u32::from(changed));
    }

    fn remove_reverse(&mut self, ip: IpAddr, key: &ObjectKey) {
        if let Some(names) = self.reverse.get_mut(&ip) {
            names.retain(|(owner, _)| owner != key);
            if names.is_empty() {
                self.reverse.remove(&ip);
            }
        }
    }
}

/// A label in lower case; bytes that are no text cannot be in any of our names and become something that is not.
fn lower(label: &[u8]) -> String {
    String::from_utf8_lossy(label).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
