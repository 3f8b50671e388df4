//! Records Kubernetes events.
//!
//! Recording never waits and never fails: events go through a bounded channel to a writer task. The writer counts
//! repeated events up instead of writing new ones, folds many similar ones into one, limits how many an object can
//! cause (see [`correlate`]), and how many there are in a second where it is told to.

mod correlate;
mod pace;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base::{Drain, Env};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use tokio::sync::mpsc;

use correlate::{Correlator, Verdict};
use pace::Pace;

use crate::objects;

/// How many events may wait for the writer.
const CHANNEL_SIZE: usize = 1000;
/// How often the writing of one event is tried.
const ATTEMPTS: u32 = 12;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// How long the writer goes on with what is recorded after the drain signal.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Nothing is wrong.
    Normal,
    /// Somebody may have to act.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One event as it was recorded.
#[derive(Clone, Debug)]
struct Recorded {
    object: ObjectReference,
    event_type: EventType,
    reason: Cow<'static, str>,
    message: String,
    annotations: BTreeMap<String, String>,
    at: Timestamp,
}

/// Records events. Cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    env: Env,
    sender: mpsc::Sender<Recorded>,
}

impl EventRecorder {
    /// A recorder for a component (on a host, for node components), and the writer that must be run for it.
    pub fn new(client: kube::Client, env: Env, component: &str, host: Option<&str>) -> (Self, EventWriter) {
        let (sender, receiver) = mpsc::channel(CHANNEL_SIZE);
        let source = EventSource { component: Some(component.to_owned()), host: host.map(str::to_owned) };
        let writer =
            EventWriter { client, env: env.clone(), source, receiver, correlator: Correlator::new(), pace: None };
        (Self { env, sender }, writer)
    }

    /// Records that something happened to `object`. Where the writer cannot keep up the event is dropped.
    pub fn event(
        &self,
        object: &ObjectReference,
        event_type: EventType,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        self.annotated(object, event_type, reason, message, BTreeMap::new());
    }

    /// The same with annotations, which say for programs what the message says for people.
    pub fn annotated(
        &self,
        object: &ObjectReference,
        event_type: EventType,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        annotations: BTreeMap<String, String>,
    ) {
        let at = self.env.now();
        let (object, reason, message) = (object.clone(), reason.into(), message.into());
        let recorded = Recorded { object, event_type, reason, message, annotations, at };
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.sender.try_send(recorded) {
            tracing::warn!(reason = %lost.reason, name = ?lost.object.name, "event dropped, too many are waiting");
        }
    }
}

/// Writes the events of one recorder.
pub struct EventWriter {
    client: kube::Client,
    env: Env,
    source: EventSource,
    receiver: mpsc::Receiver<Recorded>,
    correlator: Correlator,
    pace: Option<Pace>,
}

impl EventWriter {
    /// Writes no more events in a second than that, but `burst` at once after a quiet time; 0 for no limit.
    #[must_use]
    pub fn limited(self, per_second: u32, burst: u32) -> Self {
        Self { pace: Pace::new(per_second, burst), ..self }
    }

    /// Writes until the drain signal, then what was recorded before it, as far as that works at once.
    pub async fn run(mut self, drain: Drain) {
        while let Some(Some(recorded)) = drain.until(self.receiver.recv()).await {
            // Cut off by the drain signal while the server is away: then this one event is lost.
            let _ = drain.until(self.write(recorded, ATTEMPTS)).await;
        }
        let flush = async {
            while let Ok(recorded) = self.receiver.try_recv() {
                self.write(recorded, 1).await;
            }
        };
        // Events are a help, not a promise.
        let _ = tokio::time::timeout(FLUSH_DEADLINE, flush).await;
    }

    async fn write(&mut self, recorded: Recorded, attempts: u32) {
        let now = self.env.instant();
        let verdict = self.correlator.correlate(&recorded, now);
        let key = match &verdict {
            Verdict::Drop => return,
            Verdict::Create { key, .. } | Verdict::CountUp { key, .. } => key.clone(),
        };
        let wait = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.wait(now));
        self.env.sleep(wait).await;
        let mut delay = FIRST_RETRY;
        for attempt in 1..=attempts {
            match self.try_write(&recorded, &verdict).await {
                Ok(name) => return self.correlator.written(key, name, recorded.at, now),
                Err(err) if is_final(&err) => {
                    tracing::debug!(reason = %recorded.reason, err = %err, "event refused");
                    return;
                }
                Err(err) if attempt == attempts => {
                    tracing::warn!(reason = %recorded.reason, err = %err, "event given up");
                }
                Err(_) => {
                    self.env.sleep(self.env.random().jitter(delay, 0.5)).await;
                    delay = (delay * 2).min(LONGEST_RETRY);
                }
            }
        }
    }

    async fn try_write(&self, recorded: &Recorded, verdict: &Verdict) -> Result<String, kube::Error> {
        // Events about cluster-scoped objects live in the default namespace.
        let namespace = recorded.object.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let (message, count, first) = match verdict {
            Verdict::Drop => return Ok(String::new()),
            Verdict::Create { message, .. } => (message, 1, recorded.at),
            Verdict::CountUp { message, name, count, first, .. } => {
                let patch = serde_json::json!({
                    "count": count, "lastTimestamp": Time(recorded.at), "message": message,
                });
                match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Ok(_) => return Ok(name.clone()),
                    // It has expired meanwhile: write it anew, with the count so far.
                    Err(err) if objects::is_not_found(&err) => (message, *count, *first),
                    Err(err) => return Err(err),
                }
            }
        };
        let event = self.event(recorded, namespace, message, count, first);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        Ok(name)
    }

    fn event(&self, recorded: &Recorded, namespace: &str, message: &str, count: i32, first: Timestamp) -> Event {
        let object = recorded.object.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}", recorded.at.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                annotations: Some(recorded.annotations.clone()).filter(|annotations| !annotations.is_empty()),
                ..ObjectMeta::default()
            },
            involved_object: recorded.object.clone(),
            reason: Some(recorded.reason.clone().into_owned()),
            message: Some(message.to_owned()),
            source: Some(self.source.clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(recorded.at)),
            count: Some(count),
            type_: Some(recorded.event_type.as_str().to_owned()),
            ..Event::default()
        }
    }
}

/// Whether trying again cannot help.
fn is_final(err: &kube::Error) -> bool {
    match err {
        kube::Error::Api(status) => status.code < 500 && status.code != 429,
        _ => false,
    }
}
