//! What is measured of the encryption at rest, under upstream's names.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
};
use tonic::Code;

use crate::handle::hash;
use crate::kms::WrongKeyId;
use crate::transformers::Resource;

/// How many keys of plugins are told apart: others would come and go forever.
const MAX_KEYS: usize = 100;

/// Names and help in this module are fixed and well-formed.
const FIXED: &str = "fixed names and labels are valid";

/// The counters of one server.
pub(crate) struct Metrics {
    transformations: IntCounterVec,
    transformation_times: HistogramVec,
    seeds_made: Histogram,
    seeds_missed: IntCounter,
    kms_calls: HistogramVec,
    key_uses: IntCounterVec,
    key_last_used: GaugeVec,
    key_last_told: GaugeVec,
    wrong_keys_told: IntCounterVec,
    reloads: IntCounterVec,
    last_reload: GaugeVec,
    /// The labels of the keys in use, the oldest first.
    used: Mutex<VecDeque<[String; 3]>>,
    told: Mutex<VecDeque<[String; 2]>>,
}

/// Which way a value goes.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    FromStorage,
    ToStorage,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::FromStorage => "from_storage",
            Self::ToStorage => "to_storage",
        }
    }
}

/// A value that was to be encrypted or decrypted.
pub(crate) struct Transformation<'a> {
    pub(crate) resource: Resource<'a>,
    pub(crate) way: Way,
    /// What such values begin with, or a word where nothing.
    pub(crate) prefix: &'a str,
    pub(crate) took: Duration,
    pub(crate) is_done: bool,
}

/// Counts the uses of one key, one way.
pub(crate) struct KeyUse {
    count: IntCounter,
    last: Gauge,
}

impl KeyUse {
    /// Counts one.
    pub(crate) fn count(&self, env: &Env) {
        self.count.inc();
        self.last.set(seconds(env));
    }
}

fn seconds(env: &Env) -> f64 {
    env.now().as_duration().as_secs_f64()
}

