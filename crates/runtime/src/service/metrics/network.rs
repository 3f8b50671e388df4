//! The metrics of a pod: its network, which its containers share.

use cri::NetworkInterfaceUsage;

use super::{Family, Value, counter};

/// An interface with all of its counters.
#[derive(Debug)]
pub(in crate::service) struct Interface {
    pub usage: NetworkInterfaceUsage,
    pub rx_packets: u64,
    pub rx_dropped: u64,
    pub tx_packets: u64,
    pub tx_dropped: u64,
}

fn each(interfaces: &[Interface], value: fn(&Interface) -> Option<u64>) -> Vec<Value> {
    let named = |interface: &Interface| Some((vec![interface.usage.name.clone()], value(interface)?));
    interfaces.iter().filter_map(named).collect()
}

const LABELS: &[&str] = &["interface"];

/// Everything.
pub(super) const FAMILIES: &[Family<[Interface]>] = &[
    counter("container_network_receive_bytes_total", "Bytes received.", LABELS, |all| {
        each(all, |one| one.usage.rx_bytes.as_ref().map(|bytes| bytes.value))
    }),
    counter("container_network_receive_errors_total", "Errors while receiving.", LABELS, |all| {
        each(all, |one| one.usage.rx_errors.as_ref().map(|errors| errors.value))
    }),
    counter("container_network_receive_packets_total", "Packets received.", LABELS, |all| {
        each(all, |one| Some(one.rx_packets))
    }),
    counter("container_network_receive_packets_dropped_total", "Received packets that were dropped.", LABELS, |all| {
        each(all, |one| Some(one.rx_dropped))
    }),
    counter("container_network_transmit_bytes_total", "Bytes sent.", LABELS, |all| {
        each(all, |one| one.usage.tx_bytes.as_ref().map(|bytes| bytes.value))
    }),
    counter("container_network_transmit_errors_total", "Errors while sending.", LABELS, |all| {
        each(all, |one| one.usage.tx_errors.as_ref().map(|errors| errors.value))
    }),
    counter("container_network_transmit_packets_total", "Packets sent.", LABELS, |all| {
        each(all, |one| Some(one.tx_packets))
    }),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Packets dropped before they were sent.",
        LABELS,
        |all| each(all, |one| Some(one.tx_dropped)),
    ),
];
