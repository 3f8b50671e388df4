//! The task that keeps a store equal to what the API server has.

use std::sync::Arc;
use std::time::Duration;

use base::Env;
use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher::{self, Config, Event, InitialListStrategy, watcher};

use super::{ListSelector, Object, Shared};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Whoever follows kinds as they come and go ends the informer of one that is gone before pauses get so long.
const GONE_DELAY: Duration = Duration::from_secs(5);

/// Lists and watches for ever. An interrupted watch goes on from where it was; after a gap the whole state is read
/// again and compared. Failures are followed by growing pauses with jitter.
pub(super) async fn reflect<K: Object>(
    client: kube::Client,
    env: Env,
    resource: K::DynamicType,
    selector: ListSelector,
    shared: Arc<Shared<K>>,
) where
    K::DynamicType: Clone,
{
    let kind = K::kind(&resource).into_owned();
    let config = Config {
        label_selector: Some(selector.labels).filter(|labels| !labels.is_empty()),
        field_selector: Some(selector.fields).filter(|fields| !fields.is_empty()),
        initial_list_strategy: InitialListStrategy::StreamingList,
        ..Config::default()
    };
    let api = Api::<K>::all_with(client, &resource);
    let mut events = std::pin::pin!(watcher(api, config));
    let mut initial = Vec::new();
    let mut delay = FIRST_DELAY;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                delay = FIRST_DELAY;
                apply(&shared, &mut initial, event);
            }
            Err(err) => {
                let pause = env.random().jitter(delay, 1.0);
                log(&kind, &err, pause);
                env.sleep(pause).await;
                delay = (delay * 2).min(LONGEST_DELAY);
            }
        }
    }
}

fn apply<K: Object>(shared: &Shared<K>, initial: &mut Vec<K>, event: Event<K>) {
    match event {
        Event::Init => initial.clear(),
        Event::InitApply(object) => initial.push(object),
        Event::InitDone => {
            shared.store.replace(std::mem::take(initial));
            shared.synced.send_replace(true);
        }
        Event::Apply(object) => shared.store.apply(object),
        Event::Delete(object) => shared.store.delete(object),
    }
}

fn log(kind: &str, err: &watcher::Error, pause: Duration) {
    match err {
        // Part of normal life: the server restarted, or compacted what the watch would have continued from.
        watcher::Error::WatchFailed(_) | watcher::Error::WatchError(_) => {
            tracing::debug!(kind, err = %err, ?pause, "watch interrupted");
        }
        _ if is_gone(err) && pause < GONE_DELAY => tracing::debug!(kind, ?pause, "the kind is not served"),
        _ => tracing::warn!(kind, err = %err, ?pause, "cannot list or watch"),
    }
}

fn is_gone(err: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(err) | watcher::Error::WatchStartFailed(err)) = err else { return false };
    matches!(err, kube::Error::Api(status) if status.code == 404)
}
