//! Leader election against an in-memory API.

use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use skiff_client::leader::{Config, Outcome, elect};
use testkit::{MemoryApi, epoch};
use tokio::sync::Notify;

async fn lease(api: &MemoryApi) -> LeaseSpec {
    let leases: Api<Lease> = Api::namespaced(api.client(), "kube-system");
    leases.get("test").await.expect("there is a lease").spec.expect("it has a spec")
}

/// A candidate that, once elected, says so and works until drained.
fn candidate(
    api: &MemoryApi,
    env: &Env,
    identity: &str,
    drain: Drain,
) -> (tokio::task::JoinHandle<Outcome<()>>, Arc<Notify>) {
    let elected = Arc::new(Notify::new());
    let config = Config::new("kube-system", "test", identity);
    let (client, env, told) = (api.client(), env.clone(), Arc::clone(&elected));
    let task = tokio::spawn(elect(config, client, env, drain, move |term| async move {
        told.notify_one();
        term.drained().await;
    }));
    (task, elected)
}

#[tokio::test(start_paused = true)]
async fn a_lone_candidate_leads_renews_and_releases() {
    let (api, env) = (MemoryApi::new(), Env::simulated(epoch(), 1));
    let (trigger, drain) = base::drain();
    let (task, elected) = candidate(&api, &env, "a", drain);
    elected.notified().await;
    let first = lease(&api).await;
    assert_eq!(first.holder_identity.as_deref(), Some("a"));
    env.sleep(Duration::from_secs(60)).await;
    assert!(lease(&api).await.renew_time > first.renew_time);
    trigger.drain();
    assert_eq!(task.await.expect("no panic"), Outcome::Ended(()));
    assert_eq!(lease(&api).await.holder_identity.as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_at_once_after_a_release() {
    let (api, env) = (MemoryApi::new(), Env::simulated(epoch(), 1));
    let (first_trigger, first_drain) = base::drain();
    let (first, elected) = candidate(&api, &env, "a", first_drain);
    elected.notified().await;
    let (_trigger, drain) = base::drain();
    let (_second, second_elected) = candidate(&api, &env, "b", drain);
    let early = tokio::time::timeout(Duration::from_secs(300), second_elected.notified()).await;
    assert!(early.is_err(), "two leaders");
    first_trigger.drain();
    first.await.expect("no panic");
    let released = env.instant();
    second_elected.notified().await;
    assert!(env.instant() - released < Duration::from_secs(3));
    assert_eq!(lease(&api).await.lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_when_the_leader_is_killed() {
    let (api, env) = (MemoryApi::new(), Env::simulated(epoch(), 1));
    let (_first_trigger, first_drain) = base::drain();
    let (first, elected) = candidate(&api, &env, "a", first_drain);
    elected.notified().await;
    let (_trigger, drain) = base::drain();
    let (_second, second_elected) = candidate(&api, &env, "b", drain);
    env.sleep(Duration::from_secs(5)).await;
    first.abort();
    let killed = env.instant();
    second_elected.notified().await;
    let taken = env.instant() - killed;
    assert!(taken > Duration::from_secs(10) && taken < Duration::from_secs(20), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops() {
    let (api, env) = (MemoryApi::new(), Env::simulated(epoch(), 1));
    let (_trigger, drain) = base::drain();
    let (task, elected) = candidate(&api, &env, "a", drain);
    elected.notified().await;
    let began = env.instant();
    api.fail_requests(usize::MAX);
    assert_eq!(task.await.expect("no panic"), Outcome::Lost(()));
    let taken = env.instant() - began;
    assert!(taken < Duration::from_secs(15), "before the lease expires for others: {taken:?}");
}
