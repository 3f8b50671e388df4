//! What this server measures of itself, under upstream's names and in Prometheus' text format.
//!
//! Each server has its own registry: several share a process in tests. What happens is counted where it happens; what is
//! there is counted when somebody asks.

mod requests;

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use api::kinds::Resource;
use api::status::Status;

use crate::handlers;
use crate::http::body::{self, Body};
use crate::pipeline::Core;

pub(crate) use requests::{LongRunning, measure};

/// The bounds of upstream's buckets for the time that a request takes, in seconds.
const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The bounds of upstream's buckets for finding out who somebody is and what he may do.
pub(crate) const ACCESS_TIMES: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// The counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    long_running: IntGaugeVec,
    read_only: IntGauge,
    mutating: IntGauge,
    watch_events: IntCounterVec,
}

/// Names and help in this module are fixed and well-formed.
pub(crate) const FIXED: &str = "fixed names and labels are valid";

pub(crate) fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect(FIXED)
}

pub(crate) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(FIXED)
}

pub(crate) fn histograms(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels).expect(FIXED)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let in_flight = gauges(
            "apiserver_current_inflight_requests",
            "Requests that are being handled, by kind; those that may last are not among them.",
            &["request_kind"],
        );
        let metrics = Self {
            requests: counters(
                "apiserver_request_total",
                "Requests that were answered, by what they asked for and the status of the answer.",
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
            ),
            durations: histograms(
                "apiserver_request_duration_seconds",
                "How long requests took, in seconds.",
                &DURATIONS,
                &requests::LABELS,
            ),
            long_running: gauges(
                "apiserver_longrunning_requests",
                "Watches and connections that are open.",
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
            ),
            read_only: in_flight.with_label_values(&["readOnly"]),
            mutating: in_flight.with_label_values(&["mutating"]),
            watch_events: counters(
                "apiserver_watch_events_total",
                "Events that were sent to watches, by the resource that is watched.",
                &["group", "version", "resource"],
            ),
            registry,
        };
        metrics.register(metrics.requests.clone());
        metrics.register(metrics.durations.clone());
        metrics.register(metrics.long_running.clone());
        metrics.register(in_flight);
        metrics.register(metrics.watch_events.clone());
        metrics.register(prometheus::process_collector::ProcessCollector::for_self());
        metrics
    }

    fn register(&self, collector: impl Collector + 'static) {
        self.registry.register(Box::new(collector)).expect("each name is registered once");
    }

    /// The counter of the events that watches of a resource are sent.
    pub(crate) fn watch_events(&self, resource: &Resource) -> IntCounter {
        self.watch_events.with_label_values(&[&*resource.group, &*resource.version, &*resource.plural])
    }
}

/// `/metrics`.
pub(crate) async fn answer(core: &Arc<Core>) -> Result<Response<Body>, Status> {
    let mut families = core.metrics.registry.gather();
    families.extend(objects(core));
    families.extend(storage_size(core).await);
    families.extend(core.aggregation.unavailable());
    families.extend(core.registry.admission.metrics());
    families.extend(core.registry.storage.metrics());
    families.extend(core.limits.metrics());
    families.extend(core.authenticator.metrics());
    families.extend(core.registry.authorization.metrics());
    families.extend(core.audit.iter().flat_map(|audit| audit.metrics()));
    families.extend(build_info());
    // The encoder takes none without values.
    families.retain(|family| !family.get_metric().is_empty());
    let mut text = Vec::new();
    prometheus::TextEncoder::new().encode(&families, &mut text).map_err(Status::internal)?;
    let mut response = Response::new(body::full(text));
    *response.status_mut() = StatusCode::OK;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// How many objects there are, under upstream's name since v1.34 and the one before.
fn objects(core: &Core) -> Vec<MetricFamily> {
    let help = "Objects in the datastore.";
    let by_resource = gauges("apiserver_resource_objects", help, &["group", "resource"]);
    let by_name = gauges("apiserver_storage_objects", help, &["resource"]);
    for (group, resource, count) in core.registry.cache.counts() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        by_resource.with_label_values(&[&group, &resource]).set(count);
        let name = if group.is_empty() { resource } else { format!("{resource}.{group}") };
        by_name.with_label_values(&[&name]).set(count);
    }
    by_resource.collect().into_iter().chain(by_name.collect()).collect()
}

/// How large the datastore is; nothing while it cannot say so.
async fn storage_size(core: &Core) -> Vec<MetricFamily> {
    let Ok(status) = core.registry.storage.status().await else { return Vec::new() };
    let size = gauges("apiserver_storage_size_bytes", "The size of the datastore.", &["storage_cluster_id"]);
    size.with_label_values(&["etcd-0"]).set(i64::try_from(status.bytes).unwrap_or(i64::MAX));
    size.collect()
}

fn build_info() -> Vec<MetricFamily> {
    let version = handlers::paths::version();
    // The names of the labels are those of the version, in snake case.
    let labels = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let info =
        gauges("kubernetes_build_info", "Always 1; the labels say what this is.", &labels.map(|(label, _)| label));
    info.with_label_values(&labels.map(|(_, member)| version[member].as_str().unwrap_or_default())).set(1);
    info.collect()
}
