//! What the node as a whole has and uses, as `/stats/summary` says it.

use std::fs;
use std::path::Path;

use cri as v1;
use serde_json::{Map, Value, json};

use super::stats::{insert, put};
use crate::context::Context;
use crate::eviction::process_numbers;
use crate::node::meminfo;
use crate::pods::whole_seconds;

/// The `node` of the summary.
pub async fn node(context: &Context) -> Map<String, Value> {
    let time = json!(whole_seconds(context.env.now()).to_string());
    let mut node = Map::from_iter([("nodeName".to_owned(), json!(context.config.node_name))]);
    insert(&mut node, "cpu", cpu(context, &time));
    insert(&mut node, "memory", memory(context, &time));
    insert(&mut node, "swap", swap(&time));
    insert(&mut node, "fs", disk(&context.config.kubelet_dir(), &time));
    insert(
        &mut node,
        "rlimit",
        process_numbers().map(|(used, most)| json!({"time": time, "maxpid": most, "curproc": used})),
    );
    // A runtime that does not say where it keeps things has no disks here.
    let info = context.images.clone().image_fs_info(v1::ImageFsInfoRequest {}).await;
    let info = info.map(|answer| answer.into_inner()).unwrap_or_default();
    let mut runtime = Map::new();
    for (name, usages) in [("imageFs", &info.image_filesystems), ("containerFs", &info.container_filesystems)] {
        let Some(usage) = usages.first() else { continue };
        let Some(Value::Object(mut fs)) = usage.fs_id.as_ref().and_then(|id| disk(Path::new(&id.mountpoint), &time))
        else {
            continue;
        };
        // What is there of images, not of the whole disk.
        let value = |value: Option<&v1::UInt64Value>| value.map(|value| value.value);
        put(
            &mut fs,
            &[("usedBytes", value(usage.used_bytes.as_ref())), ("inodesUsed", value(usage.inodes_used.as_ref()))],
        );
        runtime.insert(name.to_owned(), Value::Object(fs));
    }
    insert(&mut node, "runtime", Some(Value::Object(runtime)).filter(|runtime| runtime != &json!({})));
    node
}

fn cpu(context: &Context, time: &Value) -> Option<Value> {
    let (used, rate) = context.machine_cpu.usage(context.env.now())?;
    let mut map = Map::from_iter([("time".to_owned(), time.clone())]);
    put(&mut map, &[("usageNanoCores", rate), ("usageCoreNanoSeconds", Some(used))]);
    Some(Value::Object(map))
}

fn memory(context: &Context, time: &Value) -> Option<Value> {
    let (working_set, total) = context.cgroups.machine_memory()?;
    Some(json!({"time": time, "availableBytes": total - working_set, "workingSetBytes": working_set}))
}

fn swap(time: &Value) -> Option<Value> {
    let (free, used) = swap_usage()?;
    Some(json!({"time": time, "swapAvailableBytes": free, "swapUsageBytes": used}))
}

/// Bytes of swap that are free, and that are used.
pub(super) fn swap_usage() -> Option<(i64, i64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let (total, free) = (meminfo(&text, "SwapTotal")?, meminfo(&text, "SwapFree")?);
    Some((free, total - free))
}

/// The disk on which a path is, or the nearest directory above it that exists.
fn disk(path: &Path, time: &Value) -> Option<Value> {
    let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let (capacity, available) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    Some(json!({
        "time": time, "capacityBytes": capacity, "availableBytes": available,
        "usedBytes": capacity.saturating_sub(stat.f_bfree * stat.f_frsize),
        "inodes": stat.f_files, "inodesFree": stat.f_ffree, "inodesUsed": stat.f_files.saturating_sub(stat.f_ffree),
    }))
}
