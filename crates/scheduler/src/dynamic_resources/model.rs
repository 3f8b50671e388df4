//! Devices as the search for them sees them, and compiled selectors.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::quantity::Quantity;
use cel::device::{Attribute, Published};
use k8s_openapi::api::resource::v1::{AllocationResult, Device, DeviceSelector};

/// Driver, pool and name of a device.
pub(crate) type DeviceId = (String, String, String);

/// A device that a driver publishes.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) id: DeviceId,
    pub(super) published: Published,
    /// Where it can be used, if not everywhere: which of the slice's conditions hold.
    pub(super) reach: Reach,
}

/// From where a device can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reach {
    /// From everywhere.
    All,
    /// From one node.
    Node(String),
    /// From nodes that are selected.
    Selected(k8s_openapi::api::core::v1::NodeSelector),
}

impl Offer {
    pub(super) fn new(driver: &str, pool: &str, device: &Device, reach: Reach) -> Self {
        let mut published = Published { driver: driver.to_owned(), ..Published::default() };
        for (name, attribute) in device.attributes.iter().flatten() {
            let value = match (&attribute.string, attribute.int, attribute.bool, &attribute.version) {
                (Some(text), ..) => Attribute::Text(text.clone()),
                (_, Some(number), ..) => Attribute::Int(number),
                (_, _, Some(flag), _) => Attribute::Bool(flag),
                (_, _, _, Some(version)) => Attribute::Version(version.clone()),
                _ => continue,
            };
            let (domain, name) = qualified(name, driver);
            published.attributes.entry(domain.to_owned()).or_default().insert(name.to_owned(), value);
        }
        for (name, capacity) in device.capacity.iter().flatten() {
            let Ok(amount) = Quantity::parse(&capacity.value.0) else { continue };
            let (domain, name) = qualified(name, driver);
            published.capacity.entry(domain.to_owned()).or_default().insert(name.to_owned(), amount);
        }
        Self { id: (driver.to_owned(), pool.to_owned(), device.name.clone()), published, reach }
    }

    /// The value of an attribute, by its full name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        let (domain, name) = qualified(name, &self.id.0);
        self.published.attributes.get(domain)?.get(name)
    }
}

/// The domain of a name and the rest; names without one are of the driver's.
fn qualified<'a>(name: &'a str, driver: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((driver, name))
}

/// The devices that a claim has for itself.
pub(super) fn devices_of(allocation: &AllocationResult) -> Vec<DeviceId> {
    let results = allocation.devices.as_ref().and_then(|devices| devices.results.as_ref()).into_iter().flatten();
    let own = results.filter(|result| result.admin_access != Some(true));
    own.map(|result| (result.driver.clone(), result.pool.clone(), result.device.clone())).collect()
}

/// Compiled expressions by their source.
#[derive(Default)]
pub(super) struct Selectors(HashMap<String, Arc<cel::Program>>);

/// So many expressions are kept.
const KEPT: usize = 1000;

impl Selectors {
    /// Compiles selectors. An error is what people read.
    pub(super) fn compile(
        &mut self,
        selectors: Option<&Vec<DeviceSelector>>,
    ) -> Result<Vec<Arc<cel::Program>>, String> {
        let mut programs = Vec::new();
        for source in selectors.into_iter().flatten().filter_map(|selector| selector.cel.as_ref()) {
            if self.0.len() > KEPT {
                self.0.clear();
            }
            if let Some(known) = self.0.get(&source.expression) {
                programs.push(Arc::clone(known));
                continue;
            }
            let program = cel::device::compile(&source.expression);
            let program = Arc::new(program.map_err(|err| format!("CEL compile error: {err}"))?);
            self.0.insert(source.expression.clone(), Arc::clone(&program));
            programs.push(program);
        }
        Ok(programs)
    }
}

/// Devices by driver and pool.
pub(super) type Pools = BTreeMap<(String, String), Vec<Arc<Offer>>>;
