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
    let mut families = BTreeMap::new();
    for pod in measured.pod_metrics {
        let containers = pod.container_metrics.into_iter().flat_map(|container| container.metrics);
        for metric in pod.metrics.into_iter().chain(containers) {
            if let Some(descriptor) = descriptors.get(&metric.name) {
                add(&mut families, descriptor, &metric);
            }
        }
    }
    Ok(families)
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

fn add(families: &mut BTreeMap<String, Family>, descriptor: &v1::MetricDescriptor, metric: &v1::Metric) {
    let Some(value) = &metric.value else { return };
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
    let time = if metric.timestamp > 0 { format!(" {}", metric.timestamp / 1_000_000) } else { String::new() };
    family.samples.push(format!("{}{labels} {}{time}", metric.name, value.value));
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
