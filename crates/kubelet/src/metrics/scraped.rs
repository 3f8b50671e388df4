//! What is counted when somebody asks: pods, containers and volumes that are there.

use std::collections::BTreeMap;

use axum::response::Response;
use cri as v1;
use k8s_openapi::api::core::v1::Pod;
use prometheus::Gauge;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use super::{FIXED, counter, gauges, text};
use crate::context::Context;
use crate::node::kubelet_version;
use crate::pods::{log_directory, spec};
use crate::static_pods::is_static;
use crate::volumes;

/// `/metrics`.
pub async fn scrape(context: &Context) -> Response {
    let mut families = context.metrics.own();
    families.extend(build_info());
    families.extend(certificate(context));
    families.extend(pods(context));
    families.extend(shutdown(context));
    families.extend(context.devices.metrics().collect());
    families.extend(managers(context));
    families.extend(running(context).await);
    families.extend(volumes_of(context).await);
    families.extend(logs(context).await);
    text(families)
}

fn build_info() -> Vec<MetricFamily> {
    let info = gauges("kubernetes_build_info", "The version.", &["major", "minor", "git_version", "platform"]);
    let platform = format!("linux/{}", crate::node::architecture());
    info.with_label_values(&["1", "35", &kubelet_version(), &platform]).set(1);
    info.collect()
}

/// How long what the server shows is good; less than nothing where it is no more.
fn certificate(context: &Context) -> Vec<MetricFamily> {
    let Some(end) = context.config.serving.not_after() else { return Vec::new() };
    let left = end.duration_since(context.env.now()).as_secs_f64();
    let name = "kubelet_certificate_manager_server_ttl_seconds";
    gauge(name, "Seconds until the end of the certificate that the server shows.", left)
}

fn gauge(name: &str, help: &str, value: f64) -> Vec<MetricFamily> {
    let gauge = Gauge::new(name, help).expect(FIXED);
    gauge.set(value);
    gauge.collect()
}

/// What logs take, by container.
async fn logs(context: &Context) -> Vec<MetricFamily> {
    let (name, labels) = ("kubelet_container_log_filesystem_used_bytes", ["uid", "namespace", "pod", "container"]);
    let bytes = gauges(name, "Bytes that the logs of a container take.", &labels);
    for pod in context.pods.list() {
        let dir = log_directory(&context.config.pod_logs_dir, &pod);
        let look = move || {
            // A pod that has not begun has no logs.
            let containers = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let one = |entry: std::fs::DirEntry| {
                Some((entry.file_name().into_string().ok()?, volumes::taken(&entry.path()).ok()?.0))
            };
            containers.filter_map(one).collect::<Vec<_>>()
        };
        for (container, taken) in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
            let labels = [spec::uid(&pod), spec::namespace(&pod), spec::name(&pod), &container];
            bytes.with_label_values(&labels).set(i64::try_from(taken).unwrap_or(i64::MAX));
        }
    }
    bytes.collect()
}

/// The pods that should run here, by whether manifests ask for them, and what they run in.
fn pods(context: &Context) -> Vec<MetricFamily> {
    let labels = ["static"];
    let desired = gauges("kubelet_desired_pods", "Pods that the kubelet is told to run.", &labels);
    let active = gauges("kubelet_active_pods", "Pods that have not come to their end.", &labels);
    let mirrors = gauges("kubelet_mirror_pods", "Mirror pods in the API.", &[]);
    let known = context.pods.list();
    for is_from_manifest in [false, true] {
        let those = || known.iter().filter(|pod| is_static(pod) == is_from_manifest);
        let label = [if is_from_manifest { "true" } else { "" }];
        desired.with_label_values(&label).set(number(those().count()));
        active.with_label_values(&label).set(number(those().filter(|pod| !spec::is_terminal(pod)).count()));
    }
    mirrors.with_label_values::<&str>(&[]).set(number(context.pods.mirrors()));
    let ephemeral = gauges("kubelet_managed_ephemeral_containers", "Ephemeral containers of the node's pods.", &[]);
    let count = known.iter().map(|pod| spec::spec(pod).ephemeral_containers.as_ref().map_or(0, Vec::len)).sum();
    ephemeral.with_label_values::<&str>(&[]).set(number(count));
    let version = gauges("kubelet_cgroup_version", "The version of the machine's cgroups.", &[]);
    version.with_label_values::<&str>(&[]).set(if context.cgroups.is_v2() { 2 } else { 1 });
    [desired, active, mirrors, ephemeral, version].iter().flat_map(Collector::collect).collect()
}

