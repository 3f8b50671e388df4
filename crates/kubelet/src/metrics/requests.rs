//! What the kubelet asks the API server.

use std::sync::Arc;

use base::Env;
use http::Request;
use kube::client::Body;
use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::{Metrics, counters, histograms, register};

/// The bounds of upstream's buckets for requests of clients, in seconds.
const REQUESTS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// The code of a request that had no answer.
const NO_ANSWER: &str = "<error>";

/// The counters of requests to the API server.
pub struct RequestMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl RequestMetrics {
    /// Nothing was asked yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            requests: counters(
                "rest_client_requests_total",
                "Requests to the API server, by how they were answered.",
                &["code", "method"],
            ),
            durations: histograms(
                "rest_client_request_duration_seconds",
                "How long the API server took to begin its answer.",
                &REQUESTS,
                &["verb"],
            ),
        };
        register(registry, metrics.requests.clone());
        register(registry, metrics.durations.clone());
        metrics
    }
}

/// A client whose requests are counted.
pub fn measured(client: &kube::Client, metrics: &Arc<Metrics>, env: &Env) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    let (client, metrics, env) = (client.clone(), Arc::clone(metrics), env.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, metrics, env) = (client.clone(), Arc::clone(&metrics), env.clone());
        async move {
            let (method, began) = (request.method().to_string(), env.instant());
            let answer = client.send(request).await;
            let code =
                answer.as_ref().map_or_else(|_| NO_ANSWER.to_owned(), |answer| answer.status().as_str().to_owned());
            metrics.requests.requests.with_label_values(&[code.as_str(), method.as_str()]).inc();
            metrics.requests.durations.with_label_values(&[method.as_str()]).observe(began.elapsed().as_secs_f64());
            answer
        }
    });
    kube::Client::new(service, namespace)
}
