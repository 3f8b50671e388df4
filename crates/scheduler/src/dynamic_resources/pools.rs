//! The devices that can be used from a node: those of complete pools, in the pools' newest generation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceSlice;

use super::model::{Offer, Pools, Reach};
use crate::node_info::NodeInfo;
use crate::placement::selects;

/// All slices by pool, those of older generations left out.
pub(super) fn newest(slices: Vec<Arc<ResourceSlice>>) -> BTreeMap<(String, String), Vec<Arc<ResourceSlice>>> {
    let mut pools = BTreeMap::<(String, String), Vec<Arc<ResourceSlice>>>::new();
    for slice in slices {
        let pool = pools.entry((slice.spec.driver.clone(), slice.spec.pool.name.clone())).or_default();
        match pool.first().map(|first| first.spec.pool.generation) {
            Some(known) if known > slice.spec.pool.generation => {}
            Some(known) if known < slice.spec.pool.generation => *pool = vec![slice],
            _ => pool.push(slice),
        }
    }
    // A pool that is being changed offers nothing until all of it is there, nor one with a name twice.
    pools.retain(|_, slices| {
        let wanted = slices.first().map_or(0, |slice| slice.spec.pool.resource_slice_count);
        let devices = slices.iter().flat_map(|slice| slice.spec.devices.iter().flatten());
        let (mut names, mut unique) = (BTreeSet::new(), true);
        devices.for_each(|device| unique &= names.insert(device.name.as_str()));
        unique && i64::try_from(slices.len()).is_ok_and(|count| count == wanted)
    });
    pools.values_mut().for_each(|slices| slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name)));
    pools
}

/// The devices that can be used from a node.
pub(super) fn of_node(pools: &BTreeMap<(String, String), Vec<Arc<ResourceSlice>>>, node: &NodeInfo) -> Pools {
    let mut offers = Pools::new();
    for ((driver, pool), slices) in pools {
        for slice in slices {
            let Some(reach) = reach(slice, node) else { continue };
            let devices = slice.spec.devices.iter().flatten();
            let of_slice = devices.map(|device| Arc::new(Offer::new(driver, pool, device, reach.clone())));
            offers.entry((driver.clone(), pool.clone())).or_default().extend(of_slice);
        }
    }
    offers
}

fn reach(slice: &ResourceSlice, node: &NodeInfo) -> Option<Reach> {
    let spec = &slice.spec;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return (name == node.name).then(|| Reach::Node(name.to_owned()));
    }
    if spec.all_nodes == Some(true) {
        return Some(Reach::All);
    }
    let selector = spec.node_selector.as_ref()?;
    selects(selector, &node.name, &node.labels).then(|| Reach::Selected(selector.clone()))
}
