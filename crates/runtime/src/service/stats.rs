//! Calls about what containers and sandboxes use.

use std::fs;
use std::sync::Arc;

use cri::{
    ContainerAttributes, ContainerStats, ContainerStatsRequest, ContainerStatsResponse, CpuUsage, FilesystemIdentifier,
    FilesystemUsage, IoUsage, LinuxPodSandboxStats, ListContainerStatsRequest, ListContainerStatsResponse,
    ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, MemoryUsage, NetworkInterfaceUsage, NetworkUsage,
    PodSandboxAttributes, PodSandboxStats, PodSandboxStatsRequest, PodSandboxStatsResponse, ProcessUsage, Status,
    SwapUsage, UInt64Value,
};
use jiff::Timestamp;

use super::errors::{no_container, no_sandbox};
use super::metrics::Interface;
use crate::cgroup::{Cgroup, CgroupStats, CpuRate};
use crate::container::{Container, ContainerState, labels_match};
use crate::engine::Engine;
use crate::sandbox::{Sandbox, SandboxPhase, is_host_network, metadata};
use crate::status::nanoseconds;

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|err| Status::internal(err.to_string()))
}

pub(super) async fn container_stats(
    engine: &Arc<Engine>,
    request: ContainerStatsRequest,
) -> Result<ContainerStatsResponse, Status> {
    let id = &request.container_id;
    let container = engine.container(id).ok_or_else(|| no_container(id))?;
    let worker = engine.clone();
    let stats = blocking(move || of_container(&worker, &container)).await?;
    Ok(ContainerStatsResponse { stats: Some(stats) })
}

pub(super) async fn list_container_stats(
    engine: &Arc<Engine>,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse, Status> {
    let filter = request.filter.unwrap_or_default();
    let worker = engine.clone();
    let stats = blocking(move || {
        let fits = |container: &&Arc<Container>| {
            let record = container.record();
            matches!(container.state(), ContainerState::Running(_))
                && record.id.as_str().starts_with(&filter.id)
                && record.sandbox.as_str().starts_with(&filter.pod_sandbox_id)
                && labels_match(&record.config.labels, &filter.label_selector)
        };
        let containers = worker.containers();
        containers.iter().filter(fits).map(|container| of_container(&worker, container)).collect()
    });
    Ok(ListContainerStatsResponse { stats: stats.await? })
}

pub(super) async fn pod_sandbox_stats(
    engine: &Arc<Engine>,
    request: PodSandboxStatsRequest,
) -> Result<PodSandboxStatsResponse, Status> {
    let id = &request.pod_sandbox_id;
    let sandbox = engine.sandbox(id).ok_or_else(|| no_sandbox(id))?;
    let worker = engine.clone();
    let stats = blocking(move || of_sandbox(&worker, &sandbox)).await?;
    Ok(PodSandboxStatsResponse { stats: Some(stats) })
}

pub(super) async fn list_pod_sandbox_stats(
    engine: &Arc<Engine>,
    request: ListPodSandboxStatsRequest,
) -> Result<ListPodSandboxStatsResponse, Status> {
    let filter = request.filter.unwrap_or_default();
    let worker = engine.clone();
    let stats = blocking(move || {
        let fits = |sandbox: &&Arc<Sandbox>| {
            let record = sandbox.record();
            record.phase == SandboxPhase::Ready
                && record.id.as_str().starts_with(&filter.id)
                && labels_match(&record.config.labels, &filter.label_selector)
        };
        worker.sandboxes().iter().filter(fits).map(|sandbox| of_sandbox(&worker, sandbox)).collect()
    });
    Ok(ListPodSandboxStatsResponse { stats: stats.await? })
}

fn value(value: Option<u64>) -> Option<UInt64Value> {
    value.map(|value| UInt64Value { value })
}

fn of_container(engine: &Engine, container: &Container) -> ContainerStats {
    let record = container.record();
    let cgroup = Cgroup::new(&record.cgroup);
    let stats = cgroup.stats();
    let now = engine.env.now();
    let layer = container.paths().written();
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: record.id.to_string(),
            metadata: record.config.metadata.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        cpu: cpu(&cgroup, &stats, now, &container.cpu_rate),
        memory: memory(&cgroup, &stats, now),
        io: io(&cgroup, now),
        writable_layer: Some(FilesystemUsage {
            timestamp: nanoseconds(now),
            fs_id: Some(FilesystemIdentifier { mountpoint: engine.paths.containers().display().to_string() }),
            used_bytes: value(Some(layer.bytes)),
            inodes_used: value(Some(layer.inodes)),
        }),
        swap: stats.swap_usage.map(|usage| SwapUsage {
            timestamp: nanoseconds(now),
            swap_available_bytes: value(stats.swap_limit.map(|limit| limit.saturating_sub(usage))),
            swap_usage_bytes: value(Some(usage)),
        }),
    }
}

