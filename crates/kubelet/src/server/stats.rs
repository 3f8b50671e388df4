//! `/stats/summary`: what the node and its pods use, by the runtime's own figures.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cri as v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::pods::Refusal;
use crate::context::Shared;
use crate::pods::{names, spec};
use crate::stats;
use crate::volumes::{self, VolumeUsage};

/// A number of CRI's, which may be absent.
pub(super) fn value(value: Option<&v1::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

fn time(nanoseconds: i64) -> Value {
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default();
    json!(crate::pods::whole_seconds(time).to_string())
}

/// Puts in what was measured; what was not is absent.
pub(super) fn put(map: &mut Map<String, Value>, fields: &[(&str, Option<u64>)]) {
    for (name, number) in fields {
        if let Some(number) = number {
            map.insert((*name).to_owned(), json!(number));
        }
    }
}

fn cpu(usage: Option<&v1::CpuUsage>) -> Option<Value> {
    let usage = usage?;
    let mut map = Map::from_iter([("time".to_owned(), time(usage.timestamp))]);
    put(
        &mut map,
        &[
            ("usageNanoCores", value(usage.usage_nano_cores.as_ref())),
            ("usageCoreNanoSeconds", value(usage.usage_core_nano_seconds.as_ref())),
        ],
    );
    Some(Value::Object(map))
}

fn memory(usage: Option<&v1::MemoryUsage>) -> Option<Value> {
    let usage = usage?;
    let mut map = Map::from_iter([("time".to_owned(), time(usage.timestamp))]);
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
    Some(Value::Object(map))
}

/// Puts in a part that is known.
pub(super) fn insert(map: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value);
    }
}

/// `/stats/summary`.
pub async fn summary(State(context): State<Shared>) -> Result<Response, Refusal> {
    let mut pods = Vec::new();
    let refused = |err: v1::Status| Refusal(StatusCode::INTERNAL_SERVER_ERROR, err.message().to_owned());
    for stats in stats::of_pods(&context).await.map_err(refused)? {
        let attributes = stats.attributes.unwrap_or_default();
        let metadata = attributes.metadata.unwrap_or_default();
        let linux = stats.linux.unwrap_or_default();
        let mut pod = Map::from_iter([(
            "podRef".to_owned(),
            json!({"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}),
        )]);
        insert(&mut pod, "cpu", cpu(linux.cpu.as_ref()));
        insert(&mut pod, "memory", memory(linux.memory.as_ref()));
        insert(&mut pod, "swap", stats::swap_of_pod(&linux.containers).as_ref().map(swap));
        insert(&mut pod, "network", linux.network.as_ref().map(network));
        let processes = linux.process.as_ref().and_then(|process| value(process.process_count.as_ref()));
        insert(&mut pod, "process_stats", processes.map(|count| json!({"process_count": count})));
        pod.insert("containers".to_owned(), linux.containers.iter().map(container).collect());
        let known = context.pods.list().into_iter().find(|known| spec::uid(known) == metadata.uid);
        if let Some(known) = known {
            let usages = volumes::of_pod(&context, &known).await;
            let now = context.env.now();
            let all = usages.iter().map(|one| volume(one, &metadata.namespace, now)).collect();
            pod.insert("volume".to_owned(), Value::Array(all));
        }
        pods.push(Value::Object(pod));
    }
    let summary = json!({"node": super::node_stats::node(&context).await, "pods": pods});
    Ok(([(header::CONTENT_TYPE, "application/json")], summary.to_string()).into_response())
}

fn swap(usage: &v1::SwapUsage) -> Value {
    let mut map = Map::from_iter([("time".to_owned(), time(usage.timestamp))]);
    put(
        &mut map,
        &[
            ("swapAvailableBytes", value(usage.swap_available_bytes.as_ref())),
            ("swapUsageBytes", value(usage.swap_usage_bytes.as_ref())),
        ],
    );
    Value::Object(map)
}

fn volume(volume: &VolumeUsage, namespace: &str, now: Timestamp) -> Value {
    let time = json!(crate::pods::whole_seconds(now).to_string());
    let mut map = Map::from_iter([("time".to_owned(), time), ("name".to_owned(), json!(volume.name))]);
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

fn network(usage: &v1::NetworkUsage) -> Value {
    let interface = |interface: &v1::NetworkInterfaceUsage| {
        let mut map = Map::from_iter([("name".to_owned(), json!(interface.name))]);
        put(
            &mut map,
            &[
                ("rxBytes", value(interface.rx_bytes.as_ref())),
                ("rxErrors", value(interface.rx_errors.as_ref())),
                ("txBytes", value(interface.tx_bytes.as_ref())),
                ("txErrors", value(interface.tx_errors.as_ref())),
            ],
        );
        map
    };
    let mut map = usage.default_interface.as_ref().map(interface).unwrap_or_default();
    map.insert("time".to_owned(), time(usage.timestamp));
    let all: Vec<Value> = usage.interfaces.iter().map(|one| Value::Object(interface(one))).collect();
    map.insert("interfaces".to_owned(), Value::Array(all));
    Value::Object(map)
}

fn container(stats: &v1::ContainerStats) -> Value {
    let mut map = Map::from_iter([("name".to_owned(), json!(names::of_stats(stats)))]);
    insert(&mut map, "cpu", cpu(stats.cpu.as_ref()));
    insert(&mut map, "memory", memory(stats.memory.as_ref()));
    insert(&mut map, "swap", stats.swap.as_ref().map(swap));
    if let Some(layer) = &stats.writable_layer {
        let mut rootfs = Map::from_iter([("time".to_owned(), time(layer.timestamp))]);
        put(
            &mut rootfs,
            &[("usedBytes", value(layer.used_bytes.as_ref())), ("inodesUsed", value(layer.inodes_used.as_ref()))],
        );
        map.insert("rootfs".to_owned(), Value::Object(rootfs));
    }
    Value::Object(map)
}
