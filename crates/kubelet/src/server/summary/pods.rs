//! What pods and their containers use: the runtime's figures, and what the kubelet finds on its disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cri as v1;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use super::parts::{Part, cpu, insert, io, memory, nanos, network, part, put, swap, taken, time, value};
use crate::context::Context;
use crate::pods::{log_directory, names, spec};
use crate::stats;
use crate::volumes::{self, VolumeUsage};

/// What a directory takes: bytes and inodes.
type Taken = (u64, u64);

/// The `pods` of the summary.
///
/// # Errors
///
/// When the runtime does not tell what pods use.
pub async fn all(context: &Context, is_brief: bool) -> Result<Vec<Value>, v1::Status> {
    let figures = stats::of_pods(context).await?;
    let made = stats::made(context).await?;
    let known = context.pods.list();
    let mut pods = Vec::new();
    for stats in figures {
        let mut pod = brief(&stats, &made);
        if !is_brief {
            let uid = stats.attributes.as_ref().and_then(|one| Some(one.metadata.as_ref()?.uid.as_str()));
            let known = known.iter().find(|known| Some(spec::uid(known)) == uid);
            add_rest(context, &mut pod, stats, known.map(|known| &**known)).await;
        }
        pods.push(Value::Object(pod));
    }
    Ok(pods)
}

