//! Endpoints: the older form of endpoint slices, which some clients still read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Context;
use crate::endpointslice::{find_port, is_headless, selects, watch_pods};
use crate::error::{Attempt, SyncError};
use crate::pods;

const WORKERS: usize = 5;
const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// How many addresses an object holds at most; slices hold the rest.
const MAX_ADDRESSES: usize = 1000;

struct Listers {
    services: Lister<Service>,
    pods: Lister<Pod>,
    endpoints: Lister<Endpoints>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (services, pods) = (context.informers.of::<Service>(), context.informers.of::<Pod>());
    let endpoints = context.informers.of::<Endpoints>();
    let listers = Arc::new(Listers { services: services.lister(), pods: pods.lister(), endpoints: endpoints.lister() });
    let controller = Controller::new("endpoints-controller", context.env.clone())
        .workers(WORKERS)
        .watch_own(&services)
        .watch_own(&endpoints);
    watch_pods(controller, &pods, services.lister())
        .run(drain, move |key| {
            let (context, listers) = (context.clone(), Arc::clone(&listers));
            async move { sync(&context, &listers, &key).await }
        })
        .await
}

async fn sync(context: &Context, listers: &Listers, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
    let api: Api<Endpoints> = context.namespaced(key.namespace());
    let known = listers.endpoints.get_key(key);
    let Some(service) = listers.services.get_key(key) else {
        // Those that somebody else made for a service without selector stay, as upstream leaves them to their maker.
        let ours = known.filter(|known| known.metadata.labels.as_ref().is_some_and(|all| all.contains_key(MANAGED_BY)));
        if let Some(ours) = ours {
            let deleted = api.delete(&key.name, &objects::delete_uid(objects::uid(&*ours))).await;
            objects::ignore_not_found(deleted).attempt("delete endpoints", key)?;
        }
        return Ok(None);
    };
    let spec = service.spec.clone().unwrap_or_default();
    let no_selector = spec.selector.as_ref().is_none_or(BTreeMap::is_empty);
    if no_selector || spec.type_.as_deref() == Some("ExternalName") || objects::is_deleting(&*service) {
        return Ok(None);
    }
    let pods = listers.pods.in_namespace(key.namespace());
    let selected =
        pods.iter().filter(|pod| pod.metadata.labels.as_ref().is_some_and(|labels| selects(&service, labels)));
    let wanted = describe(&service, subsets(&service, selected.map(|pod| &**pod)), known.as_deref());
    let result = match known {
        Some(known) if *known == wanted => return Ok(None),
        Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
        None => api.create(&PostParams::default(), &wanted).await,
    };
    match result {
        Err(err) if !objects::is_namespace_terminating(&err) => Err(err).attempt("write endpoints", key),
        _ => Ok(None),
    }
}

