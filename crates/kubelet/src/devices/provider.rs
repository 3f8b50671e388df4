//! Devices as the topology manager sees them: from which NUMA nodes they could come, and what is set aside.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::ledger::NumaNodes;
use super::{Devices, Held};
use crate::managers::{AllocationError, Hint, HintProvider, Hints, NodeMask, peak, preferring};
use crate::pods::spec;

impl HintProvider for Devices {
    fn container_hints(&self, pod: &Pod, container: &Container) -> Hints {
        let mut hints = Hints::new();
        let held = self.held(spec::uid(pod), &container.name);
        let reusable = self.reusable(pod, container);
        for (resource, asked) in self.asked(container) {
            let shared = reusable.get(&resource).cloned().unwrap_or_default();
            let had = held.get(&resource);
            hints
                .extend(self.places(pod, &container.name, (&resource, asked), had, &shared).map(|all| (resource, all)));
        }
        hints
    }

    fn pod_hints(&self, pod: &Pod) -> Hints {
        let all = || spec::init_containers(pod).iter().chain(spec::containers(pod));
        let resources: BTreeSet<String> =
            all().flat_map(|container| self.asked(container)).map(|(resource, _)| resource).collect();
        let mut hints = Hints::new();
        for resource in resources {
            let of = |container: &Container| {
                let asked = self.asked(container);
                asked.iter().find(|(name, _)| *name == resource).map_or(0, |(_, count)| *count as u64)
            };
            let asked = usize::try_from(peak(pod, of)).unwrap_or(usize::MAX);
            let mut had = Held::new();
            for container in all() {
                had.extend(self.held(spec::uid(pod), &container.name).remove(&resource).unwrap_or_default());
            }
            let had = Some(had).filter(|had| !had.is_empty());
            let places = self.places(pod, "", (&resource, asked), had.as_ref(), &BTreeSet::new());
            hints.extend(places.map(|all| (resource, all)));
        }
        hints
    }

    fn allocate<'a>(
        &'a self,
        pod: &'a Pod,
        container: &'a Container,
        hint: Hint,
    ) -> BoxFuture<'a, Result<(), AllocationError>> {
        async move {
            let near = hint.nodes.map(|mask| mask.nodes().into_iter().map(i64::from).collect::<NumaNodes>());
            self.give(pod, container, near.as_ref()).await.map_err(AllocationError::unexpected)
        }
        .boxed()
    }

    fn release<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()> {
        async move { self.forget(uid) }.boxed()
    }

    fn holders(&self) -> Vec<String> {
        self.lock().granted.keys().cloned().collect()
    }
}

impl Devices {
    /// The sets of nodes that have enough devices of a resource; `None` where it does not matter.
    fn places(
        &self,
        pod: &Pod,
        container: &str,
        (resource, asked): (&str, usize),
        had: Option<&Held>,
        shared: &BTreeSet<String>,
    ) -> Option<Vec<Hint>> {
        let ledger = self.lock();
        let devices = &ledger.resources.get(resource)?.devices;
        let nodes: BTreeSet<u32> =
            devices.values().flat_map(|device| &device.nodes).filter_map(|node| u32::try_from(*node).ok()).collect();
        if nodes.is_empty() {
            return None;
        }
        let (free, shared) = match had {
            Some(had) if had.len() == asked => (had.keys().cloned().collect(), &BTreeSet::new()),
            Some(_) => return Some(Vec::new()),
            None => match ledger.available((spec::uid(pod), container), resource, asked, shared) {
                Ok(free) => (free.unwrap_or_default(), shared),
                Err(_) => return Some(Vec::new()),
            },
        };
        let near: BTreeMap<&String, NodeMask> = devices
            .iter()
            .map(|(id, device)| (id, NodeMask::of(device.nodes.iter().filter_map(|node| u32::try_from(*node).ok()))))
            .collect();
        let inside = |id: &String, mask: NodeMask| near.get(id).is_some_and(|nodes| nodes.and(mask).count() > 0);
        let (mut least, mut masks) = (nodes.len(), Vec::new());
        for mask in NodeMask::all_of(&nodes) {
            if devices.keys().filter(|id| inside(id, mask)).count() >= asked {
                least = least.min(mask.count());
            }
            let can = free.union(shared).filter(|id| inside(id, mask)).count();
            if can >= asked && shared.iter().all(|id| inside(id, mask)) {
                masks.push(mask);
            }
        }
        Some(preferring(masks, |mask| mask.count() == least))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::Env;
    use serde_json::json;
    use testkit::pod;

    use super::super::ledger::{Device, Granted, Resource};
    use super::*;

    const NAME: &str = "example.com/foo";

    /// Two devices near to node 0, one near to node 1.
    fn devices() -> (tempfile::TempDir, Devices) {
        let dir = tempfile::tempdir().expect("a directory");
        let devices = Devices::restore(dir.path().to_owned(), Env::system());
        let device = |node: i64| Device { healthy: true, nodes: [node].into() };
        let mut resource = Resource::default();
        resource.devices.extend([("a", 0), ("b", 0), ("c", 1)].map(|(id, node)| (id.to_owned(), device(node))));
        devices.lock().resources.insert(NAME.to_owned(), resource);
        (dir, devices)
    }

    fn asking(count: u32) -> Arc<Pod> {
        let limits = json!({"limits": {NAME: count.to_string()}});
        let with = move |pod: &mut Pod| {
            let container = &mut pod.spec.as_mut().expect("there").containers[0];
            container.resources = serde_json::from_value(limits).expect("resources");
        };
        Arc::new(pod("web").uid("u1").container("main", "image").with(with).build())
    }

    #[track_caller]
    fn check(devices: &Devices, count: u32, expected: &[(&[u32], bool)]) {
        let pod = asking(count);
        let of_container = devices.container_hints(&pod, &spec::containers(&pod)[0]);
        let found: Vec<(Vec<u32>, bool)> = of_container[NAME]
            .iter()
            .map(|hint| (hint.nodes.expect("nodes").nodes().into_iter().collect(), hint.preferred))
            .collect();
        assert_eq!(found, expected.iter().map(|(nodes, best)| (nodes.to_vec(), *best)).collect::<Vec<_>>());
        assert_eq!(devices.pod_hints(&pod), of_container);
    }

    #[test]
    fn devices_come_from_the_nodes_that_have_enough_of_them() {
        let (_dir, devices) = devices();
        check(&devices, 1, &[(&[0], true), (&[1], true), (&[0, 1], false)]);
        check(&devices, 2, &[(&[0], true), (&[0, 1], false)]);
        check(&devices, 3, &[(&[0, 1], true)]);
        check(&devices, 4, &[]);
        let granted =
            |id: &str, node: i64| Granted { devices: [(id.to_owned(), [node].into())].into(), ..Default::default() };
        devices.lock().grant(("u2", "main"), NAME, granted("a", 0));
        check(&devices, 2, &[(&[0, 1], false)]);
        // What a container has it keeps.
        devices.lock().grant(("u1", "main"), NAME, granted("c", 1));
        check(&devices, 1, &[(&[1], true), (&[0, 1], false)]);
        check(&devices, 2, &[]);
    }
}
