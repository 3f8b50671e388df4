//! `/metrics/cadvisor`: what the runtime measures of pods and containers under cAdvisor's names, and what the machine has.
//! Where the runtime has no such names, they are given to the [figures](super::measured) that it has.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cri as v1;

use super::measured;
use super::pods::Refusal;
use super::resource_metrics::in_seconds;
use crate::context::{Context, Shared};
use crate::stats;

/// A metric's description and what was measured, a line each.
#[derive(Default)]
pub(super) struct Family {
    pub(super) help: String,
    pub(super) is_counter: bool,
    pub(super) samples: Vec<String>,
}

/// What the runtime measures.
pub async fn serve(State(context): State<Shared>) -> Result<Response, Refusal> {
    let refused = |err: v1::Status| Refusal(StatusCode::INTERNAL_SERVER_ERROR, err.message().to_owned());
    let mut families = match told(&context).await {
        Err(err) if err.code() == v1::Code::Unimplemented => measured_of(&context).await.map_err(refused)?,
        told => told.map_err(refused)?,
    };
    machine(&context, &mut families);
    let mut text = String::new();
    for (name, family) in families {
        let kind = if family.is_counter { "counter" } else { "gauge" };
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{}\n", family.help, family.samples.join("\n"));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// What the runtime tells under cAdvisor's names.
async fn told(context: &Context) -> Result<BTreeMap<String, Family>, v1::Status> {
    let mut runtime = context.runtime.clone();
    let described = runtime.list_metric_descriptors(v1::ListMetricDescriptorsRequest {}).await?.into_inner();
    let measured = runtime.list_pod_sandbox_metrics(v1::ListPodSandboxMetricsRequest {}).await?.into_inner();
    let descriptors: HashMap<String, v1::MetricDescriptor> =
        described.descriptors.into_iter().map(|one| (one.name.clone(), one)).collect();
    // One that has metrics and no figures tells whole seconds.
    let figures = Precise::new(stats::of_pods(context).await.unwrap_or_default());
    Ok(families(&descriptors, measured.pod_metrics, &figures))
}

fn families(
    descriptors: &HashMap<String, v1::MetricDescriptor>,
    pods: Vec<v1::PodSandboxMetrics>,
    figures: &Precise,
) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    for pod in pods {
        let containers = pod.container_metrics.into_iter().map(|container| (container.container_id, container.metrics));
        for (id, metrics) in std::iter::once((pod.pod_sandbox_id, pod.metrics)).chain(containers) {
            for metric in metrics {
                if let Some(descriptor) = descriptors.get(&metric.name) {
                    add(&mut families, descriptor, &metric, figures.of(&id, &metric.name));
                }
            }
        }
    }
    families
}

/// Times in nanoseconds: CRI's metrics are whole numbers, and so whole seconds; its figures are not.
struct Precise(HashMap<String, Figures>);

/// What of the figures of a pod or of a container are times.
#[derive(Default)]
struct Figures {
    cpu: Option<v1::CpuUsage>,
    memory: Option<v1::MemoryUsage>,
    io: Option<v1::IoUsage>,
}

impl Precise {
    fn new(pods: Vec<v1::PodSandboxStats>) -> Self {
        let mut all = HashMap::new();
        for pod in pods {
            let linux = pod.linux.unwrap_or_default();
            let figures = Figures { cpu: linux.cpu, memory: linux.memory, io: linux.io };
            all.insert(pod.attributes.unwrap_or_default().id, figures);
            for stats in linux.containers {
                let figures = Figures { cpu: stats.cpu, memory: stats.memory, io: stats.io };
                all.insert(stats.attributes.unwrap_or_default().id, figures);
            }
        }
        Self(all)
    }

    /// A metric's value and when it was measured, if it is a time that is known: both in nanoseconds.
    fn of(&self, id: &str, metric: &str) -> Option<(u64, i64)> {
        let figures = self.0.get(id)?;
        let name = metric.strip_prefix("container_")?.strip_suffix("_seconds_total")?;
        if name == "cpu_usage" {
            let cpu = figures.cpu.as_ref()?;
            return Some((cpu.usage_core_nano_seconds.as_ref()?.value, cpu.timestamp));
        }
        let (resource, who) = name.strip_prefix("pressure_")?.split_once('_')?;
        let (psi, at) = match resource {
            "cpu" => figures.cpu.as_ref().map(|cpu| (cpu.psi.as_ref(), cpu.timestamp)),
            "memory" => figures.memory.as_ref().map(|memory| (memory.psi.as_ref(), memory.timestamp)),
            "io" => figures.io.as_ref().map(|io| (io.psi.as_ref(), io.timestamp)),
            _ => None,
        }?;
        let data = match who {
            "waiting" => psi?.some.as_ref(),
            "stalled" => psi?.full.as_ref(),
            _ => None,
        };
        Some((data?.total, at))
    }
}

/// What can be told of one that does not.
async fn measured_of(context: &Context) -> Result<BTreeMap<String, Family>, v1::Status> {
    let listed = context.runtime.clone().list_containers(v1::ListContainersRequest { filter: None }).await?;
    let image = |container: v1::Container| (container.id, container.image.unwrap_or_default().image);
    let images = listed.into_inner().containers.into_iter().map(image).collect();
    let mut families = BTreeMap::new();
    measured::add(&mut families, &stats::of_pods(context).await?, &images);
    Ok(families)
}

/// Adds a sample; `precise` is a better value, and when it was measured, in nanoseconds.
fn add(
    families: &mut BTreeMap<String, Family>,
    descriptor: &v1::MetricDescriptor,
    metric: &v1::Metric,
    precise: Option<(u64, i64)>,
) {
    let (value, at) = match (precise, &metric.value) {
        (Some((nanos, at)), _) => (in_seconds(nanos), at),
        (None, Some(value)) => (value.value.to_string(), metric.timestamp),
        (None, None) => return,
    };
    let family = families.entry(metric.name.clone()).or_default();
    family.help.clone_from(&descriptor.help);
    family.is_counter = metric.metric_type() == v1::MetricType::Counter;
    let labels: Vec<String> = descriptor
        .label_keys
        .iter()
        .zip(&metric.label_values)
        .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
        .collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let time = if at > 0 { format!(" {}", at / 1_000_000) } else { String::new() };
    family.samples.push(format!("{}{labels} {value}{time}", metric.name));
}

/// What the machine has, which the runtime does not tell.
fn machine(context: &Context, families: &mut BTreeMap<String, Family>) {
    let machine = &context.machine;
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", machine.cpu_milli / 1000),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", machine.memory_bytes),
    ] {
        let family = Family { help: help.to_owned(), is_counter: false, samples: vec![format!("{name} {value}")] };
        families.insert(name.to_owned(), family);
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: i64 = 1_000_000;

    /// The page's sample of a metric of a container of which the runtime has metrics, and figures where they are given.
    #[track_caller]
    fn check(metric: &str, figures: Option<v1::ContainerStats>, expected: &str) {
        let descriptor = v1::MetricDescriptor {
            name: metric.to_owned(),
            help: "Help.".to_owned(),
            label_keys: vec!["container".to_owned()],
        };
        let metric = v1::Metric {
            name: metric.to_owned(),
            timestamp: 5 * MILLISECOND,
            metric_type: v1::MetricType::Counter.into(),
            label_values: vec!["a".to_owned()],
            value: Some(v1::UInt64Value { value: 1 }),
        };
        let container_metrics = vec![v1::ContainerMetrics { container_id: "c1".into(), metrics: vec![metric] }];
        let metrics = v1::PodSandboxMetrics { container_metrics, ..Default::default() };
        let attributes = v1::ContainerAttributes { id: "c1".into(), ..Default::default() };
        let containers = figures.map(|figures| v1::ContainerStats { attributes: Some(attributes), ..figures });
        let linux = v1::LinuxPodSandboxStats { containers: containers.into_iter().collect(), ..Default::default() };
        let figures = Precise::new(vec![v1::PodSandboxStats { linux: Some(linux), ..Default::default() }]);
        let descriptors = HashMap::from([(descriptor.name.clone(), descriptor)]);
        let families = families(&descriptors, vec![metrics], &figures);
        let samples: Vec<&String> = families.values().flat_map(|family| &family.samples).collect();
        assert_eq!(samples, [expected]);
    }

    #[test]
    fn times_are_not_cut_to_whole_seconds() {
        let psi = v1::PsiStats {
            some: Some(v1::PsiData { total: 2_000_000_007, ..Default::default() }),
            full: Some(v1::PsiData { total: 9, ..Default::default() }),
        };
        let cpu = v1::CpuUsage {
            timestamp: 6 * MILLISECOND,
            usage_core_nano_seconds: Some(v1::UInt64Value { value: 1_900_000_001 }),
            psi: Some(psi),
            ..Default::default()
        };
        let memory = v1::MemoryUsage { timestamp: 7 * MILLISECOND, psi: Some(psi), ..Default::default() };
        let io = v1::IoUsage { timestamp: 8 * MILLISECOND, psi: Some(psi) };
        let figures =
            || Some(v1::ContainerStats { cpu: Some(cpu), memory: Some(memory), io: Some(io), ..Default::default() });
        for (metric, sample) in [
            ("container_cpu_usage_seconds_total", "1.900000001 6"),
            ("container_pressure_cpu_waiting_seconds_total", "2.000000007 6"),
            ("container_pressure_memory_stalled_seconds_total", "0.000000009 7"),
            ("container_pressure_io_waiting_seconds_total", "2.000000007 8"),
            // Nobody measures these better than the metric does.
            ("container_cpu_user_seconds_total", "1 5"),
            ("container_memory_usage_bytes", "1 5"),
        ] {
            check(metric, figures(), &format!("{metric}{{container=\"a\"}} {sample}"));
        }
        let usage = "container_cpu_usage_seconds_total";
        check(usage, None, &format!("{usage}{{container=\"a\"}} 1 5"));
    }
}