fn cpu(cgroup: &Cgroup, stats: &CgroupStats, now: Timestamp, rate: &CpuRate) -> Option<CpuUsage> {
    let used = stats.cpu_nanoseconds?;
    Some(CpuUsage {
        timestamp: nanoseconds(now),
        usage_core_nano_seconds: value(Some(used)),
        usage_nano_cores: value(rate.since_last(now, used)),
        psi: cgroup.pressure("cpu"),
    })
}

fn memory(cgroup: &Cgroup, stats: &CgroupStats, now: Timestamp) -> Option<MemoryUsage> {
    let usage = stats.memory_usage?;
    let working_set = stats.memory_working_set.unwrap_or(usage);
    Some(MemoryUsage {
        timestamp: nanoseconds(now),
        working_set_bytes: value(Some(working_set)),
        available_bytes: value(stats.memory_limit.map(|limit| limit.saturating_sub(working_set))),
        usage_bytes: value(Some(usage)),
        rss_bytes: value(stats.memory_rss),
        page_faults: value(stats.page_faults),
        major_page_faults: value(stats.major_page_faults),
        psi: cgroup.pressure("memory"),
    })
}

fn io(cgroup: &Cgroup, now: Timestamp) -> Option<IoUsage> {
    let psi = cgroup.pressure("io")?;
    Some(IoUsage { timestamp: nanoseconds(now), psi: Some(psi) })
}

fn of_sandbox(engine: &Engine, sandbox: &Sandbox) -> PodSandboxStats {
    let record = sandbox.record();
    let now = engine.env.now();
    let cgroup = Cgroup::new(&sandbox.paths().cgroup_parent(&record.config));
    let stats = cgroup.stats();
    let containers = engine.containers_of(sandbox.id());
    let running = containers.iter().filter(|container| matches!(container.state(), ContainerState::Running(_)));
    let processes = stats.pids.unwrap_or_else(|| cgroup.processes().len() as u64);
    PodSandboxStats {
        attributes: Some(PodSandboxAttributes {
            id: record.id.to_string(),
            metadata: Some(metadata(&record.config)),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        linux: Some(LinuxPodSandboxStats {
            cpu: cpu(&cgroup, &stats, now, &sandbox.cpu_rate),
            memory: memory(&cgroup, &stats, now),
            io: io(&cgroup, now),
            network: network(sandbox, now),
            process: Some(ProcessUsage { timestamp: nanoseconds(now), process_count: value(Some(processes)) }),
            containers: running.map(|container| of_container(engine, container)).collect(),
        }),
        windows: None,
    }
}

/// The name of a pod's interface.
const POD_INTERFACE: &str = "eth0";

fn network(sandbox: &Sandbox, now: Timestamp) -> Option<NetworkUsage> {
    let mut interfaces: Vec<_> = interfaces(sandbox)?.into_iter().map(|interface| interface.usage).collect();
    let default = interfaces.iter().position(|interface| interface.name == POD_INTERFACE);
    let default_interface = default.map(|position| interfaces.remove(position));
    Some(NetworkUsage { timestamp: nanoseconds(now), default_interface, interfaces })
}

/// The interfaces of a pod's own network, but for the loopback.
pub(super) fn interfaces(sandbox: &Sandbox) -> Option<Vec<Interface>> {
    if is_host_network(&sandbox.record().config) {
        return None;
    }
    let read = || fs::read_to_string("/proc/thread-self/net/dev");
    let text = network::netns::run_in(&sandbox.paths().namespace("net"), read).ok()?.ok()?;
    let mut interfaces = parse_interfaces(&text);
    interfaces.retain(|interface| interface.usage.name != "lo");
    Some(interfaces)
}

/// The counters in the text of `/proc/net/dev`.
fn parse_interfaces(text: &str) -> Vec<Interface> {
    let parse = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let usage = NetworkInterfaceUsage {
            name: name.trim().to_owned(),
            rx_bytes: value(counters.first().copied()),
            rx_errors: value(counters.get(2).copied()),
            tx_bytes: value(counters.get(8).copied()),
            tx_errors: value(counters.get(10).copied()),
        };
        let [rx_packets, rx_dropped, tx_packets, tx_dropped] =
            [1, 3, 9, 11].map(|column: usize| counters.get(column).copied().unwrap_or(0));
        Some(Interface { usage, rx_packets, rx_dropped, tx_packets, tx_dropped })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_counters_are_read() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n\
                    eth0: 100 2 3 0 0 0 0 0 400 5 6 0 0 0 0 0\n";
        let interfaces = parse_interfaces(text);
        let [eth0] = interfaces.as_slice() else { panic!("one interface, not {interfaces:?}") };
        let number = |number: &Option<UInt64Value>| number.as_ref().map(|number| number.value);
        assert_eq!(eth0.usage.name, "eth0");
        assert_eq!((number(&eth0.usage.rx_bytes), number(&eth0.usage.rx_errors)), (Some(100), Some(3)));
        assert_eq!((number(&eth0.usage.tx_bytes), number(&eth0.usage.tx_errors)), (Some(400), Some(6)));
        assert_eq!((eth0.rx_packets, eth0.tx_packets, eth0.rx_dropped, eth0.tx_dropped), (2, 5, 0, 0));
    }
}
