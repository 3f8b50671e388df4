//! `/metrics/resource`: what the node, its pods and their containers use of CPU and memory, for what scales and shows
//! pods (the metrics server, say).
//!
//! Upstream: <https://kubernetes.io/docs/reference/instrumentation/node-metrics/>.

use std::collections::HashMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cri as v1;

use super::summary::{swap_usage, value};
use crate::context::Shared;
use crate::pods::names;
use crate::stats::{self, cpu_of_machine};

/// What is measured of the node: the metric, and its value.
type OfNode = [(&'static str, Option<String>); 3];

/// Answers with the figures. A runtime that does not tell its own is told of, and keeps nothing else from being told.
pub async fn serve(State(context): State<Shared>) -> Response {
    let now = i64::try_from(context.env.now().as_nanosecond()).unwrap_or(i64::MAX);
    let node = [
        ("node_cpu_usage_seconds_total", cpu_of_machine().map(in_seconds)),
        ("node_memory_working_set_bytes", context.cgroups.machine_memory().map(|(used, _)| used.to_string())),
        ("node_swap_usage_bytes", swap_usage().map(|(_, used)| used.to_string())),
    ];
    let told =
        async { Ok::<_, v1::Status>((stats::of_pods(&context).await?, stats::containers_made(&context).await?)) };
    let told = told.await.inspect_err(|err| {
        tracing::warn!(err = %err.message(), "the runtime does not tell what pods use");
    });
    let text = page(told.ok(), &node, now);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The samples of metrics, a line each.
#[derive(Default)]
struct Samples(HashMap<&'static str, Vec<String>>);

impl Samples {
    /// `at` is when it was measured, in nanoseconds since 1970; 0 for something that does not change.
    fn add(&mut self, name: &'static str, labels: &str, value: &str, at: i64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let time = if at > 0 { format!(" {}", at / 1_000_000) } else { String::new() };
        self.0.entry(name).or_default().push(format!("{name}{labels} {value}{time}"));
    }

    fn cpu(&mut self, name: &'static str, labels: &str, usage: Option<&v1::CpuUsage>) {
        if let Some((at, total)) = usage.and_then(|cpu| Some((cpu.timestamp, cpu.usage_core_nano_seconds.as_ref()?))) {
            self.add(name, labels, &in_seconds(total.value), at);
        }
    }

    fn bytes(&mut self, name: &'static str, labels: &str, bytes: Option<u64>, at: i64) {
        if let Some(bytes) = bytes {
            self.add(name, labels, &bytes.to_string(), at);
        }
    }

    fn memory(&mut self, name: &'static str, labels: &str, usage: Option<&v1::MemoryUsage>) {
        if let Some(memory) = usage {
            self.bytes(name, labels, value(memory.working_set_bytes.as_ref()), memory.timestamp);
        }
    }

    fn pod(&mut self, stats: v1::PodSandboxStats, made: &HashMap<String, i64>) {
        let metadata = stats.attributes.unwrap_or_default().metadata.unwrap_or_default();
        let linux = stats.linux.unwrap_or_default();
        let pod = format!("namespace=\"{}\",pod=\"{}\"", metadata.namespace, metadata.name);
        self.cpu("pod_cpu_usage_seconds_total", &pod, linux.cpu.as_ref());
        self.memory("pod_memory_working_set_bytes", &pod, linux.memory.as_ref());
        if let Some(swap) = stats::swap_of_pod(&linux.containers) {
            self.bytes("pod_swap_usage_bytes", &pod, value(swap.swap_usage_bytes.as_ref()), swap.timestamp);
        }
        for container in &linux.containers {
            let labels = format!("container=\"{}\",{pod}", names::of_stats(container));
            self.cpu("container_cpu_usage_seconds_total", &labels, container.cpu.as_ref());
            self.memory("container_memory_working_set_bytes", &labels, container.memory.as_ref());
            if let Some(swap) = &container.swap {
                let (used, left) = (value(swap.swap_usage_bytes.as_ref()), value(swap.swap_available_bytes.as_ref()));
                let limit = left.map(|left| left.saturating_add(used.unwrap_or(0)));
                self.bytes("container_swap_usage_bytes", &labels, used, swap.timestamp);
                self.bytes("container_swap_limit_bytes", &labels, limit, swap.timestamp);
            }
            let id = container.attributes.as_ref().map(|attributes| attributes.id.as_str()).unwrap_or_default();
            if let Some(at) = made.get(id).and_then(|at| u64::try_from(*at).ok()).filter(|at| *at > 0) {
                self.add("container_start_time_seconds", &labels, &in_seconds(at), 0);
            }
        }
    }
}

/// All metrics; `told` has what the runtime tells of pods, and when it made which container.
fn page(told: Option<(Vec<v1::PodSandboxStats>, HashMap<String, i64>)>, node: &OfNode, now: i64) -> String {
    let mut samples = Samples::default();
    for (name, value) in node {
        if let Some(value) = value {
            samples.add(name, "", value, now);
        }
    }
    samples.add("resource_scrape_error", "", if told.is_some() { "0" } else { "1" }, 0);
    let (pods, made) = told.unwrap_or_default();
    for stats in pods {
        samples.pod(stats, &made);
    }
    let mut text = String::new();
    for (name, help, kind) in METRICS {
        let Some(lines) = samples.0.get(name) else { continue };
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}\n", lines.join("\n"));
    }
    text
}

/// Nanoseconds as seconds.
pub(super) fn in_seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Name, help and type of what is measured.
const METRICS: [(&str, &str, &str); 12] = [
    (
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        "counter",
    ),
    ("container_memory_working_set_bytes", "[STABLE] Current working set of the container in bytes", "gauge"),
    ("container_start_time_seconds", "[STABLE] When the container was made, in seconds since 1970", "gauge"),
    ("container_swap_limit_bytes", "[ALPHA] How much the container may swap at most, in bytes", "gauge"),
    ("container_swap_usage_bytes", "[ALPHA] Current swap usage of the container in bytes", "gauge"),
    ("node_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the node in core-seconds", "counter"),
    ("node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", "gauge"),
    ("node_swap_usage_bytes", "[ALPHA] Current swap usage of the node in bytes", "gauge"),
    ("pod_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", "counter"),
    ("pod_memory_working_set_bytes", "[STABLE] Current working set of the pod in bytes", "gauge"),
    ("pod_swap_usage_bytes", "[ALPHA] Current swap usage of the pod in bytes", "gauge"),
    ("resource_scrape_error", "[STABLE] 1 if the runtime did not tell what pods use, 0 if it did", "gauge"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn number(value: u64) -> Option<v1::UInt64Value> {
        Some(v1::UInt64Value { value })
    }

    /// A pod with one container, which has swapped something and may swap so much more.
    fn web(swap_left: Option<u64>) -> v1::PodSandboxStats {
        let metadata = v1::PodSandboxMetadata { name: "web".into(), namespace: "d".into(), ..Default::default() };
        let cpu = v1::CpuUsage {
            timestamp: 7 * SECOND,
            usage_core_nano_seconds: number(1_000_000_345),
            ..Default::default()
        };
        let memory = v1::MemoryUsage { timestamp: 8 * SECOND, working_set_bytes: number(100), ..Default::default() };
        let swap_available_bytes = swap_left.map(|value| v1::UInt64Value { value });
        let swap = v1::SwapUsage { timestamp: 9 * SECOND, swap_available_bytes, swap_usage_bytes: number(30) };
        let attributes = v1::ContainerAttributes {
            id: "c1".into(),
            metadata: Some(v1::ContainerMetadata { name: "a".into(), attempt: 0 }),
            ..Default::default()
        };
        let container = v1::ContainerStats {
            attributes: Some(attributes),
            cpu: Some(cpu),
            memory: Some(memory),
            swap: Some(swap),
            ..Default::default()
        };
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes { metadata: Some(metadata), ..Default::default() }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: Some(cpu),
                memory: Some(memory),
                containers: vec![container],
                ..Default::default()
            }),
            windows: None,
        }
    }

    #[track_caller]
    fn check(told: Option<Vec<v1::PodSandboxStats>>, expected: &[&str]) {
        let made = HashMap::from([("c1".to_owned(), 1_700_000_000 * SECOND + 5)]);
        let node = [("node_cpu_usage_seconds_total", Some("5.5".into())), ("node_swap_usage_bytes", None), ("x", None)];
        let text = page(told.map(|pods| (pods, made)), &node, 6 * SECOND);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, expected);
        let described = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(described, samples.len(), "each is described:\n{text}");
    }

    #[test]
    fn pods_and_containers_have_their_figures_and_times() {
        check(
            Some(vec![web(Some(12))]),
            &[
                "container_cpu_usage_seconds_total{container=\"a\",namespace=\"d\",pod=\"web\"} 1.000000345 7000",
                "container_memory_working_set_bytes{container=\"a\",namespace=\"d\",pod=\"web\"} 100 8000",
                "container_start_time_seconds{container=\"a\",namespace=\"d\",pod=\"web\"} 1700000000.000000005",
                "container_swap_limit_bytes{container=\"a\",namespace=\"d\",pod=\"web\"} 42 9000",
                "container_swap_usage_bytes{container=\"a\",namespace=\"d\",pod=\"web\"} 30 9000",
                "node_cpu_usage_seconds_total 5.5 6000",
                "pod_cpu_usage_seconds_total{namespace=\"d\",pod=\"web\"} 1.000000345 7000",
                "pod_memory_working_set_bytes{namespace=\"d\",pod=\"web\"} 100 8000",
                "pod_swap_usage_bytes{namespace=\"d\",pod=\"web\"} 30 9000",
                "resource_scrape_error 0",
            ],
        );
    }

    #[test]
    fn what_is_not_measured_is_absent_and_a_silent_runtime_is_an_error() {
        let mut bare = web(None);
        let linux = bare.linux.as_mut().expect("there");
        (linux.cpu, linux.memory) = (None, None);
        linux.containers[0].attributes.as_mut().expect("there").id = "another".to_owned();
        (linux.containers[0].cpu, linux.containers[0].memory) = (None, None);
        check(
            Some(vec![bare]),
            &[
                "container_swap_usage_bytes{container=\"a\",namespace=\"d\",pod=\"web\"} 30 9000",
                "node_cpu_usage_seconds_total 5.5 6000",
                "pod_swap_usage_bytes{namespace=\"d\",pod=\"web\"} 30 9000",
                "resource_scrape_error 0",
            ],
        );
        check(None, &["node_cpu_usage_seconds_total 5.5 6000", "resource_scrape_error 1"]);
    }
}