/// Buckets that double, from 5 microseconds.
fn doubling(count: u32) -> Vec<f64> {
    (0..count).map(|power| 5e-6 * f64::from(1 << power)).collect()
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(FIXED)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect(FIXED)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let calls = HistogramOpts::new(
            "apiserver_envelope_encryption_kms_operations_latency_seconds",
            "How long calls of key management plugins took, by how they ended.",
        );
        // From 0.1 ms to 52 s.
        let calls = calls.buckets((0..20).map(|power| 0.0001 * f64::from(1 << power)).collect());
        let key = ["transformation_type", "provider_name", "key_id_hash"];
        let times = HistogramOpts::new(
            "apiserver_storage_transformation_duration_seconds",
            "How long it took to encrypt and decrypt values of the datastore.",
        );
        let of_value = ["resource", "transformation_type", "transformer_prefix", "status"];
        let seeds_made = HistogramOpts::new(
            "apiserver_storage_data_key_generation_duration_seconds",
            "How long it took to make keys that encrypt values.",
        );
        Self {
            transformations: counters(
                "apiserver_storage_transformation_operations_total",
                "How often values of the datastore were encrypted and decrypted, by their resource, with what they begin, \
                 and whether it could be done.",
                &of_value,
            ),
            transformation_times: HistogramVec::new(times.buckets(doubling(25)), &of_value[..3]).expect(FIXED),
            seeds_made: Histogram::with_opts(seeds_made.buckets(doubling(14))).expect(FIXED),
            seeds_missed: IntCounter::new(
                "apiserver_storage_envelope_transformation_cache_misses_total",
                "How often a value's key was not at hand, so that a plugin had to decrypt it.",
            )
            .expect(FIXED),
            kms_calls: HistogramVec::new(calls, &["provider_name", "method_name", "grpc_status_code"]).expect(FIXED),
            key_uses: counters(
                "apiserver_envelope_encryption_key_id_hash_total",
                "How often a key of a plugin was used, by its hash.",
                &key,
            ),
            key_last_used: gauges(
                "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
                "When a key of a plugin was last used.",
                &key,
            ),
            key_last_told: gauges(
                "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
                "When a plugin last said that it uses a key.",
                &key[1..],
            ),
            wrong_keys_told: counters(
                "apiserver_envelope_encryption_invalid_key_id_from_status_total",
                "How often a plugin named a key that cannot be one.",
                &["provider_name", "error"],
            ),
            reloads: counters(
                "apiserver_encryption_config_controller_automatic_reloads_total",
                "How often a changed encryption configuration was taken, or not.",
                &["status"],
            ),
            last_reload: gauges(
                "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
                "When a changed encryption configuration was last taken, or not.",
                &["status"],
            ),
            used: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Notes that a value was encrypted or decrypted, or could not be.
    pub(crate) fn transformed(&self, done: &Transformation<'_>) {
        let Resource { group, plural } = done.resource;
        let resource = match group {
            "" => Cow::Borrowed(plural),
            group => Cow::Owned(format!("{plural}.{group}")),
        };
        let labels = [&*resource, done.way.as_str(), done.prefix];
        let status = if done.is_done { "OK" } else { "unknown-non-grpc" };
        self.transformations.with_label_values(&[labels[0], labels[1], labels[2], status]).inc();
        if done.is_done {
            self.transformation_times.with_label_values(&labels).observe(done.took.as_secs_f64());
        }
    }

    /// Notes that a seed was made.
    pub(crate) fn seed_made(&self, took: Duration) {
        self.seeds_made.observe(took.as_secs_f64());
    }

    /// Notes that a seed was not at hand.
    pub(crate) fn seed_missed(&self) {
        self.seeds_missed.inc();
    }

    /// Notes a call of a plugin.
    pub(crate) fn kms_call(&self, plugin: &str, method: &str, code: Code, took: Duration) {
        // As Go's client names them.
        let code = match code {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            code => format!("{code:?}"),
        };
        self.kms_calls.with_label_values(&[plugin, method, &code]).observe(took.as_secs_f64());
    }

    /// The counter of a key.
    pub(crate) fn key_use(&self, plugin: &str, key_id: &str, way: Way) -> KeyUse {
        let labels = [way.as_str().to_owned(), plugin.to_owned(), hash(key_id)];
        let oldest = remember(&self.used, &labels);
        if let Some(oldest) = oldest {
            // Whoever still holds its counter counts for nobody.
            let (_, _) = (self.key_uses.remove_label_values(&oldest), self.key_last_used.remove_label_values(&oldest));
        }
        KeyUse { count: self.key_uses.with_label_values(&labels), last: self.key_last_used.with_label_values(&labels) }
    }

    /// Notes that a plugin said that it uses a key.
    pub(crate) fn key_told(&self, plugin: &str, key_id: &str, env: &Env) {
        let labels = [plugin.to_owned(), hash(key_id)];
        if let Some(oldest) = remember(&self.told, &labels) {
            let _ = self.key_last_told.remove_label_values(&oldest);
        }
        self.key_last_told.with_label_values(&labels).set(seconds(env));
    }

    /// Notes that a plugin named a key that cannot be one.
    pub(crate) fn wrong_key_told(&self, plugin: &str, wrong: &WrongKeyId) {
        let error = match wrong {
            WrongKeyId::Empty => "empty",
            WrongKeyId::TooLong(_) => "too_long",
        };
        self.wrong_keys_told.with_label_values(&[plugin, error]).inc();
    }

    /// Notes whether a changed configuration was taken.
    pub(crate) fn reload(&self, is_taken: bool, env: &Env) {
        let status = if is_taken { "success" } else { "failure" };
        self.reloads.with_label_values(&[status]).inc();
        self.last_reload.with_label_values(&[status]).set(seconds(env));
    }

    /// All that was measured; `hash` is that of the configuration in use.
    pub(crate) fn collect(&self, config_hash: &str, seeds: &[(String, usize)]) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let collectors: [&dyn Collector; 11] = [
            &self.transformations,
            &self.transformation_times,
            &self.seeds_made,
            &self.seeds_missed,
            &self.kms_calls,
            &self.key_uses,
            &self.key_last_used,
            &self.key_last_told,
            &self.wrong_keys_told,
            &self.reloads,
            &self.last_reload,
        ];
        families.extend(collectors.iter().flat_map(|collector| collector.collect()));
        if !config_hash.is_empty() {
            let name = "apiserver_encryption_config_controller_last_config_info";
            let info = gauges(name, "The hash of the encryption configuration in use.", &["hash"]);
            info.with_label_values(&[config_hash]).set(1.0);
            families.extend(info.collect());
        }
        let cached = Opts::new(
            "apiserver_envelope_encryption_dek_source_cache_size",
            "How many decrypted seeds are kept: so many calls of the plugin a restart costs.",
        );
        let cached = IntGaugeVec::new(cached, &["provider_name"]).expect(FIXED);
        for (plugin, count) in seeds {
            cached.with_label_values(&[plugin]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        families.extend(cached.collect());
        families
    }
}

/// Remembers labels; those that have to go for them.
fn remember<const N: usize>(labels: &Mutex<VecDeque<[String; N]>>, new: &[String; N]) -> Option<[String; N]> {
    let mut labels = labels.lock().unwrap_or_else(PoisonError::into_inner);
    if labels.contains(new) {
        return None;
    }
    labels.push_back(new.clone());
    if labels.len() > MAX_KEYS { labels.pop_front() } else { None }
}