/// What containers asked for that managers give to them for themselves.
fn managers(context: &Context) -> Vec<MetricFamily> {
    let count = |name: String, help: &str, count: u64| {
        let counter = counter(&name, help);
        counter.inc_by(count);
        counter.collect()
    };
    let of = |(name, (requests, errors)): (&str, (u64, u64))| {
        let asked = count(format!("kubelet_{name}_requests_total"), "How often it was asked for.", requests);
        [asked, count(format!("kubelet_{name}_errors_total"), "How often it could not be given.", errors)].concat()
    };
    context.managers.counts().into_iter().flat_map(of).collect()
}

/// When the machine's last shutdown waited for pods; nothing where none has.
fn shutdown(context: &Context) -> Vec<MetricFamily> {
    let Some((start, end)) = context.shutdown.times() else { return Vec::new() };
    let names = ["kubelet_graceful_shutdown_start_time_seconds", "kubelet_graceful_shutdown_end_time_seconds"];
    let start = gauge(names[0], "When pods began to end for the machine's last shutdown.", start);
    [start, gauge(names[1], "When they had ended; 0 until then.", end)].concat()
}

/// What the runtime has; nothing where it does not say.
async fn running(context: &Context) -> Vec<MetricFamily> {
    let mut runtime = context.runtime.clone();
    let containers = runtime.list_containers(v1::ListContainersRequest { filter: None }).await;
    let sandboxes = runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter: None }).await;
    let (Ok(containers), Ok(sandboxes)) = (containers, sandboxes) else { return Vec::new() };
    let mut states = BTreeMap::<&str, usize>::new();
    for container in containers.into_inner().containers {
        let state = match container.state() {
            v1::ContainerState::ContainerCreated => "created",
            v1::ContainerState::ContainerRunning => "running",
            v1::ContainerState::ContainerExited => "exited",
            v1::ContainerState::ContainerUnknown => "unknown",
        };
        *states.entry(state).or_default() += 1;
    }
    let by_state = gauges("kubelet_running_containers", "Containers, by their state.", &["container_state"]);
    for (state, count) in states {
        by_state.with_label_values(&[state]).set(number(count));
    }
    let ready =
        sandboxes.into_inner().items.iter().filter(|one| one.state() == v1::PodSandboxState::SandboxReady).count();
    let pods = gauges("kubelet_running_pods", "Pods that have a sandbox that runs.", &[]);
    pods.with_label_values::<&str>(&[]).set(number(ready));
    [by_state.collect(), pods.collect()].concat()
}

/// How full the volumes of claims are.
async fn volumes_of(context: &Context) -> Vec<MetricFamily> {
    let labels = ["namespace", "persistentvolumeclaim"];
    let metrics = [
        ("kubelet_volume_stats_available_bytes", "Bytes that a volume has left."),
        ("kubelet_volume_stats_capacity_bytes", "Bytes that a volume has."),
        ("kubelet_volume_stats_used_bytes", "Bytes that are used of a volume."),
        ("kubelet_volume_stats_inodes", "Inodes that a volume has."),
        ("kubelet_volume_stats_inodes_free", "Inodes that a volume has left."),
        ("kubelet_volume_stats_inodes_used", "Inodes that are used of a volume."),
    ]
    .map(|(name, help)| gauges(name, help, &labels));
    for pod in context.pods.list().iter().filter(|pod| has_claims(pod)) {
        for volume in volumes::of_pod(context, pod).await {
            let Some(claim) = &volume.claim else { continue };
            let usage = &volume.usage;
            let values =
                [usage.available, usage.capacity, usage.used, usage.inodes, usage.inodes_free, usage.inodes_used];
            for (metric, value) in metrics.iter().zip(values) {
                if let Some(value) = value {
                    let value = i64::try_from(value).unwrap_or(i64::MAX);
                    metric.with_label_values(&[spec::namespace(pod), claim.as_str()]).set(value);
                }
            }
        }
    }
    metrics.iter().flat_map(Collector::collect).collect()
}

fn has_claims(pod: &Pod) -> bool {
    let volumes = spec::spec(pod).volumes.iter().flatten();
    volumes.into_iter().any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
