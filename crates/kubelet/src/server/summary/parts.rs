//! The parts of the summary that nodes, pods and containers have alike.

use std::path::Path;

use cri as v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::pods::whole_seconds;

/// An object of the summary.
pub type Part = Map<String, Value>;

/// A number of CRI's, which may be absent.
pub fn value(value: Option<&v1::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

/// A time as the API writes it.
pub fn time(time: Timestamp) -> Value {
    json!(whole_seconds(time).to_string())
}

/// One that CRI counts in nanoseconds.
pub fn nanos(nanoseconds: i64) -> Value {
    time(Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default())
}

/// A part of which it is known when it was measured.
pub fn part(time: Value) -> Part {
    Map::from_iter([("time".to_owned(), time)])
}

/// Puts in what was measured; what was not is absent.
pub fn put(map: &mut Part, fields: &[(&str, Option<u64>)]) {
    for (name, number) in fields {
        if let Some(number) = number {
            map.insert((*name).to_owned(), json!(number));
        }
    }
}

/// Puts in a part that is known.
pub fn insert(map: &mut Part, name: &str, part: Option<impl Into<Value>>) {
    if let Some(part) = part {
        map.insert(name.to_owned(), part.into());
    }
}

/// How much something works.
pub fn cpu(usage: &v1::CpuUsage) -> Part {
    let mut map = part(nanos(usage.timestamp));
    put(
        &mut map,
        &[
            ("usageNanoCores", value(usage.usage_nano_cores.as_ref())),
            ("usageCoreNanoSeconds", value(usage.usage_core_nano_seconds.as_ref())),
        ],
    );
    insert(&mut map, "psi", usage.psi.as_ref().map(psi));
    map
}

/// How much memory it has.
pub fn memory(usage: &v1::MemoryUsage) -> Part {
    let mut map = part(nanos(usage.timestamp));
    put(
        &mut map,
        &[
            ("availableBytes", value(usage.available_bytes.as_ref())),
            ("usageBytes", value(usage.usage_bytes.as_ref())),
            ("workingSetBytes", value(usage.working_set_bytes.as_ref())),
            ("rssBytes", value(usage.rss_bytes.as_ref())),
            ("pageFaults", value(usage.page_faults.as_ref())),
            ("majorPageFaults", value(usage.major_page_faults.as_ref())),
        ],
    );
    insert(&mut map, "psi", usage.psi.as_ref().map(psi));
    map
}

/// How long it waits for disks.
pub fn io(usage: &v1::IoUsage) -> Part {
    let mut map = part(nanos(usage.timestamp));
    insert(&mut map, "psi", usage.psi.as_ref().map(psi));
    map
}

/// How long it has to wait for something, where the kernel counts that.
pub fn psi(stats: &v1::PsiStats) -> Part {
    let data = |data: &v1::PsiData| json!({"total": data.total, "avg10": data.avg10, "avg60": data.avg60, "avg300": data.avg300});
    let mut map = Map::new();
    insert(&mut map, "full", stats.full.as_ref().map(data));
    insert(&mut map, "some", stats.some.as_ref().map(data));
    map
}

/// How much of its memory is swapped.
pub fn swap(usage: &v1::SwapUsage) -> Part {
    let mut map = part(nanos(usage.timestamp));
    put(
        &mut map,
        &[
            ("swapAvailableBytes", value(usage.swap_available_bytes.as_ref())),
            ("swapUsageBytes", value(usage.swap_usage_bytes.as_ref())),
        ],
    );
    map
}

/// What goes over an interface.
pub fn interface(usage: &v1::NetworkInterfaceUsage) -> Part {
    let mut map = Map::from_iter([("name".to_owned(), json!(usage.name))]);
    put(
        &mut map,
        &[
            ("rxBytes", value(usage.rx_bytes.as_ref())),
            ("rxErrors", value(usage.rx_errors.as_ref())),
            ("txBytes", value(usage.tx_bytes.as_ref())),
            ("txErrors", value(usage.tx_errors.as_ref())),
        ],
    );
    map
}

/// What goes over all interfaces. The default one is among them, and what goes over it is said apart as well.
pub fn network(usage: &v1::NetworkUsage) -> Part {
    let default = usage.default_interface.as_ref();
    let others = usage.interfaces.iter().filter(|one| default.is_none_or(|default| default.name != one.name));
    let all: Vec<Value> = default.into_iter().chain(others).map(|one| Value::Object(interface(one))).collect();
    let mut map = default.map(interface).unwrap_or_default();
    map.insert("time".to_owned(), nanos(usage.timestamp));
    map.insert("interfaces".to_owned(), Value::Array(all));
    map
}

/// The disk on which a path is, or the nearest directory above it that exists: what it has and has left.
pub fn disk(path: &Path, time: Value) -> Option<(Part, rustix::fs::StatVfs)> {
    let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let mut map = part(time);
    put(
        &mut map,
        &[
            ("availableBytes", Some(stat.f_bavail * stat.f_frsize)),
            ("capacityBytes", Some(stat.f_blocks * stat.f_frsize)),
            ("inodesFree", Some(stat.f_ffree)),
            ("inodes", Some(stat.f_files)),
        ],
    );
    Some((map, stat))
}

/// The disk on which a path is, and what something takes of it.
pub fn taken(path: &Path, time: Value, bytes: Option<u64>, inodes: Option<u64>) -> Part {
    let mut map = disk(path, time.clone()).map_or_else(|| part(time), |(map, _)| map);
    put(&mut map, &[("usedBytes", bytes), ("inodesUsed", inodes)]);
    map
}

/// The disk on which a path is, and what everything takes of it.
pub fn whole_disk(path: &Path, time: Value) -> Option<Part> {
    let (mut map, stat) = disk(path, time)?;
    let bytes = stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize;
    put(&mut map, &[("usedBytes", Some(bytes)), ("inodesUsed", Some(stat.f_files.saturating_sub(stat.f_ffree)))]);
    Some(map)
}
