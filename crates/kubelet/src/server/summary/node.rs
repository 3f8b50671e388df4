//! What the node as a whole has and uses.

use std::fs;
use std::path::Path;

use cri as v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::parts::{Part, insert, interface, part, psi, put, time, value, whole_disk};
use crate::context::Context;
use crate::eviction::process_numbers;
use crate::node::meminfo;
use crate::resources::CgroupFigures;
use crate::stats;

/// Interfaces that lead to containers or nowhere, by how their names begin: what goes over them goes over others too.
const INNER: [&str; 3] = ["lo", "veth", "docker"];
/// The interface that is the node's by its name, as upstream has it.
const DEFAULT: &str = "eth0";

/// The `node` of the summary; of it no more than is cheap to say, if nothing else is wanted.
pub async fn node(context: &Context, only_cpu_and_memory: bool) -> Part {
    let now = context.env.now();
    let mut node = Map::from_iter([("nodeName".to_owned(), json!(context.config.node_name))]);
    insert(&mut node, "startTime", started());
    insert(&mut node, "cpu", cpu(context, now));
    insert(&mut node, "memory", memory(context, now));
    insert(&mut node, "swap", swap(now));
    node.insert("systemContainers".to_owned(), Value::Array(system(context, now)));
    if only_cpu_and_memory {
        return node;
    }
    insert(&mut node, "io", pressure("io").map(|psi| json!({"time": time(now), "psi": psi})));
    insert(&mut node, "network", network(now));
    insert(&mut node, "fs", whole_disk(&context.config.kubelet_dir(), time(now)));
    let numbers = process_numbers();
    let numbers = numbers.map(|(used, most)| json!({"time": time(now), "maxpid": most, "curproc": used}));
    insert(&mut node, "rlimit", numbers);
    let runtime = disks_of_runtime(context, now).await;
    insert(&mut node, "runtime", Some(runtime).filter(|runtime| !runtime.is_empty()));
    node
}

/// The disks of images and of what containers write. A runtime that does not say where it keeps things has none here.
async fn disks_of_runtime(context: &Context, now: Timestamp) -> Part {
    let info = context.images.clone().image_fs_info(v1::ImageFsInfoRequest {}).await;
    let info = info.map(|answer| answer.into_inner()).unwrap_or_default();
    let mut runtime = Map::new();
    for (name, usages) in [("imageFs", &info.image_filesystems), ("containerFs", &info.container_filesystems)] {
        let Some(usage) = usages.first() else { continue };
        let Some(id) = &usage.fs_id else { continue };
        let Some(mut fs) = whole_disk(Path::new(&id.mountpoint), time(now)) else { continue };
        // What is there of images, not of the whole disk.
        put(
            &mut fs,
            &[("usedBytes", value(usage.used_bytes.as_ref())), ("inodesUsed", value(usage.inodes_used.as_ref()))],
        );
        runtime.insert(name.to_owned(), Value::Object(fs));
    }
    runtime
}

/// When the machine was started.
fn started() -> Option<Value> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let second = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    Some(time(Timestamp::from_second(second).ok()?))
}

fn cpu(context: &Context, now: Timestamp) -> Option<Part> {
    let used = stats::cpu_of_machine()?;
    let mut map = part(time(now));
    let rate = context.cpu_rates.rate("machine", used, now);
    put(&mut map, &[("usageNanoCores", rate), ("usageCoreNanoSeconds", Some(used))]);
    insert(&mut map, "psi", pressure("cpu"));
    Some(map)
}

fn memory(context: &Context, now: Timestamp) -> Option<Part> {
    let (working_set, total) = context.cgroups.machine_memory()?;
    let bytes = |bytes: i64| u64::try_from(bytes).ok();
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    // The first cgroup of version 2 does not count what it uses.
    let rest = || Some(meminfo(&text, "MemTotal")? - meminfo(&text, "MemFree")?);
    let figures = context.cgroups.figures_of_machine();
    let usage = figures.usage.or_else(|| bytes(rest()?));
    let figures = CgroupFigures { usage, working_set: bytes(working_set), ..figures };
    let mut map = memory_of(&figures, now);
    put(&mut map, &[("availableBytes", bytes(total - working_set))]);
    insert(&mut map, "psi", pressure("memory"));
    Some(map)
}

