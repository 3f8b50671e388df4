//! `GetContainerEvents`: Docker's events as CRI has them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use base::Drain;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use cri::{ContainerEventResponse, ContainerEventType, PodSandboxStatus, Status};
use futures::{Stream, StreamExt};

use crate::container;
use crate::engine::Engine;
use crate::errors::Doing;
use crate::record::{ContainerRecord, Record, SandboxRecord};
use crate::sandbox::{self, Sandbox};

/// What happens, as it happens.
pub(crate) type Events = Pin<Box<dyn Stream<Item = Result<ContainerEventResponse, Status>> + Send>>;

/// What Docker calls it, and what CRI does.
const KINDS: [(&str, ContainerEventType); 4] = [
    ("create", ContainerEventType::ContainerCreatedEvent),
    ("start", ContainerEventType::ContainerStartedEvent),
    ("die", ContainerEventType::ContainerStoppedEvent),
    ("destroy", ContainerEventType::ContainerDeletedEvent),
];

/// Everything from now on until `drain` fires. A subscriber whose stream breaks, because Docker has restarted, lists
/// everything anew.
pub(crate) fn stream(engine: &Arc<Engine>, drain: Drain) -> Events {
    let kinds = KINDS.map(|(action, _)| action.to_owned()).to_vec();
    let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned()]), ("event".to_owned(), kinds)]);
    let events = engine.docker.events(Some(EventsOptionsBuilder::new().filters(&filters).build()));
    let engine = engine.clone();
    let events = events.filter_map(move |event| {
        let engine = engine.clone();
        async move {
            match event.doing("follow Docker's events") {
                Ok(event) => convert(&engine, event).await.map(Ok),
                Err(err) => Some(Err(err.into())),
            }
        }
    });
    Box::pin(events.take_until(drain.drained_owned()))
}

/// Nothing for what is not ours.
async fn convert(engine: &Engine, event: EventMessage) -> Option<ContainerEventResponse> {
    let action = event.action?;
    let kind = KINDS.iter().find(|(name, _)| *name == action)?.1;
    let actor = event.actor?;
    // The labels of the container are there, also when it is gone.
    let labels = actor.attributes.as_ref();
    let sandbox = match (SandboxRecord::read(labels), ContainerRecord::read(labels)) {
        (Some(record), _) => PodSandboxStatus {
            id: actor.id.clone()?,
            metadata: record.config.metadata,
            labels: record.config.labels,
            ..Default::default()
        },
        (None, Some(record)) => {
            PodSandboxStatus { id: record.sandbox, labels: record.config.labels, ..Default::default() }
        }
        (None, None) => return None,
    };
    // What is known now says more than the labels, but either may be gone by now.
    let found = Sandbox::find(engine, &sandbox.id).await.ok().flatten();
    let status = found.and_then(|sandbox| sandbox::status_of(engine, &sandbox).ok());
    Some(ContainerEventResponse {
        container_id: actor.id?,
        container_event_type: kind.into(),
        created_at: event.time_nano.unwrap_or_default(),
        containers_statuses: container::statuses_of(engine, &sandbox.id).await.unwrap_or_default(),
        pod_sandbox_status: Some(status.unwrap_or(sandbox)),
    })
}
