//! Informers against an API that restarts, forgets its history and fails.

use std::time::Duration;

use base::{DrainTrigger, Env, Tasks};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_client::{Event, Events, Informers, ObjectKey};
use testkit::{MemoryApi, epoch, object};

struct Cluster {
    api: MemoryApi,
    config_maps: Api<ConfigMap>,
    informers: Informers,
    _trigger: DrainTrigger,
    _tasks: Tasks,
}

impl Cluster {
    fn start() -> Self {
        let api = MemoryApi::new();
        let client = api.client();
        let informers = Informers::new(client.clone(), Env::simulated(epoch(), 1));
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        let running = informers.clone();
        tasks.spawn_fallible("informers", async move { running.run(drain).await });
        Self { api, config_maps: Api::namespaced(client, "a"), informers, _trigger: trigger, _tasks: tasks }
    }

    async fn create(&self, name: &str) {
        let made = object::<ConfigMap>(&format!("a/{name}")).uid(&format!("uid-{name}-{}", self.api.requests().len()));
        self.config_maps.create(&PostParams::default(), &made.build()).await.expect("created");
    }

    async fn delete(&self, name: &str) {
        self.config_maps.delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    async fn touch(&self, name: &str, value: &str) {
        let patch = Patch::Merge(json!({ "data": { "k": value } }));
        self.config_maps.patch(name, &PatchParams::default(), &patch).await.expect("patched");
    }
}

/// The next event as text, `+a`, `~a`, `-a`; the test fails when none comes.
async fn next(events: &mut Events<ConfigMap>) -> String {
    let event = tokio::time::timeout(Duration::from_secs(120), events.next()).await.expect("an event comes");
    let sign = match &event {
        Event::Added(_) => '+',
        Event::Updated { .. } => '~',
        Event::Deleted(_) => '-',
    };
    format!("{sign}{}", ObjectKey::of(&**event.object()).name)
}

#[tokio::test(start_paused = true)]
async fn existing_objects_are_replayed_and_changes_follow() {
    let cluster = Cluster::start();
    cluster.create("x").await;
    let informer = cluster.informers.of::<ConfigMap>();
    informer.synced().await;
    let mut events = informer.subscribe();
    assert_eq!(next(&mut events).await, "+x");
    cluster.touch("x", "1").await;
    assert_eq!(next(&mut events).await, "~x");
    cluster.delete("x").await;
    assert_eq!(next(&mut events).await, "-x");
    assert!(informer.lister().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_watch_serves_all_readers_of_a_kind() {
    let cluster = Cluster::start();
    let (first, second) = (cluster.informers.of::<ConfigMap>(), cluster.informers.of::<ConfigMap>());
    first.synced().await;
    second.synced().await;
    assert_eq!(cluster.api.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_sees_latest_states_and_no_lost_deletion() {
    let cluster = Cluster::start();
    cluster.create("gone").await;
    cluster.create("again").await;
    let informer = cluster.informers.of::<ConfigMap>();
    let (mut slow, mut quick) = (informer.subscribe(), informer.subscribe());
    for _ in 0..2 {
        next(&mut slow).await;
        next(&mut quick).await;
    }
    for value in 0..20 {
        cluster.touch("again", &value.to_string()).await;
    }
    cluster.delete("gone").await;
    cluster.delete("again").await;
    cluster.create("again").await;
    cluster.create("brief").await;
    cluster.delete("brief").await;
    cluster.create("last").await;
    while next(&mut quick).await != "+last" {}
    let mut seen = Vec::new();
    while let Some(event) = slow.try_next() {
        seen.push((event.is_deleted(), ObjectKey::of(&**event.object()).name));
    }
    let expected =
        [(true, "again"), (false, "again"), (true, "gone"), (false, "brief"), (true, "brief"), (false, "last")];
    assert_eq!(seen, expected.map(|(deleted, name)| (deleted, name.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_server_loses_nothing() {
    let cluster = Cluster::start();
    cluster.create("x").await;
    let informer = cluster.informers.of::<ConfigMap>();
    let mut events = informer.subscribe();
    assert_eq!(next(&mut events).await, "+x");
    cluster.api.drop_watches();
    cluster.create("y").await;
    assert_eq!(next(&mut events).await, "+y");
    cluster.api.fail_requests(5);
    cluster.api.drop_watches();
    assert!(cluster.config_maps.get("x").await.is_err());
    while cluster.config_maps.get("x").await.is_err() {}
    cluster.delete("x").await;
    assert_eq!(next(&mut events).await, "-x");
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_in_a_gap_is_found_by_comparison() {
    let cluster = Cluster::start();
    cluster.create("x").await;
    cluster.create("y").await;
    let informer = cluster.informers.of::<ConfigMap>();
    let mut events = informer.subscribe();
    assert_eq!(next(&mut events).await, "+x");
    assert_eq!(next(&mut events).await, "+y");
    cluster.api.refuse_watches(true);
    cluster.delete("x").await;
    cluster.touch("y", "1").await;
    cluster.api.compact();
    cluster.api.refuse_watches(false);
    assert_eq!(next(&mut events).await, "~y");
    assert_eq!(next(&mut events).await, "-x");
    assert_eq!(events.try_next().map(|event| event.is_deleted()), None);
}

#[tokio::test(start_paused = true)]
async fn indexes_find_objects_by_value() {
    let cluster = Cluster::start();
    let informer = cluster.informers.of::<ConfigMap>();
    informer.add_index("k", |map| map.data.iter().flatten().map(|(_, value)| value.clone()).collect());
    let mut events = informer.subscribe();
    for (name, value) in [("x", "1"), ("y", "1"), ("y", "2")] {
        if informer.lister().get(Some("a"), name).is_none() {
            cluster.create(name).await;
            next(&mut events).await;
        }
        cluster.touch(name, value).await;
        next(&mut events).await;
    }
    let found = |value: &str| -> Vec<String> {
        informer.lister().by_index("k", value).iter().map(|map| ObjectKey::of(&**map).name).collect()
    };
    assert_eq!((found("1"), found("2"), found("3")), (vec!["x".to_owned()], vec!["y".to_owned()], vec![]));
}
