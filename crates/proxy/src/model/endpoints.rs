//! Which endpoints of a service port get traffic on this node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServicePort as SpecPort;
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointHints, EndpointSlice};

use super::{Endpoint, NodeTopology};

/// The endpoints of one port.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Usable {
    /// For traffic that may leave the node.
    pub cluster: Vec<Endpoint>,
    /// For traffic that stays on the node.
    pub local: Vec<Endpoint>,
    /// How many endpoints on this node are ready.
    pub local_ready: usize,
}

/// An endpoint with what decides over its use.
#[derive(Clone)]
struct Candidate {
    endpoint: Endpoint,
    ready: bool,
    /// Still serving though its pod is being deleted.
    terminating: bool,
    hints: Option<EndpointHints>,
}

/// Picks the endpoints of a port from the service's slices, for each family by itself: what one lacks the other does not
/// make good.
pub(super) fn usable(port: &SpecPort, slices: &[Arc<EndpointSlice>], node: &NodeTopology) -> Usable {
    let (v4, v6): (Vec<Candidate>, Vec<Candidate>) =
        candidates(port, slices, node).into_iter().partition(|candidate| candidate.endpoint.ip.is_ipv4());
    let (mut all, v6) = (usable_of(&v4, node), usable_of(&v6, node));
    all.cluster.extend(v6.cluster);
    all.local.extend(v6.local);
    // A pod has an address of each family.
    all.local_ready = all.local_ready.max(v6.local_ready);
    all
}

fn usable_of(candidates: &[Candidate], node: &NodeTopology) -> Usable {
    let ready: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.ready).collect();
    let local_ready = ready.iter().filter(|candidate| candidate.endpoint.local).count();
    let near = near(ready, node);
    // Where no endpoint is ready, those that are shutting down but still serve are better than none.
    let fallback = |local_only: bool| {
        let serving = candidates.iter().filter(|candidate| candidate.terminating);
        serving.filter(|candidate| !local_only || candidate.endpoint.local).map(|c| c.endpoint).collect()
    };
    let or = |ready: Vec<Endpoint>, local_only| if ready.is_empty() { fallback(local_only) } else { ready };
    let all_local = candidates.iter().filter(|candidate| candidate.ready && candidate.endpoint.local);
    Usable {
        cluster: or(near.into_iter().map(|candidate| candidate.endpoint).collect(), false),
        local: or(all_local.map(|candidate| candidate.endpoint).collect(), true),
        local_ready,
    }
}

/// The candidates in the order of their addresses, each once however many slices list it.
fn candidates(port: &SpecPort, slices: &[Arc<EndpointSlice>], node: &NodeTopology) -> Vec<Candidate> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let name = port.name.as_deref().unwrap_or_default();
    let mut found: BTreeMap<(IpAddr, u16), Candidate> = BTreeMap::new();
    for slice in slices {
        let same = slice.ports.iter().flatten().find(|candidate| {
            candidate.name.as_deref().unwrap_or_default() == name
                && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        let Some(number) = same.and_then(|port| port.port).and_then(|port| u16::try_from(port).ok()) else { continue };
        for endpoint in slice.endpoints.iter() {
            // Consumers use the first address; the others are never filled by anybody.
            let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse::<IpAddr>().ok()) else { continue };
            let candidate = candidate(endpoint, ip, number, node);
            let known = found.get(&(ip, number));
            if known.is_none_or(|known| !known.ready && candidate.ready) {
                found.insert((ip, number), candidate);
            }
        }
    }
    found.into_values().collect()
}

fn candidate(endpoint: &SliceEndpoint, ip: IpAddr, port: u16, node: &NodeTopology) -> Candidate {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    Candidate {
        endpoint: Endpoint { ip, port, local: endpoint.node_name.as_deref() == Some(&node.name) },
        ready,
        terminating: serving && terminating,
        hints: endpoint.hints.clone(),
    }
}

/// Follows the slices' hints: the endpoints meant for this node, else those meant for its zone, and all of them where
/// an endpoint has no hint or none is meant for here.
fn near<'a>(ready: Vec<&'a Candidate>, node: &NodeTopology) -> Vec<&'a Candidate> {
    let for_node = |candidate: &&Candidate| {
        let nodes = candidate.hints.as_ref().and_then(|hints| hints.for_nodes.as_ref()).filter(|n| !n.is_empty());
        nodes.map(|nodes| nodes.iter().any(|hint| hint.name == node.name))
    };
    let for_zone = |candidate: &&Candidate| {
        let zones = candidate.hints.as_ref().and_then(|hints| hints.for_zones.as_ref()).filter(|z| !z.is_empty());
        zones.map(|zones| zones.iter().any(|hint| Some(&hint.name) == node.zone.as_ref()))
    };
    let pick = |meant: &dyn Fn(&&'a Candidate) -> Option<bool>| {
        let all = ready.iter().map(meant).collect::<Option<Vec<bool>>>()?;
        let picked = ready.iter().zip(all).filter(|(_, meant)| *meant).map(|(c, _)| *c).collect::<Vec<_>>();
        Some(picked).filter(|picked| !picked.is_empty())
    };
    pick(&for_node).or_else(|| pick(&for_zone)).unwrap_or(ready)
}