/// The object with these subsets: the known one changed where it must be, or a new one.
fn describe(service: &Service, mut subsets: Vec<EndpointSubset>, known: Option<&Endpoints>) -> Endpoints {
    let truncated = truncate(&mut subsets);
    let mut metadata = known.map(|known| known.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    metadata.labels = Some(labels);
    if truncated {
        metadata.annotations.get_or_insert_default().insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

/// Ports in an order that makes equal lists equal.
type Ports = Vec<(String, i32, String, Option<String>)>;

/// The addresses of the pods, those with the same ports together, ready ones apart from others, in order.
fn subsets<'a>(service: &Service, pods: impl Iterator<Item = &'a Pod>) -> Vec<EndpointSubset> {
    let spec = service.spec.clone().unwrap_or_default();
    let publish = spec.publish_not_ready_addresses == Some(true);
    let v6 = spec.ip_families.iter().flatten().next().is_some_and(|family| family == "IPv6");
    let mut by_ports: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in pods {
        if pods::is_terminal(pod) || (objects::is_deleting(pod) && !publish) {
            continue;
        }
        let Some(address) = address(service, pod, v6) else { continue };
        let mut ports: Ports = Vec::new();
        for port in spec.ports.iter().flatten() {
            let Some(number) = find_port(pod, port) else { continue };
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            ports.push((port.name.clone().unwrap_or_default(), number, protocol, port.app_protocol.clone()));
        }
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        ports.sort();
        let (ready, not_ready) = by_ports.entry(ports).or_default();
        if publish || pods::is_ready(pod) { ready } else { not_ready }.push(address);
    }
    by_ports.into_iter().map(|(ports, (ready, not_ready))| subset(ports, ready, not_ready)).collect()
}

fn subset(ports: Ports, ready: Vec<EndpointAddress>, not_ready: Vec<EndpointAddress>) -> EndpointSubset {
    let sorted = |mut addresses: Vec<EndpointAddress>| {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        (!addresses.is_empty()).then_some(addresses)
    };
    let port = |(name, port, protocol, app_protocol): (String, i32, String, Option<String>)| EndpointPort {
        name: Some(name).filter(|name| !name.is_empty()),
        port,
        protocol: Some(protocol),
        app_protocol,
    };
    EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(not_ready),
        ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
    }
}

fn address(service: &Service, pod: &Pod, v6: bool) -> Option<EndpointAddress> {
    let status = pod.status.as_ref()?;
    let mut ips = status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(&status.pod_ip);
    let ip = ips.find(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6))?;
    let spec = pod.spec.as_ref();
    let hostname = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let subdomain = spec.and_then(|spec| spec.subdomain.as_ref());
    Some(EndpointAddress {
        ip: ip.clone(),
        node_name: spec.and_then(|spec| spec.node_name.clone()),
        hostname: hostname.filter(|_| subdomain == service.metadata.name.as_ref()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Cuts down to the capacity, ready addresses first. Returns whether something was cut.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let mut room = MAX_ADDRESSES;
    let mut cut = false;
    let mut keep = |addresses: &mut Option<Vec<EndpointAddress>>| {
        if let Some(list) = addresses {
            cut |= list.len() > room;
            list.truncate(room);
            room -= list.len();
            if list.is_empty() {
                *addresses = None;
            }
        }
    };
    subsets.iter_mut().for_each(|subset| keep(&mut subset.addresses));
    subsets.iter_mut().for_each(|subset| keep(&mut subset.not_ready_addresses));
    cut
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, pod, service};

    use super::*;

    /// The subsets as `ready|not ready:ports`.
    #[track_caller]
    fn check(service: Maker<Service>, pods: Vec<Maker<Pod>>, expected: &[&str]) {
        let pods: Vec<Pod> = pods.into_iter().map(Maker::build).collect();
        let join = |addresses: &Option<Vec<EndpointAddress>>| {
            addresses.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>().join(",")
        };
        let got: Vec<String> = subsets(&service.build(), pods.iter())
            .iter()
            .map(|subset| {
                let ports: Vec<String> = subset.ports.iter().flatten().map(|port| port.port.to_string()).collect();
                format!("{}|{}:{}", join(&subset.addresses), join(&subset.not_ready_addresses), ports.join(","))
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn ready_addresses_are_apart_and_ports_together() {
        let at = |ip: &str| pod(ip).ip(ip).container("c", "i");
        let web = || service("web").port("http", 80, 8080);
        check(web(), vec![], &[]);
        check(
            web(),
            vec![at("10.0.0.2").ready(), at("10.0.0.1").ready(), at("10.0.0.3"), at("10.0.0.4").ready().deleting(1)],
            &["10.0.0.1,10.0.0.2|10.0.0.3:8080"],
        );
        check(
            service("web").named_port("http", 80, "web"),
            vec![
                at("10.0.0.1").port("web", 9090, "TCP").ready(),
                at("10.0.0.2").port("web", 8080, "TCP").ready(),
                at("10.0.0.3").ready(),
            ],
            &["10.0.0.2|:8080", "10.0.0.1|:9090"],
        );
        check(service("db").cluster_ip("None"), vec![at("10.0.0.1").ready()], &["10.0.0.1|:"]);
    }
}
