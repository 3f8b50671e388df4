//! EventRateLimit: bounds how fast events are written, of all, of a namespace, of a user, or about one thing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::status::Status;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::control_config::{AdmissionConfigurationError, typed};
use super::{Attributes, Handler, Operation, Plugin};
use crate::token_bucket::TokenBucket;

pub(super) const PLUGIN: Plugin =
    Plugin { validate: &[(Operation::Create, HANDLER), (Operation::Update, HANDLER)], ..Plugin::off("EventRateLimit") };

// It does not look at the watch cache: asking it again would count the event twice.
const HANDLER: Handler = Handler::Later(|attributes, event| Box::pin(std::future::ready(accept(attributes, event))));

/// How many buckets a limit has if it does not say.
const CACHE_SIZE: usize = 4096;

/// Whose events are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

/// One limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EventLimit {
    #[serde(rename = "type")]
    kind: Kind,
    qps: u32,
    burst: u32,
    #[serde(default)]
    cache_size: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    limits: Vec<EventLimit>,
}

/// Reads the plugin's configuration.
pub(super) fn configure(document: Value) -> Result<Vec<EventLimit>, AdmissionConfigurationError> {
    let what = "eventratelimit.admission.k8s.io/v1alpha1 Configuration";
    let read: Configuration = typed(what, &["v1alpha1"], document)?;
    let wrong = |why: &str| AdmissionConfigurationError::Malformed { what, why: format!("limits: {why}") };
    if read.limits.is_empty() {
        return Err(wrong("must not be empty"));
    }
    if read.limits.iter().any(|limit| limit.qps == 0 || limit.burst == 0) {
        return Err(wrong("qps and burst must be positive"));
    }
    Ok(read.limits)
}

/// The limits at work.
pub(super) struct EventLimits(Vec<(EventLimit, Mutex<HashMap<String, TokenBucket>>)>);

impl EventLimits {
    pub(super) fn new(limits: &[EventLimit]) -> Self {
        Self(limits.iter().map(|limit| (limit.clone(), Mutex::default())).collect())
    }

    /// Counts an event; of the limits that it is beyond, the first.
    fn accept(&self, attributes: &Attributes<'_>, event: &Value, now: Instant) -> Result<(), Status> {
        let mut refused = None;
        // Every limit counts the event, whatever the others say.
        for (limit, buckets) in &self.0 {
            let key = limit.key(attributes, event);
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            if !limit.take(&mut buckets, &key, now) && refused.is_none() {
                let message = format!("limit reached on type {:?} for key {key}", limit.kind);
                refused = Some(Status::too_many_requests(message, 0));
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

impl EventLimit {
    fn key(&self, attributes: &Attributes<'_>, event: &Value) -> String {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match self.kind {
            Kind::Server => String::new(),
            Kind::Namespace => attributes.scope.namespace.unwrap_or_default().to_owned(),
            Kind::User => attributes.caller.identity.user.clone(),
            Kind::SourceAndObject => {
                let source = ["/source/component", "/source/host"].map(text);
                let object = ["kind", "namespace", "name", "uid", "apiVersion"];
                source.concat() + &object.map(|field| text(&format!("/involvedObject/{field}"))).concat()
            }
        }
    }

    fn take(&self, buckets: &mut HashMap<String, TokenBucket>, key: &str, now: Instant) -> bool {
        if let Some(bucket) = buckets.get_mut(key) {
            return bucket.try_take(now);
        }
        let max = if self.cache_size == 0 { CACHE_SIZE } else { self.cache_size };
        if buckets.len() >= max
            && let Some(oldest) = buckets.iter().min_by_key(|(_, bucket)| bucket.used_at()).map(|(key, _)| key.clone())
        {
            buckets.remove(&oldest);
        }
        let mut bucket = TokenBucket::new(f64::from(self.qps), self.burst, now);
        let is_there = bucket.try_take(now);
        buckets.insert(key.to_owned(), bucket);
        is_there
    }
}

fn accept(attributes: &Attributes<'_>, event: &Value) -> Result<(), Status> {
    if !attributes.is("", "events") || attributes.caller.dry_run {
        return Ok(());
    }
    let registry = attributes.registry;
    registry.admission.event_limits.accept(attributes, event, registry.env.instant())
}
