//! From the slices that are there to the ones that should be, with as few writes as possible.

use std::collections::BTreeMap;

use client::objects;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::ObjectMeta;

use super::desired::{Group, group};
use super::{CONTROLLER, MANAGED_BY, SERVICE_NAME, is_headless};

/// How many endpoints a slice holds at most.
const MAX_ENDPOINTS: usize = 100;
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What has to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
}

/// A slice while it is worked on.
struct Work {
    slice: EndpointSlice,
    changed: bool,
}

/// Computes the changes. Endpoints stay in the slice where they are; new ones fill slices that change anyway, then
/// one with room for all of them, then new slices.
pub(super) fn diff(
    service: &Service,
    existing: Vec<EndpointSlice>,
    desired: BTreeMap<Group, Vec<Endpoint>>,
) -> Changes {
    let mut by_group: BTreeMap<Group, Vec<EndpointSlice>> = BTreeMap::new();
    for slice in existing {
        let key = group(&slice.address_type, slice.ports.as_deref().unwrap_or_default());
        by_group.entry(key).or_default().push(slice);
    }
    let mut changes = Changes::default();
    for (group, endpoints) in desired {
        let slices = by_group.remove(&group).unwrap_or_default();
        diff_group(service, &group, slices, endpoints, &mut changes);
    }
    changes.delete.extend(by_group.into_values().flatten());
    reuse_deleted(&mut changes);
    changes
}

fn diff_group(
    service: &Service,
    group: &Group,
    slices: Vec<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changes: &mut Changes,
) {
    let mut wanted: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let is_placeholder = wanted.is_empty();
    let mut work: Vec<Work> = slices
        .into_iter()
        .map(|mut slice| {
            let mut changed = describe(service, &mut slice);
            let before = std::mem::take(&mut slice.endpoints);
            for endpoint in before {
                match wanted.remove(&identity(&endpoint)) {
                    Some(now) => {
                        changed |= !same(&now, &endpoint);
                        // Hints are not ours to take away as long as the endpoint is the same.
                        slice.endpoints.push(now);
                    }
                    None => changed = true,
                }
            }
            Work { slice, changed }
        })
        .collect();

    let mut new: Vec<Endpoint> = wanted.into_values().collect();
    // The fullest first, so that slices become full or empty rather than half full.
    work.sort_by_key(|work| std::cmp::Reverse(work.slice.endpoints.len()));
    for work in work.iter_mut().filter(|work| work.changed) {
        fill(work, &mut new);
    }
    let room = |work: &&mut Work| work.slice.endpoints.len() + new.len() <= MAX_ENDPOINTS;
    if !new.is_empty()
        && let Some(fitting) = work.iter_mut().find(room)
    {
        fill(fitting, &mut new);
    }
    while !new.is_empty() {
        let mut fresh = Work { slice: fresh(service, group), changed: true };
        fill(&mut fresh, &mut new);
        changes.create.push(fresh.slice);
    }

    let mut placeholder_kept = !is_placeholder;
    for Work { slice, changed } in work {
        if slice.endpoints.is_empty() && std::mem::replace(&mut placeholder_kept, true) {
            changes.delete.push(slice);
        } else if changed {
            changes.update.push(slice);
        }
    }
    if !placeholder_kept {
        changes.create.push(fresh(service, group));
    }
}

fn fill(work: &mut Work, new: &mut Vec<Endpoint>) {
    let room = MAX_ENDPOINTS.saturating_sub(work.slice.endpoints.len()).min(new.len());
    if room > 0 {
        work.slice.endpoints.extend(new.drain(..room));
        work.changed = true;
    }
}

/// A slice that would be deleted while one of the same address type is created becomes that one: watchers then see
/// one change instead of a moment without endpoints.
fn reuse_deleted(changes: &mut Changes) {
    let creates = std::mem::take(&mut changes.create);
    for create in creates {
        let same_type = |slice: &EndpointSlice| slice.address_type == create.address_type;
        match changes.delete.iter().position(same_type) {
            Some(index) => {
                let old = changes.delete.remove(index);
                let metadata = ObjectMeta { labels: create.metadata.labels, ..old.metadata };
                changes.update.push(EndpointSlice { metadata, ..create });
            }
            None => changes.create.push(create),
        }
    }
}

/// What makes two endpoints the same one, whatever their state.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{uid} {}", endpoint.addresses.join(","))
}

fn same(a: &Endpoint, b: &Endpoint) -> bool {
    let plain = |endpoint: &Endpoint| Endpoint { hints: None, ..endpoint.clone() };
    plain(a) == plain(b)
}

