//! `PodSandboxStats` and `ListPodSandboxStats`: the sums of a pod's containers, and what went over its network.

use std::sync::Arc;

use cri::{
    ContainerStats, CpuUsage, LinuxPodSandboxStats, ListPodSandboxRequest, ListPodSandboxStatsRequest,
    ListPodSandboxStatsResponse, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes,
    PodSandboxFilter, PodSandboxState, PodSandboxStateValue, PodSandboxStats, PodSandboxStatsRequest,
    PodSandboxStatsResponse, Status, UInt64Value,
};
use jiff::Timestamp;

use super::value;
use crate::engine::Engine;
use crate::record;
use crate::sandbox::{self, POD_INTERFACE, Sandbox, pod_interfaces};
use crate::times::nanoseconds;

/// One sandbox.
pub(crate) async fn one(
    engine: &Arc<Engine>,
    request: PodSandboxStatsRequest,
) -> Result<PodSandboxStatsResponse, Status> {
    let sandbox = Sandbox::get(engine, &request.pod_sandbox_id).await?;
    Ok(PodSandboxStatsResponse { stats: Some(of(engine, sandbox).await?) })
}

/// All that are ready.
pub(crate) async fn list(
    engine: &Arc<Engine>,
    request: ListPodSandboxStatsRequest,
) -> Result<ListPodSandboxStatsResponse, Status> {
    let wanted = request.filter.unwrap_or_default();
    let filter = PodSandboxFilter {
        id: wanted.id,
        label_selector: wanted.label_selector,
        state: Some(PodSandboxStateValue { state: PodSandboxState::SandboxReady.into() }),
    };
    let found = sandbox::list(engine, ListPodSandboxRequest { filter: Some(filter) }).await?;
    let mut stats = Vec::with_capacity(found.items.len());
    for item in found.items {
        // One that goes meanwhile is left out.
        if let Some(sandbox) = Sandbox::find(engine, &item.id).await? {
            stats.push(of(engine, sandbox).await?);
        }
    }
    Ok(ListPodSandboxStatsResponse { stats })
}

async fn of(engine: &Engine, sandbox: Sandbox) -> Result<PodSandboxStats, Status> {
    let containers = super::container::all(engine, &record::containers_of(&sandbox.id)).await?;
    let now = engine.env.now();
    let config = &sandbox.record.config;
    Ok(PodSandboxStats {
        attributes: Some(PodSandboxAttributes {
            id: sandbox.id.clone(),
            metadata: Some(sandbox.record.metadata()),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        }),
        linux: Some(LinuxPodSandboxStats {
            cpu: Some(cpu(&containers, now)),
            memory: Some(memory(&containers, now)),
            network: pod_interfaces(&sandbox).map(|text| network(&text, now)),
            process: None,
            io: None,
            containers,
        }),
        windows: None,
    })
}

/// The sum of what containers have; nothing where none has it.
fn sum<'a>(figures: impl Iterator<Item = Option<&'a UInt64Value>>) -> Option<UInt64Value> {
    figures.flatten().map(|figure| figure.value).reduce(u64::saturating_add).map(|value| UInt64Value { value })
}

fn cpu(containers: &[ContainerStats], now: Timestamp) -> CpuUsage {
    let all = || containers.iter().filter_map(|container| container.cpu.as_ref());
    CpuUsage {
        timestamp: nanoseconds(now),
        usage_core_nano_seconds: sum(all().map(|cpu| cpu.usage_core_nano_seconds.as_ref())),
        usage_nano_cores: sum(all().map(|cpu| cpu.usage_nano_cores.as_ref())),
        psi: None,
    }
}

fn memory(containers: &[ContainerStats], now: Timestamp) -> MemoryUsage {
    let all = || containers.iter().filter_map(|container| container.memory.as_ref());
    MemoryUsage {
        timestamp: nanoseconds(now),
        working_set_bytes: sum(all().map(|memory| memory.working_set_bytes.as_ref())),
        usage_bytes: sum(all().map(|memory| memory.usage_bytes.as_ref())),
        rss_bytes: sum(all().map(|memory| memory.rss_bytes.as_ref())),
        page_faults: sum(all().map(|memory| memory.page_faults.as_ref())),
        major_page_faults: sum(all().map(|memory| memory.major_page_faults.as_ref())),
        available_bytes: None,
        psi: None,
    }
}

fn network(text: &str, now: Timestamp) -> NetworkUsage {
    let mut interfaces = interfaces(text);
    let default = interfaces.iter().position(|interface| interface.name == POD_INTERFACE);
    let default_interface = default.map(|position| interfaces.remove(position));
    NetworkUsage { timestamp: nanoseconds(now), default_interface, interfaces }
}

/// The counters in the text of `/proc/net/dev`.
fn interfaces(text: &str) -> Vec<NetworkInterfaceUsage> {
    let parse = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let counter = |column: usize| value(counters.get(column).copied());
        Some(NetworkInterfaceUsage {
            name: name.trim().to_owned(),
            rx_bytes: counter(0),
            rx_errors: counter(2),
            tx_bytes: counter(8),
            tx_errors: counter(10),
        })
    };
    text.lines().filter_map(parse).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_use() {
        let stats = |used| ContainerStats {
            cpu: Some(CpuUsage { usage_core_nano_seconds: value(Some(used)), ..CpuUsage::default() }),
            ..ContainerStats::default()
        };
        let usage = cpu(&[stats(3), stats(4)], Timestamp::UNIX_EPOCH);
        assert_eq!((usage.usage_core_nano_seconds, usage.usage_nano_cores), (value(Some(7)), None));
    }

    #[test]
    fn interface_counters_are_read() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n\
                    \x20 lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                    eth0: 100 2 3 0 0 0 0 0 400 5 6 0 0 0 0 0\n";
        let usage = network(text, Timestamp::UNIX_EPOCH);
        let eth0 = usage.default_interface.expect("the pod's interface");
        assert_eq!((eth0.rx_bytes, eth0.rx_errors), (value(Some(100)), value(Some(3))));
        assert_eq!((eth0.tx_bytes, eth0.tx_errors), (value(Some(400)), value(Some(6))));
        assert!(usage.interfaces.is_empty());
    }
}
