//! cAdvisor's metrics of pods, made of the figures that every runtime has: for one that serves no metrics itself (containerd,
//! Docker Engine, CRI-O before 1.34).

use std::collections::{BTreeMap, HashMap};

use cri as v1;

use super::cadvisor::{Family, escaped};
use crate::pods::names;

/// Name, help, and whether it counts up.
type Kind = (&'static str, &'static str, bool);

const CPU: Kind = ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", true);
const WORKING_SET: Kind = ("container_memory_working_set_bytes", "Current working set in bytes.", false);
const USAGE: Kind = ("container_memory_usage_bytes", "Current memory usage in bytes.", false);
const RSS: Kind = ("container_memory_rss", "Size of RSS in bytes.", false);
const SWAP: Kind = ("container_memory_swap", "Container swap usage in bytes.", false);
const FS_USAGE: Kind = ("container_fs_usage_bytes", "Number of bytes consumed by the container.", false);
const FS_INODES: Kind = ("container_fs_inodes_used", "Number of inodes in use by the container.", false);
const PROCESSES: Kind = ("container_processes", "Number of processes running.", false);
const RECEIVED: Kind = ("container_network_receive_bytes_total", "Cumulative count of bytes received.", true);
const RECEIVE_ERRORS: Kind =
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving.", true);
const SENT: Kind = ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted.", true);
const SEND_ERRORS: Kind =
    ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting.", true);

/// A number and when it was measured, in nanoseconds since 1970.
type Measured<'a> = (Option<&'a v1::UInt64Value>, i64);

/// What metrics of one pod or container are labelled with, and where they go.
struct Writer<'a> {
    families: &'a mut BTreeMap<String, Family>,
    labels: String,
}

impl Writer<'_> {
    fn put(&mut self, kind: Kind, further: &str, (value, at): Measured<'_>) {
        if let Some(value) = value {
            self.write(kind, further, &value.value.to_string(), at);
        }
    }

    fn write(&mut self, (name, help, is_counter): Kind, further: &str, value: &str, at: i64) {
        let family = self.families.entry(name.to_owned()).or_default();
        (family.help, family.is_counter) = (help.to_owned(), is_counter);
        family.samples.push(format!("{name}{{{}{further}}} {value} {}", self.labels, at / 1_000_000));
    }

    fn cpu_and_memory(&mut self, cpu: Option<&v1::CpuUsage>, memory: Option<&v1::MemoryUsage>) {
        if let Some((cpu, total)) = cpu.and_then(|cpu| Some((cpu, cpu.usage_core_nano_seconds.as_ref()?.value))) {
            self.write(CPU, ",cpu=\"total\"", &super::resource_metrics::in_seconds(total), cpu.timestamp);
        }
        if let Some(memory) = memory {
            self.put(WORKING_SET, "", (memory.working_set_bytes.as_ref(), memory.timestamp));
            self.put(USAGE, "", (memory.usage_bytes.as_ref(), memory.timestamp));
            self.put(RSS, "", (memory.rss_bytes.as_ref(), memory.timestamp));
        }
    }
}

/// Adds the metrics of pods; `images` has those of containers by the containers' identifiers.
pub(super) fn add(
    families: &mut BTreeMap<String, Family>,
    pods: &[v1::PodSandboxStats],
    images: &HashMap<String, String>,
) {
    for stats in pods {
        let attributes = stats.attributes.clone().unwrap_or_default();
        let (pod, linux) = (attributes.metadata.unwrap_or_default(), stats.linux.clone().unwrap_or_default());
        let labels = |container: &str, image: &str, id: &str| {
            let pairs = [
                ("container", container),
                ("image", image),
                ("name", id),
                ("namespace", &pod.namespace),
                ("pod", &pod.name),
            ];
            pairs.map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).join(",")
        };
        let mut writer = Writer { families: &mut *families, labels: labels("", "", "") };
        writer.cpu_and_memory(linux.cpu.as_ref(), linux.memory.as_ref());
        if let Some(process) = &linux.process {
            writer.put(PROCESSES, "", (process.process_count.as_ref(), process.timestamp));
        }
        let network = linux.network.unwrap_or_default();
        for interface in network.default_interface.iter().chain(&network.interfaces) {
            let name = format!(",interface=\"{}\"", escaped(&interface.name));
            writer.put(RECEIVED, &name, (interface.rx_bytes.as_ref(), network.timestamp));
            writer.put(RECEIVE_ERRORS, &name, (interface.rx_errors.as_ref(), network.timestamp));
            writer.put(SENT, &name, (interface.tx_bytes.as_ref(), network.timestamp));
            writer.put(SEND_ERRORS, &name, (interface.tx_errors.as_ref(), network.timestamp));
        }
        for container in &linux.containers {
            let id = container.attributes.as_ref().map(|attributes| attributes.id.as_str()).unwrap_or_default();
            let image = images.get(id).map(String::as_str).unwrap_or_default();
            let labels = labels(&names::of_stats(container), image, id);
            let mut writer = Writer { families: &mut *families, labels };
            writer.cpu_and_memory(container.cpu.as_ref(), container.memory.as_ref());
            if let Some(swap) = &container.swap {
                writer.put(SWAP, "", (swap.swap_usage_bytes.as_ref(), swap.timestamp));
            }
            if let Some(layer) = &container.writable_layer {
                writer.put(FS_USAGE, "", (layer.used_bytes.as_ref(), layer.timestamp));
                writer.put(FS_INODES, "", (layer.inodes_used.as_ref(), layer.timestamp));
            }
        }
    }
}
