//! Calls about metrics: what cAdvisor measures, in cAdvisor's names, of containers that run.
//!
//! One table of families gives both the descriptors and the values, so that they always agree: [`container`] has those of
//! containers, [`network`] those of pods.

mod container;
mod network;
mod source;

use std::sync::Arc;

use cri::{
    ContainerMetrics, ListMetricDescriptorsRequest, ListMetricDescriptorsResponse, ListPodSandboxMetricsRequest,
    ListPodSandboxMetricsResponse, Metric, MetricDescriptor, MetricType, PodSandboxMetrics, Status, UInt64Value,
};

pub(super) use self::network::Interface;
use self::source::Source;
use super::stats::blocking;
use crate::container::{Container, ContainerState};
use crate::engine::Engine;
use crate::sandbox::{Sandbox, SandboxPhase, metadata};
use crate::status::nanoseconds;

/// Labels of every value, before those of its family.
const BASE_LABELS: &[&str] = &["container", "id", "image", "name", "namespace", "pod"];

/// A value with the values of its family's own labels.
type Value = (Vec<String>, u64);

/// One metric of things that are a `T`.
struct Family<T: ?Sized + 'static> {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    /// Nothing where the machine does not measure it.
    read: fn(&T) -> Vec<Value>,
}

const fn counter<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&T) -> Vec<Value>,
) -> Family<T> {
    Family { name, help, kind: MetricType::Counter, labels, read }
}

const fn gauge<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&T) -> Vec<Value>,
) -> Family<T> {
    Family { name, help, kind: MetricType::Gauge, labels, read }
}

/// A value without labels of its own.
fn one(value: Option<u64>) -> Vec<Value> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

impl<T: ?Sized> Family<T> {
    fn descriptor(&self) -> MetricDescriptor {
        let labels = BASE_LABELS.iter().chain(self.labels);
        MetricDescriptor {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            label_keys: labels.map(|label| (*label).to_owned()).collect(),
        }
    }

    fn metrics(&self, of: &T, labels: &[String], timestamp: i64) -> impl Iterator<Item = Metric> {
        (self.read)(of).into_iter().map(move |(own, value)| Metric {
            name: self.name.to_owned(),
            timestamp,
            metric_type: self.kind.into(),
            label_values: labels.iter().cloned().chain(own).collect(),
            value: Some(UInt64Value { value }),
        })
    }
}

pub(super) async fn list_metric_descriptors(
    _: &Arc<Engine>,
    _: ListMetricDescriptorsRequest,
) -> Result<ListMetricDescriptorsResponse, Status> {
    let of_containers = container::FAMILIES.iter().map(Family::descriptor);
    let descriptors = of_containers.chain(network::FAMILIES.iter().map(Family::descriptor)).collect();
    Ok(ListMetricDescriptorsResponse { descriptors })
}

pub(super) async fn list_pod_sandbox_metrics(
    engine: &Arc<Engine>,
    _: ListPodSandboxMetricsRequest,
) -> Result<ListPodSandboxMetricsResponse, Status> {
    let worker = engine.clone();
    let pod_metrics = blocking(move || {
        let sandboxes = worker.sandboxes();
        let ready = sandboxes.iter().filter(|sandbox| sandbox.record().phase == SandboxPhase::Ready);
        ready.map(|sandbox| of_sandbox(&worker, sandbox)).collect()
    });
    Ok(ListPodSandboxMetricsResponse { pod_metrics: pod_metrics.await? })
}

fn of_sandbox(engine: &Engine, sandbox: &Sandbox) -> PodSandboxMetrics {
    let record = sandbox.record();
    let names = metadata(&record.config);
    let labels = Labels { namespace: &names.namespace, pod: &names.name };
    let cgroup = sandbox.paths().cgroup_parent(&record.config);
    let of_pod = labels.values("", &cgroup.display().to_string(), "", record.id.as_str());
    let interfaces = super::stats::interfaces(sandbox).unwrap_or_default();
    let timestamp = nanoseconds(engine.env.now());
    let families = network::FAMILIES.iter();
    let metrics = families.flat_map(|family| family.metrics(&interfaces[..], &of_pod, timestamp)).collect();
    let containers = engine.containers_of(sandbox.id());
    let container_metrics =
        containers.iter().filter_map(|container| of_container(engine, container, &labels)).collect();
    PodSandboxMetrics { pod_sandbox_id: record.id.to_string(), metrics, container_metrics }
}

/// The names of a pod.
struct Labels<'a> {
    namespace: &'a str,
    pod: &'a str,
}

impl Labels<'_> {
    /// The values of [`BASE_LABELS`].
    fn values(&self, container: &str, id: &str, image: &str, name: &str) -> Vec<String> {
        [container, id, image, name, self.namespace, self.pod].map(str::to_owned).to_vec()
    }
}

fn of_container(engine: &Engine, container: &Arc<Container>, labels: &Labels<'_>) -> Option<ContainerMetrics> {
    let ContainerState::Running(started) = container.state() else { return None };
    let record = container.record();
    let name = record.config.metadata.as_ref().map(|names| names.name.as_str()).unwrap_or_default();
    let image = record.config.image.as_ref();
    let image =
        image.map(|spec| if spec.user_specified_image.is_empty() { &spec.image } else { &spec.user_specified_image });
    let id = record.cgroup.display().to_string();
    let values = labels.values(name, &id, image.map(String::as_str).unwrap_or_default(), record.id.as_str());
    let now = engine.env.now();
    let source = Source::new(container.clone(), started.started_at, now);
    let families = container::FAMILIES.iter();
    let metrics = families.flat_map(|family| family.metrics(&source, &values, nanoseconds(now))).collect();
    Some(ContainerMetrics { container_id: record.id.to_string(), metrics })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_given_once_and_explained() {
        let of_containers = container::FAMILIES.iter().map(Family::descriptor);
        let all: Vec<MetricDescriptor> =
            of_containers.chain(network::FAMILIES.iter().map(Family::descriptor)).collect();
        let names: BTreeSet<&str> = all.iter().map(|descriptor| descriptor.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|descriptor| !descriptor.help.is_empty() && descriptor.label_keys.len() >= 6));
    }
}
