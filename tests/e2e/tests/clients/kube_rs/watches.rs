//! Watches as controllers see them: watchers that list first or stream what is there, that list again when they have
//! missed too much, and the stores that they fill.

use std::fmt::Debug;
use std::pin::pin;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt, predicates, watcher as watched};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::{NAMESPACE, made, soon};

pub async fn check(client: Client) {
    let client = &client;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    secrets.create(&PostParams::default(), &secret("kept")).await.expect("created");
    events(&secrets).await;
    let metadata: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), NAMESPACE);
    for (name, config) in [
        ("listed", Config::default().page_size(1)),
        ("any", Config::default().any_semantic()),
        ("streamed", Config::default().streaming_lists()),
    ] {
        let config = config.labels("watched=yes");
        one_of_each(&secrets, name, pin!(watched(secrets.clone(), config.clone()))).await;
        one_of_each(&secrets, name, pin!(watched(metadata.clone(), config))).await;
    }
    store(&secrets).await;
}

fn secret(name: &str) -> Secret {
    made(json!({"metadata": {"name": name, "labels": {"watched": "yes"}}, "stringData": {"a": "b"}}))
}

/// The events of a watch, as they come.
async fn events(secrets: &Api<Secret>) {
    let version = secrets.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let params = WatchParams::default().fields("metadata.name=seen").timeout(60);
    let mut events = pin!(secrets.watch(&params, &version.expect("lists have one")).await.expect("a watch"));
    secrets.create(&PostParams::default(), &secret("unseen")).await.expect("created");
    secrets.create(&PostParams::default(), &secret("seen")).await.expect("created");
    let label = Patch::Merge(json!({"metadata": {"labels": {"watched": null}}}));
    secrets.patch("seen", &PatchParams::default(), &label).await.expect("patched");
    for name in ["seen", "unseen"] {
        secrets.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let event = soon("an event", events.try_next()).await.expect("no failure").expect("it goes on");
        let (kind, object) = match event {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
        assert_eq!(object.name_any(), "seen");
        kinds.push(kind);
    }
    assert_eq!(kinds, ["added", "modified", "deleted"]);
}

/// The next event of a watcher, in words.
pub async fn next<K: ResourceExt>(watcher: &mut (impl Stream<Item = watcher::Result<Event<K>>> + Unpin)) -> String {
    match soon("an event", watcher.next()).await.expect("watchers never end") {
        Ok(event) => event.to_string(),
        Err(watcher::Error::WatchError(status)) => format!("{} {}", status.code, status.reason),
        Err(err) => panic!("{err}"),
    }
}

/// What a watcher tells of an object that was there and of one that comes and goes.
async fn one_of_each<K: ResourceExt + Debug>(
    secrets: &Api<Secret>,
    name: &str,
    mut watcher: impl Stream<Item = watcher::Result<Event<K>>> + Unpin,
) {
    for expected in ["Init", "InitApply(kept)", "InitDone"] {
        assert_eq!(next(&mut watcher).await, expected);
    }
    // Only now does a watcher of a list begin its watch, which misses nothing all the same.
    let (made, deleted) = (secret(name), format!("Delete({name})"));
    secrets.create(&PostParams::default(), &made).await.expect("created");
    assert_eq!(next(&mut watcher).await, format!("Apply({name})"));
    // Whatever leaves the selection is gone for who watches it.
    let label = Patch::Merge(json!({"metadata": {"labels": {"watched": "no"}}}));
    secrets.patch(name, &PatchParams::default(), &label).await.expect("patched");
    assert_eq!(next(&mut watcher).await, deleted);
    secrets.delete(name, &DeleteParams::default()).await.expect("deleted");
}

/// A store that is filled by a watcher.
async fn store(secrets: &Api<Secret>) {
    let (reader, writer) = reflector::store();
    let watcher = watched(secrets.clone(), Config::default().labels("watched=yes"));
    let changes = reflector::reflector(writer, watcher)
        .default_backoff()
        .touched_objects()
        .predicate_filter(predicates::resource_version, Default::default());
    let mut changes = pin!(changes);
    let first = soon("the first object", changes.try_next()).await.expect("no failure").expect("it goes on");
    assert_eq!(first.name_any(), "kept");
    secrets.create(&PostParams::default(), &secret("stored")).await.expect("created");
    let second = soon("the second object", changes.try_next()).await.expect("no failure").expect("it goes on");
    assert_eq!(second.name_any(), "stored");
    reader.wait_until_ready().await.expect("it is filled");
    let mut names: Vec<String> = reader.state().iter().map(|secret| secret.name_any()).collect();
    names.sort_unstable();
    assert_eq!(names, ["kept", "stored"]);
    secrets.delete("stored", &DeleteParams::default()).await.expect("deleted");
    soon("the deletion", changes.try_next()).await.expect("no failure");
    assert!(reader.get(&ObjectRef::new("stored").within(NAMESPACE)).is_none());
}