/// CPU and memory of a pod and its containers.
fn brief(stats: &v1::PodSandboxStats, made: &HashMap<String, i64>) -> Part {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let metadata = attributes.metadata.unwrap_or_default();
    let reference = json!({"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid});
    let mut pod = Map::from_iter([("podRef".to_owned(), reference)]);
    let begun =
        |map: &mut Part, id: &str| insert(map, "startTime", made.get(id).filter(|at| **at > 0).map(|at| nanos(*at)));
    begun(&mut pod, &attributes.id);
    let Some(linux) = &stats.linux else { return pod };
    let containers: Vec<Value> = linux
        .containers
        .iter()
        .map(|stats| {
            let mut map = Map::from_iter([("name".to_owned(), json!(names::of_stats(stats)))]);
            begun(&mut map, stats.attributes.as_ref().map(|one| one.id.as_str()).unwrap_or_default());
            insert(&mut map, "cpu", stats.cpu.as_ref().map(cpu));
            insert(&mut map, "memory", stats.memory.as_ref().map(memory));
            insert(&mut map, "swap", stats.swap.as_ref().map(swap));
            Value::Object(map)
        })
        .collect();
    pod.insert("containers".to_owned(), Value::Array(containers));
    let usage = linux.cpu.map(|usage| v1::CpuUsage {
        usage_nano_cores: usage.usage_nano_cores.or_else(|| rate_of(&linux.containers)),
        ..usage
    });
    insert(&mut pod, "cpu", usage.as_ref().map(cpu));
    insert(&mut pod, "memory", linux.memory.as_ref().map(memory));
    insert(&mut pod, "swap", stats::swap_of_pod(&linux.containers).as_ref().map(swap));
    pod
}

/// How much containers work together, where that is known of all.
fn rate_of(containers: &[v1::ContainerStats]) -> Option<v1::UInt64Value> {
    let rates = containers.iter().map(|stats| value(stats.cpu.as_ref()?.usage_nano_cores.as_ref()));
    let value = rates.sum::<Option<u64>>().filter(|_| !containers.is_empty())?;
    Some(v1::UInt64Value { value })
}

/// Adds what a pod does besides, and what it has written.
async fn add_rest(context: &Context, pod: &mut Part, stats: v1::PodSandboxStats, known: Option<&Pod>) {
    let linux = stats.linux.unwrap_or_default();
    let now = context.env.now();
    insert(pod, "io", linux.io.as_ref().map(io));
    insert(pod, "network", linux.network.as_ref().map(network));
    let processes = linux.process.as_ref().and_then(|process| value(process.process_count.as_ref()));
    insert(pod, "process_stats", processes.map(|count| json!({"process_count": count})));
    let names: Vec<String> = linux.containers.iter().map(names::of_stats).collect();
    let logs = match known {
        Some(known) => logs(log_directory(&context.config.pod_logs_dir, known), names).await,
        None => names.iter().map(|_| None).collect(),
    };
    let parts = pod.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten();
    for ((map, stats), logs) in parts.filter_map(Value::as_object_mut).zip(&linux.containers).zip(&logs) {
        insert(map, "io", stats.io.as_ref().map(io));
        insert(map, "rootfs", stats.writable_layer.as_ref().map(root));
        let here = |(bytes, inodes)| taken(&context.config.pod_logs_dir, time(now), Some(bytes), Some(inodes));
        insert(map, "logs", logs.map(here));
    }
    let Some(known) = known else { return };
    let volumes = volumes::of_pod(context, known).await;
    let all: Vec<Value> = volumes.iter().map(|one| volume(one, spec::namespace(known), now)).collect();
    pod.insert("volume".to_owned(), Value::Array(all));
    let (bytes, inodes) = ephemeral(known, &linux.containers, &logs, &volumes);
    let storage = taken(&context.config.kubelet_dir(), time(now), Some(bytes), Some(inodes));
    pod.insert("ephemeral-storage".to_owned(), Value::Object(storage));
}

/// What the logs of containers take, by the containers' names.
async fn logs(dir: PathBuf, names: Vec<String>) -> Vec<Option<Taken>> {
    let none = vec![None; names.len()];
    let look = move || names.iter().map(|name| volumes::taken(&dir.join(name)).ok()).collect();
    tokio::task::spawn_blocking(look).await.unwrap_or(none)
}

/// What a container has written to its root, and what the disk has on which that is.
fn root(layer: &v1::FilesystemUsage) -> Part {
    let (bytes, inodes) = (value(layer.used_bytes.as_ref()), value(layer.inodes_used.as_ref()));
    let place = layer.fs_id.as_ref().map(|id| id.mountpoint.as_str()).filter(|place| Path::new(place).exists());
    match place {
        Some(place) => taken(Path::new(place), nanos(layer.timestamp), bytes, inodes),
        None => {
            let mut map = part(nanos(layer.timestamp));
            put(&mut map, &[("usedBytes", bytes), ("inodesUsed", inodes)]);
            map
        }
    }
}

/// What a pod has written to disks of the node that goes with it.
fn ephemeral(pod: &Pod, containers: &[v1::ContainerStats], logs: &[Option<Taken>], volumes: &[VolumeUsage]) -> Taken {
    let is_on_disk = |usage: &&VolumeUsage| {
        let all = spec::spec(pod).volumes.iter().flatten();
        all.into_iter().any(|volume| volume.name == usage.name && volumes::is_on_disk(volume))
    };
    let volumes = volumes.iter().filter(is_on_disk).map(|one| (one.usage.used, one.usage.inodes_used));
    let layers = containers.iter().filter_map(|stats| stats.writable_layer.as_ref());
    let layers = layers.map(|layer| (value(layer.used_bytes.as_ref()), value(layer.inodes_used.as_ref())));
    let logs = logs.iter().flatten().map(|(bytes, inodes)| (Some(*bytes), Some(*inodes)));
    volumes
        .chain(layers)
        .chain(logs)
        .fold((0, 0), |(bytes, inodes), one| (bytes + one.0.unwrap_or(0), inodes + one.1.unwrap_or(0)))
}

fn volume(volume: &VolumeUsage, namespace: &str, now: Timestamp) -> Value {
    let mut map = part(time(now));
    map.insert("name".to_owned(), json!(volume.name));
    let usage = &volume.usage;
    put(
        &mut map,
        &[
            ("capacityBytes", usage.capacity),
            ("availableBytes", usage.available),
            ("usedBytes", usage.used),
            ("inodes", usage.inodes),
            ("inodesFree", usage.inodes_free),
            ("inodesUsed", usage.inodes_used),
        ],
    );
    insert(&mut map, "pvcRef", volume.claim.as_ref().map(|name| json!({"name": name, "namespace": namespace})));
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;
    use crate::volumes::Usage;

    fn number(value: u64) -> Option<v1::UInt64Value> {
        Some(v1::UInt64Value { value })
    }

    /// A container that works so much and has written so much.
    fn container(name: &str, nano_cores: Option<u64>, written: u64) -> v1::ContainerStats {
        let metadata = Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 });
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes { id: format!("id-{name}"), metadata, ..Default::default() }),
            cpu: Some(v1::CpuUsage { usage_nano_cores: nano_cores.and_then(number), ..Default::default() }),
            writable_layer: Some(v1::FilesystemUsage {
                used_bytes: number(written),
                inodes_used: number(1),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(rates: &[Option<u64>], of_pod: Option<u64>, expected: Option<u64>) {
        let names = ["a", "b", "c"];
        let stats = v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes { id: "s".to_owned(), ..Default::default() }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: Some(v1::CpuUsage { usage_nano_cores: of_pod.and_then(number), ..Default::default() }),
                containers: rates.iter().zip(names).map(|(rate, name)| container(name, *rate, 0)).collect(),
                ..Default::default()
            }),
            windows: None,
        };
        let second = 1_000_000_000;
        let made = HashMap::from([("s".to_owned(), second), ("id-a".to_owned(), 2 * second), ("id-b".to_owned(), 0)]);
        let pod = Value::Object(brief(&stats, &made));
        assert_eq!(pod["cpu"]["usageNanoCores"].as_u64(), expected);
        assert_eq!(pod["startTime"], "1970-01-01T00:00:01Z");
        let begun: Vec<_> =
            rates.iter().enumerate().map(|(at, _)| pod["containers"][at]["startTime"].clone()).collect();
        let told = [json!("1970-01-01T00:00:02Z"), Value::Null, Value::Null];
        assert_eq!(begun, told[..rates.len()]);
    }

    #[test]
    fn a_pod_works_as_much_as_its_containers_do() {
        check(&[Some(3), Some(4)], None, Some(7));
        check(&[Some(3), Some(4)], Some(9), Some(9));
        check(&[Some(3), None], None, None);
        check(&[], None, None);
    }

    #[test]
    fn what_goes_with_a_pod_is_what_it_wrote_to_disks_of_the_node() {
        let volumes = json!([
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "claimed", "persistentVolumeClaim": {"claimName": "c"}},
        ]);
        let volumes = serde_json::from_value(volumes).expect("volumes");
        let pod = pod("web").with(|pod| pod.spec.get_or_insert_default().volumes = Some(volumes)).build();
        let usage = Usage { used: Some(1000), inodes_used: Some(10), ..Usage::default() };
        let volume = |name: &str| VolumeUsage { name: name.to_owned(), claim: None, usage };
        let volumes = ["disk", "memory", "claimed"].map(volume);
        let containers = [container("a", None, 200), container("b", None, 300)];
        assert_eq!(ephemeral(&pod, &containers, &[Some((40, 2)), None], &volumes), (1540, 14));
    }
}
