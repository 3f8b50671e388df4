//! What came of the health checks: the indicators of a component's service level.
//!
//! Upstream: <https://kubernetes.io/docs/reference/instrumentation/slis/>.

use axum::response::Response;
use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{counters, gauges, register, text};

/// What was found by those who asked whether the kubelet is well.
pub struct HealthMetrics {
    registry: Registry,
    present: IntGaugeVec,
    total: IntCounterVec,
}

impl HealthMetrics {
    /// Nobody has asked yet.
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Registry::new(),
            present: gauges(
                "kubernetes_healthcheck",
                "[STABLE] 1 if the check went well the last time.",
                &["name", "type"],
            ),
            total: counters(
                "kubernetes_healthchecks_total",
                "[STABLE] How often the check was made, by what came of it.",
                &["name", "status", "type"],
            ),
        };
        register(&metrics.registry, metrics.present.clone());
        register(&metrics.registry, metrics.total.clone());
        metrics
    }

    /// A check of `/healthz` was made.
    pub fn checked(&self, name: &str, is_well: bool) {
        self.present.with_label_values(&[name, "healthz"]).set(i64::from(is_well));
        self.total.with_label_values(&[name, if is_well { "success" } else { "error" }, "healthz"]).inc();
    }

    /// `/metrics/slis`.
    pub fn page(&self) -> Response {
        text(self.registry.gather())
    }
}