fn fresh(service: &Service, group: &Group) -> EndpointSlice {
    let mut slice = EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", objects::name(service))),
            namespace: service.metadata.namespace.clone(),
            owner_references: Some(vec![objects::controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: group.address_type.clone(),
        endpoints: Vec::new(),
        ports: Some(group.ports.iter().map(super::desired::Port::to_api).collect()),
    };
    describe(service, &mut slice);
    slice
}

/// Gives a slice the labels it should have: those of the service and our own. Returns whether something changed.
fn describe(service: &Service, slice: &mut EndpointSlice) -> bool {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    for reserved in [SERVICE_NAME, MANAGED_BY, HEADLESS] {
        labels.remove(reserved);
    }
    labels.insert(SERVICE_NAME.to_owned(), objects::name(service).to_owned());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let changed = slice.metadata.labels.as_ref() != Some(&labels);
    slice.metadata.labels = Some(labels);
    changed
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use testkit::{Maker, endpoint_slice, pod, service};

    use super::*;

    fn web() -> Service {
        service("web").port("", 80, 8080).build()
    }

    fn wanted(numbers: impl IntoIterator<Item = usize>) -> BTreeMap<Group, Vec<Endpoint>> {
        let pods: Vec<Pod> = numbers.into_iter().map(made).map(Maker::build).collect();
        super::super::desired::of(&web(), pods.iter(), &|_| None)
    }

    fn made(number: usize) -> Maker<Pod> {
        pod(&format!("p{number:03}")).ip(&format!("10.0.{}.{}", number / 250, number % 250 + 1)).ready().node("n")
    }

    /// A slice as this controller would have written it.
    fn slice(name: &str, numbers: impl IntoIterator<Item = usize>) -> EndpointSlice {
        let endpoints: Vec<Endpoint> = wanted(numbers).into_values().flatten().collect();
        let made = endpoint_slice(name, "web").controlled_by(&web()).port("", 8080);
        made.with(|slice| slice.endpoints = endpoints).build()
    }

    /// The changes as `+n` (created with n endpoints), `name=n` (updated), `-name`.
    #[track_caller]
    fn check(existing: Vec<EndpointSlice>, desired: BTreeMap<Group, Vec<Endpoint>>, expected: &[&str]) {
        let changes = diff(&web(), existing, desired);
        let mut got = Vec::new();
        got.extend(changes.create.iter().map(|slice| format!("+{}", slice.endpoints.len())));
        got.extend(changes.update.iter().map(|slice| format!("{}={}", objects::name(slice), slice.endpoints.len())));
        got.extend(changes.delete.iter().map(|slice| format!("-{}", objects::name(slice))));
        assert_eq!(got, expected);
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        check(vec![slice("a", 0..3)], wanted(0..3), &[]);
        check(vec![slice("a", 0..100), slice("b", 100..120)], wanted(0..120), &[]);
    }

    #[test]
    fn the_first_endpoints_make_slices() {
        check(vec![], wanted(0..3), &["+3"]);
        check(vec![], wanted(0..250), &["+100", "+100", "+50"]);
    }

    #[test]
    fn only_slices_that_must_are_written() {
        check(vec![slice("a", 0..50), slice("b", 50..60)], wanted(0..61), &["a=51"]);
        check(vec![slice("a", 0..100), slice("b", 100..110)], wanted(0..111), &["b=11"]);
        check(vec![slice("a", 0..100), slice("b", 100..110)], wanted(1..111), &["a=100"]);
        check(vec![slice("a", 0..2), slice("b", 2..4)], wanted(0..2), &["-b"]);
    }

    #[test]
    fn a_service_without_endpoints_keeps_one_empty_slice() {
        check(vec![], wanted([]), &["+0"]);
        check(vec![slice("a", 0..2)], wanted([]), &["a=0"]);
    }

    #[test]
    fn a_changed_port_changes_the_slice_in_place() {
        let other = EndpointSlice { ports: None, ..slice("a", 0..2) };
        check(vec![other], wanted(0..2), &["a=2"]);
    }

    #[test]
    fn changed_labels_of_the_service_reach_the_slices() {
        let mut outdated = slice("a", 0..2);
        outdated.metadata.labels.get_or_insert_default().insert("team".to_owned(), "gone".to_owned());
        check(vec![outdated], wanted(0..2), &["a=2"]);
    }

    #[test]
    fn a_slice_belongs_to_its_service() {
        let changes = diff(&service("db").label("team", "x").cluster_ip("None").build(), vec![], wanted(0..1));
        let meta = &changes.create[0].metadata;
        let labels: Vec<&str> = meta.labels.iter().flatten().map(|(key, _)| key.as_str()).collect();
        assert_eq!(labels, [MANAGED_BY, SERVICE_NAME, HEADLESS, "team"]);
        assert_eq!(objects::controller_of(meta).map(|owner| owner.kind.as_str()), Some("Service"));
        assert_eq!(meta.generate_name.as_deref(), Some("db-"));
    }
}
