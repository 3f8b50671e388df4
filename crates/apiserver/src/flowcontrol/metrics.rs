//! What priority and fairness count, under upstream's names.
//!
//! What happens is counted where it happens, with a schema's counters at hand; what is there is looked at when somebody
//! asks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::FlowControl;
use super::estimate::Estimate;
use super::queueset::Refusal;
use crate::metrics::{FIXED, counters, gauges, histograms};

/// The labels of what a request's schema counts.
const LABELS: [&str; 2] = ["priority_level", "flow_schema"];

/// The bounds of upstream's buckets for times, in seconds.
const TIMES: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

/// The counters of a server.
pub(super) struct Metrics {
    dispatched: IntCounterVec,
    rejected: IntCounterVec,
    waited: HistogramVec,
    executed: HistogramVec,
    estimated: HistogramVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let [level, schema] = LABELS;
        Self {
            dispatched: counters(
                "apiserver_flowcontrol_dispatched_requests_total",
                "Requests that were given their seats.",
                &LABELS,
            ),
            rejected: counters(
                "apiserver_flowcontrol_rejected_requests_total",
                "Requests that were turned away, and why.",
                &[level, schema, "reason"],
            ),
            waited: histograms(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "How long requests waited for their seats, and whether they got them.",
                &TIMES,
                &[level, schema, "execute"],
            ),
            executed: histograms(
                "apiserver_flowcontrol_request_execution_seconds",
                "How long requests had their seats.",
                &TIMES,
                &[level, schema, "type"],
            ),
            estimated: histograms(
                "apiserver_flowcontrol_work_estimated_seats",
                "The seats that requests were taken to need.",
                &[1.0, 2.0, 4.0, 10.0],
                &LABELS,
            ),
        }
    }
}

/// The counters of the requests of one schema. What never happens is not told of.
pub(super) struct Counters {
    metrics: Arc<Metrics>,
    level: String,
    schema: String,
    dispatched: OnceLock<IntCounter>,
    waited: OnceLock<Histogram>,
    executed: OnceLock<Histogram>,
    estimated: OnceLock<Histogram>,
}

impl Counters {
    pub(super) fn new(metrics: Arc<Metrics>, level: &str, schema: &str) -> Self {
        Self {
            metrics,
            level: level.to_owned(),
            schema: schema.to_owned(),
            dispatched: OnceLock::new(),
            waited: OnceLock::new(),
            executed: OnceLock::new(),
            estimated: OnceLock::new(),
        }
    }

    fn labels(&self) -> [&str; 2] {
        [&self.level, &self.schema]
    }

    fn with<'a>(&'a self, last: &'a str) -> [&'a str; 3] {
        [&self.level, &self.schema, last]
    }

    /// A request arrives.
    pub(super) fn arrived(&self, estimate: Estimate) {
        let estimated = self.estimated.get_or_init(|| self.metrics.estimated.with_label_values(&self.labels()));
        estimated.observe(f64::from(estimate.most()));
    }

    /// A request has its seats; how long it waited, where requests do.
    pub(super) fn dispatched(&self, waited: Option<Duration>) {
        self.dispatched.get_or_init(|| self.metrics.dispatched.with_label_values(&self.labels())).inc();
        if let Some(waited) = waited {
            let of = || self.metrics.waited.with_label_values(&self.with("true"));
            self.waited.get_or_init(of).observe(waited.as_secs_f64());
        }
    }

    /// A request is turned away, or goes before it is its turn.
    pub(super) fn rejected(&self, why: Option<Refusal>, waited: Duration) {
        let why = match why {
            Some(Refusal::QueueFull) => "queue-full",
            Some(Refusal::ConcurrencyLimit) => "concurrency-limit",
            Some(Refusal::TimeOut) => "time-out",
            None => "cancelled",
        };
        self.metrics.rejected.with_label_values(&self.with(why)).inc();
        self.metrics.waited.with_label_values(&self.with("false")).observe(waited.as_secs_f64());
    }

    /// A request gives its seats back.
    pub(super) fn executed(&self, held: Duration, is_watch: bool) {
        let held = held.as_secs_f64();
        match is_watch {
            true => self.metrics.executed.with_label_values(&self.with("watch")).observe(held),
            false => {
                let of = || self.metrics.executed.with_label_values(&self.with("regular"));
                self.executed.get_or_init(of).observe(held);
            }
        }
    }
}

