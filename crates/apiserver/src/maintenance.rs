//! What keeps the datastore small: compaction of its history, and the end of old events.

use std::collections::VecDeque;
use std::sync::Arc;

use api::status::Status;
use base::Drain;
use jiff::{SignedDuration, Timestamp};

use crate::cache::{EventKind, Selection, Watcher};
use crate::registry::{Put, Registry};

/// Compacts the datastore every interval to where it was at the interval before.
pub(crate) async fn compact(registry: Arc<Registry>, drain: Drain) {
    let mut keep_from: Option<i64> = None;
    while drain.until(registry.env.sleep(registry.config.compaction_interval)).await.is_some() {
        if let Some(revision) = keep_from
            && let Err(err) = registry.storage.compact(revision).await
            && !matches!(err, store::CompactError::Compacted { .. })
        {
            tracing::warn!(%err, revision, "datastore could not be compacted");
        }
        keep_from = Some(registry.cache.applied()).filter(|revision| *revision > 0);
    }
}

/// Deletes each event when its time is over: one timer, for the event that is next.
pub(crate) async fn expire_events(registry: Arc<Registry>, drain: Drain) {
    let Some(resource) = api::kinds::find("", "v1", "events") else { return };
    let Ok(cache) = registry.resource_cache(resource) else { return };
    let ttl = SignedDuration::try_from(registry.config.event_ttl).unwrap_or(SignedDuration::MAX);
    loop {
        if drain.until(registry.cache.wait_for(1)).await.is_none() {
            return;
        }
        let (snapshot, mut watcher) = Watcher::from_now(registry.cache.clone(), cache.clone(), Selection::everything());
        let mut due: VecDeque<(Timestamp, Arc<str>)> =
            snapshot.range(None).map(|event| (last_written(event, registry.env.now()), event.key.clone())).collect();
        due.make_contiguous().sort();
        loop {
            let now = registry.env.now();
            while due.front().is_some_and(|(written, _)| now.duration_since(*written) >= ttl) {
                let Some((_, key)) = due.pop_front() else { break };
                expire(&registry, resource, &key, ttl).await;
            }
            let pause = due.front().map(|(written, _)| ttl.saturating_sub(now.duration_since(*written)));
            let pause = pause.and_then(|pause| std::time::Duration::try_from(pause).ok());
            let timer = async {
                match pause {
                    Some(pause) => registry.env.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = drain.drained() => return,
                () = timer => {}
                changes = watcher.changes() => match changes {
                    Ok(changes) => {
                        let now = registry.env.now();
                        let written = changes.iter().filter(|change| change.kind != EventKind::Deleted);
                        due.extend(written.map(|change| (now, change.object.key.clone())));
                    }
                    // Fell behind: start again from what is there.
                    Err(_) => break,
                },
            }
        }
    }
}

/// When an event was written last: what was recorded of its writers, or now.
fn last_written(event: &crate::cache::Object, now: Timestamp) -> Timestamp {
    let event = event.value();
    let managers = event.pointer("/metadata/managedFields").and_then(|entries| entries.as_array());
    let written = managers.into_iter().flatten().filter_map(|entry| entry.get("time")?.as_str()?.parse().ok());
    written.chain(api::meta::creation_timestamp(&event)).max().unwrap_or(now)
}

/// Deletes an event unless it was written again meanwhile.
async fn expire(registry: &Registry, resource: &api::kinds::Resource, key: &str, ttl: SignedDuration) {
    let Some(event) = registry.cached(resource, key) else { return };
    let now = registry.env.now();
    if now.duration_since(last_written(&event, now)) < ttl {
        return;
    }
    let removed: Result<Put, Status> = registry.remove(resource, key, event.revision).await;
    if let Err(status) = removed {
        tracing::warn!(key, err = %status.message, "old event could not be deleted");
    }
}