fn memory_of(figures: &CgroupFigures, now: Timestamp) -> Part {
    let mut map = part(time(now));
    put(
        &mut map,
        &[
            ("usageBytes", figures.usage),
            ("workingSetBytes", figures.working_set),
            ("rssBytes", figures.rss),
            ("pageFaults", figures.page_faults),
            ("majorPageFaults", figures.major_page_faults),
        ],
    );
    map
}

/// What pods use together, and what the kubelet does. A cgroup of which nothing is known is left out.
fn system(context: &Context, now: Timestamp) -> Vec<Value> {
    let one = |(name, figures): (&'static str, CgroupFigures)| {
        let mut map = Map::from_iter([("name".to_owned(), json!(name))]);
        insert(&mut map, "startTime", (name == "kubelet").then(|| time(context.started_at)));
        if let Some(used) = figures.cpu {
            let mut cpu = part(time(now));
            let rate = context.cpu_rates.rate(name, used, now);
            put(&mut cpu, &[("usageNanoCores", rate), ("usageCoreNanoSeconds", Some(used))]);
            map.insert("cpu".to_owned(), Value::Object(cpu));
        }
        insert(&mut map, "memory", figures.usage.map(|_| memory_of(&figures, now)));
        (figures != CgroupFigures::default()).then_some(Value::Object(map))
    };
    let all = [("kubelet", context.cgroups.figures_of_kubelet()), ("pods", context.cgroups.figures_of_pods())];
    all.into_iter().filter_map(one).collect()
}

fn swap(now: Timestamp) -> Option<Value> {
    let (free, used) = swap_usage()?;
    Some(json!({"time": time(now), "swapAvailableBytes": free, "swapUsageBytes": used}))
}

/// Bytes of swap that are free, and that are used.
pub fn swap_usage() -> Option<(i64, i64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let (total, free) = (meminfo(&text, "SwapTotal")?, meminfo(&text, "SwapFree")?);
    Some((free, total - free))
}

fn network(now: Timestamp) -> Option<Part> {
    let all = interfaces(&fs::read_to_string("/proc/net/dev").ok()?);
    let mut map = all.iter().find(|one| one.name == DEFAULT).map(interface).unwrap_or_default();
    map.insert("time".to_owned(), time(now));
    map.insert("interfaces".to_owned(), all.iter().map(|one| Value::Object(interface(one))).collect());
    Some(map)
}

/// The interfaces that lead out of the machine, from the text of `/proc/net/dev`.
fn interfaces(text: &str) -> Vec<v1::NetworkInterfaceUsage> {
    let one = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let number = |column: usize| counters.get(column).map(|value| v1::UInt64Value { value: *value });
        Some(v1::NetworkInterfaceUsage {
            name: name.trim().to_owned(),
            rx_bytes: number(0),
            rx_errors: number(2),
            tx_bytes: number(8),
            tx_errors: number(10),
        })
    };
    let is_outer = |one: &v1::NetworkInterfaceUsage| !INNER.iter().any(|prefix| one.name.starts_with(prefix));
    text.lines().filter_map(one).filter(is_outer).collect()
}

/// How long the machine's processes wait for something, where the kernel counts that.
fn pressure(resource: &str) -> Option<Part> {
    let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
    let line = |kind: &str| text.lines().find_map(|line| data(line.strip_prefix(kind)?));
    let stats = v1::PsiStats { full: line("full "), some: line("some ") };
    (stats.full.is_some() || stats.some.is_some()).then(|| psi(&stats))
}

fn data(text: &str) -> Option<v1::PsiData> {
    let value = |name: &str| text.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let share = |name: &str| value(name)?.parse().ok();
    // The kernel counts microseconds.
    let total = value("total")?.parse::<u64>().ok()?.saturating_mul(1000);
    Some(v1::PsiData { total, avg10: share("avg10")?, avg60: share("avg60")?, avg300: share("avg300")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_lead_out_are_told() {
        let text = "Inter-|   Receive\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                    veth12: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 0 0 0 0 0 400 5 6 0 0 0 0 0\n";
        let told: Vec<Part> = interfaces(text).iter().map(interface).collect();
        let expected = json!([{"name": "eth0", "rxBytes": 100, "rxErrors": 3, "txBytes": 400, "txErrors": 6}]);
        assert_eq!(json!(told), expected);
    }

    #[test]
    fn pressure_is_read() {
        let read = data("avg10=1.50 avg60=0.25 avg300=0.00 total=12");
        assert_eq!(read, Some(v1::PsiData { total: 12_000, avg10: 1.5, avg60: 0.25, avg300: 0.0 }));
        assert_eq!(data("avg10=1.50"), None);
    }
}
