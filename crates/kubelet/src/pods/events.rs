//! Follows the runtime's events and wakes the pods that they are about.

use std::collections::HashMap;
use std::time::Duration;

use base::Drain;
use cri as v1;

use super::{Workers, names};
use crate::context::Shared;

/// Between attempts to follow the stream again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Between lists, for a runtime that has no events.
const RELIST: Duration = Duration::from_secs(1);

/// After how many streams that ended at once a runtime is taken for one without events: one that is being stopped ends
/// one so, too.
const NO_EVENTS: u32 = 3;

/// Wakes workers until the drain signal.
pub async fn follow(context: Shared, workers: Workers, drain: Drain) {
    let mut ended_at_once = 0;
    while !drain.is_draining() && ended_at_once < NO_EVENTS {
        let mut runtime = context.runtime.clone();
        match drain.until(runtime.get_container_events(v1::GetEventsRequest {})).await {
            None => return,
            Some(Ok(answer)) => {
                context.metrics.runtime.events_asked(true);
                // What happened while nobody listened.
                workers.wake_all();
                let began = context.env.instant();
                let ended_well = wake_by(answer.into_inner(), &workers, &drain).await;
                // CRI-O does this where events are switched off.
                let at_once = ended_well && began.elapsed() < RECONNECT;
                ended_at_once = if at_once { ended_at_once + 1 } else { 0 };
            }
            Some(Err(status)) if status.code() == v1::Code::Unimplemented => break,
            Some(Err(status)) => {
                context.metrics.runtime.events_asked(false);
                tracing::warn!(err = %status.message(), "container events cannot be followed");
            }
        }
        if drain.until(context.env.sleep(RECONNECT)).await.is_none() {
            return;
        }
    }
    if !drain.is_draining() {
        tracing::info!("the container runtime has no events, its containers are listed instead");
        relist(&context, &workers, &drain).await;
    }
}

/// Wakes workers as long as events come; true if the runtime has ended them without an error.
async fn wake_by(mut events: tonic::Streaming<v1::ContainerEventResponse>, workers: &Workers, drain: &Drain) -> bool {
    loop {
        match drain.until(events.message()).await {
            Some(Ok(Some(event))) => {
                if let Some(uid) = pod_uid(&event) {
                    workers.wake(&uid);
                }
            }
            Some(Ok(None)) => return true,
            Some(Err(_)) | None => return false,
        }
    }
}

fn pod_uid(event: &v1::ContainerEventResponse) -> Option<String> {
    let sandbox = event.pod_sandbox_status.as_ref()?;
    let uid = sandbox.metadata.as_ref().map(|metadata| metadata.uid.clone()).filter(|uid| !uid.is_empty());
    uid.or_else(|| sandbox.labels.get(names::POD_UID).cloned())
}

/// Lists what the runtime has again and again, and wakes the pods in which something changed.
async fn relist(context: &Shared, workers: &Workers, drain: &Drain) {
    let mut before: HashMap<String, (String, i32)> = HashMap::new();
    let mut last = None;
    while drain.until(context.env.sleep(RELIST)).await.is_some() {
        let began = context.env.instant();
        let Some(Ok(now)) = drain.until(states(context)).await else { continue };
        let after = last.replace(began).map(|last| began.saturating_duration_since(last));
        context.metrics.runtime.relisted(context.env.now().as_second(), began.elapsed(), after);
        for (id, (uid, state)) in &now {
            if before.get(id).is_none_or(|(_, earlier)| earlier != state) {
                workers.wake(uid);
            }
        }
        for (id, (uid, _)) in &before {
            if !now.contains_key(id) {
                workers.wake(uid);
            }
        }
        before = now;
    }
}

/// Pod and state of every sandbox and container.
async fn states(context: &Shared) -> Result<HashMap<String, (String, i32)>, v1::Status> {
    let mut runtime = context.runtime.clone();
    let mut states = HashMap::new();
    let uid = |labels: &HashMap<String, String>| labels.get(names::POD_UID).cloned().unwrap_or_default();
    for sandbox in runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter: None }).await?.into_inner().items {
        states.insert(sandbox.id, (uid(&sandbox.labels), sandbox.state));
    }
    for container in runtime.list_containers(v1::ListContainersRequest { filter: None }).await?.into_inner().containers
    {
        states.insert(container.id, (uid(&container.labels), container.state));
    }
    Ok(states)
}
