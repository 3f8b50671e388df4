//! The parts of a `KubeletConfiguration` that have fields of their own, with their defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::duration::GoDuration;

/// How the server knows who asks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authentication {
    /// By client certificates.
    pub x509: X509Authentication,
    /// By bearer tokens that the API server is asked about.
    pub webhook: WebhookAuthentication,
    /// Nobody in particular.
    pub anonymous: AnonymousAuthentication,
}

/// Client certificates.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct X509Authentication {
    /// The authorities whose certificates count.
    #[serde(rename = "clientCAFile", skip_serializing_if = "String::is_empty")]
    pub client_ca_file: String,
}

/// Bearer tokens.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookAuthentication {
    /// Whether they are taken.
    pub enabled: bool,
    /// For how long an answer about one is believed.
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: GoDuration,
}

impl Default for WebhookAuthentication {
    fn default() -> Self {
        Self { enabled: true, cache_ttl: GoDuration::seconds(120) }
    }
}

/// Requests without credentials.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousAuthentication {
    /// Whether `system:anonymous` is asked about.
    pub enabled: bool,
}

/// How the server decides who may.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// `Webhook` or `AlwaysAllow`.
    pub mode: String,
    /// Of the mode `Webhook`.
    pub webhook: WebhookAuthorization,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { mode: "Webhook".to_owned(), webhook: WebhookAuthorization::default() }
    }
}

/// For how long the API server's decisions are believed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookAuthorization {
    /// That somebody may.
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: GoDuration,
    /// That somebody may not.
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: GoDuration,
}

impl Default for WebhookAuthorization {
    fn default() -> Self {
        Self { cache_authorized_ttl: GoDuration::seconds(300), cache_unauthorized_ttl: GoDuration::seconds(30) }
    }
}

/// How pods use swap.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MemorySwap {
    /// `NoSwap`, `LimitedSwap`, or empty for the former.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub swap_behavior: String,
}

/// How the kubelet logs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logging {
    /// `text` or `json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// How long lines may be held back: a duration, or nanoseconds.
    pub flush_frequency: Value,
    /// How much is logged.
    pub verbosity: u32,
    /// How much single files log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vmodule: Vec<VModule>,
    /// More for each format.
    pub options: LoggingOptions,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            format: "text".to_owned(),
            flush_frequency: "5s".into(),
            verbosity: 0,
            vmodule: Vec::new(),
            options: LoggingOptions::default(),
        }
    }
}

/// How much a file logs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VModule {
    /// The file's name or a pattern.
    pub file_pattern: String,
    /// How much.
    pub verbosity: u32,
}

/// Options of each format of logs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingOptions {
    /// Of text.
    pub text: LogRouting,
    /// Of JSON.
    pub json: LogRouting,
}

/// Where lines go.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogRouting {
    /// Whether errors alone go to the standard error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub split_stream: bool,
    /// How much of the others is held back.
    #[serde(deserialize_with = "quantity")]
    pub info_buffer_size: String,
}

impl Default for LogRouting {
    fn default() -> Self {
        Self { split_stream: false, info_buffer_size: "0".to_owned() }
    }
}

/// How long pods of a priority and above, up to the next entry's, may take to end when the machine shuts down.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShutdownGracePeriodByPodPriority {
    /// The lowest priority.
    pub priority: i32,
    /// How long.
    pub shutdown_grace_period_seconds: i64,
}

/// How containers that fail are restarted.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CrashLoopBackOff {
    /// The longest time between two restarts.
    pub max_container_restart_period: GoDuration,
}

impl Default for CrashLoopBackOff {
    fn default() -> Self {
        Self { max_container_restart_period: GoDuration::seconds(300) }
    }
}

/// Memory of a NUMA node that pods do not get.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryReservation {
    /// The NUMA node.
    pub numa_node: i32,
    /// How much of `memory` and of `hugepages-<size>`.
    #[serde(deserialize_with = "quantities")]
    pub limits: BTreeMap<String, String>,
}

/// A taint with which the node registers.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it does.
    #[serde(default)]
    pub effect: String,
    /// Refused: the cluster sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// Where traces go.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    /// The collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How many of a million are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_rate_per_million: Option<i32>,
}

/// Users of pods that have their own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserNamespaces {
    /// How many of them a pod gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids_per_pod: Option<i64>,
}

/// A quantity, which YAML may take for a number.
fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    as_text(&Value::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom("a quantity is expected"))
}

fn quantities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let limits = BTreeMap::<String, Value>::deserialize(deserializer)?.into_iter();
    let one = |(name, value)| Some((name, as_text(&value)?));
    limits.map(one).collect::<Option<_>>().ok_or_else(|| serde::de::Error::custom("quantities are expected"))
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