/// What the requests of a schema are doing.
#[derive(Clone, Copy, Default)]
struct Doing {
    waiting: i64,
    waiting_seats: i64,
    executing: i64,
    executing_seats: i64,
}

impl FlowControl {
    /// Everything that is counted.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let snapshot = self.snapshot.load();
        let metrics = &snapshot.metrics;
        let counted: [&dyn Collector; 5] =
            [&metrics.dispatched, &metrics.rejected, &metrics.waited, &metrics.executed, &metrics.estimated];
        let mut families: Vec<MetricFamily> = counted.iter().flat_map(|counted| counted.collect()).collect();
        let of_schemas = |(name, help): (&str, &str)| gauges(&format!("apiserver_flowcontrol_{name}"), help, &LABELS);
        let shown = [
            ("current_inqueue_requests", "Requests that wait for their seats."),
            ("current_inqueue_seats", "The seats that waiting requests will take."),
            ("current_executing_requests", "Requests that have their seats and are not answered yet."),
            ("current_executing_seats", "Seats that are taken."),
        ]
        .map(of_schemas);
        for (labels, doing) in self.doing() {
            let labels = [labels.0.as_str(), labels.1.as_str()];
            let values = [doing.waiting, doing.waiting_seats, doing.executing, doing.executing_seats];
            shown.iter().zip(values).for_each(|(gauge, value)| gauge.with_label_values(&labels).set(value));
        }
        families.extend(shown.iter().flat_map(IntGaugeVec::collect));
        families.extend(self.levels_shown());
        families
    }

    /// What the requests of each level and schema are doing.
    fn doing(&self) -> BTreeMap<(String, String), Doing> {
        let snapshot = self.snapshot.load();
        let known = snapshot.schemas.iter().map(|schema| (schema.level.name.clone(), schema.name.clone()));
        let mut all: BTreeMap<_, _> = known.map(|labels| (labels, Doing::default())).collect();
        for level in snapshot.levels.values() {
            for (_, entry) in level.set().entries() {
                let doing = all.entry((level.name.clone(), entry.payload.schema.name.clone())).or_default();
                let seats = i64::from(entry.estimate.most());
                if entry.started.is_none() {
                    doing.waiting += 1;
                    doing.waiting_seats += seats;
                } else {
                    doing.executing += i64::from(!entry.is_over);
                    doing.executing_seats += seats;
                }
            }
        }
        all
    }

    /// The seats of each level.
    fn levels_shown(&self) -> Vec<MetricFamily> {
        let of_levels = |(name, help): (&str, &str)| {
            GaugeVec::new(Opts::new(format!("apiserver_flowcontrol_{name}"), help), &LABELS[..1]).expect(FIXED)
        };
        let shown = [
            ("nominal_limit_seats", "A level's own seats."),
            ("lower_limit_seats", "The seats that a level keeps when it lends all that it may."),
            ("upper_limit_seats", "The seats that a level has when it borrows all that it may."),
            ("current_limit_seats", "The seats that a level has now."),
            ("demand_seats_high_watermark", "The most seats that a level wanted at once in the last period."),
            ("demand_seats_average", "The seats that a level wanted in the last period, on average."),
            ("demand_seats_stdev", "How far from their average the wanted seats were in the last period."),
            ("demand_seats_smoothed", "The seats that a level wants by and large."),
        ]
        .map(of_levels);
        for level in self.levels() {
            let values = level.seats();
            for (gauge, value) in shown.iter().zip(values) {
                gauge.with_label_values(&[level.name.as_str()]).set(value);
            }
        }
        shown.iter().flat_map(GaugeVec::collect).collect()
    }
}
