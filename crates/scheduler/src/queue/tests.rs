//! The queue on a paused clock.

use testkit::pod;

use super::*;
use crate::framework::ClusterChange;

struct Fixture {
    queue: Queue,
    env: Env,
}

impl Fixture {
    fn new() -> Self {
        let env = Env::simulated(testkit::epoch(), 1);
        Self { queue: Queue::new(env.clone()), env }
    }

    fn put(&mut self, name: &str, priority: i32) {
        let pod = pod(&format!("ns/{name}")).uid(name).priority(priority).build();
        self.queue.put(Arc::new(PodInfo::new(Arc::new(pod))), false);
    }

    fn pop(&mut self) -> Option<String> {
        self.queue.pop().map(|queued| queued.pod.uid.clone())
    }

    fn refuse(&mut self, name: &str, plugin: &'static str) {
        self.queue.retry_after_change(name, BTreeSet::from([plugin]));
    }

    async fn after(&mut self, seconds: u64) -> Option<String> {
        self.env.sleep(Duration::from_secs(seconds)).await;
        self.queue.wake();
        self.pop()
    }
}

#[tokio::test(start_paused = true)]
async fn priority_comes_before_age() {
    let mut fixture = Fixture::new();
    for (name, priority) in [("old", 0), ("young", 0), ("urgent", 9)] {
        fixture.put(name, priority);
    }
    let order: Vec<_> = std::iter::from_fn(|| fixture.pop()).collect();
    assert_eq!(order, ["urgent", "old", "young"]);
}

#[tokio::test(start_paused = true)]
async fn refused_pods_wait_for_a_change_that_helps() {
    let mut fixture = Fixture::new();
    fixture.put("p", 0);
    assert_eq!(fixture.pop().as_deref(), Some("p"));
    fixture.refuse("p", "NodeResourcesFit");
    assert_eq!(fixture.after(20).await, None);
    fixture.queue.note_changes(ClusterChange::NodeTaints.into());
    assert_eq!(fixture.pop(), None);
    fixture.queue.note_changes(ClusterChange::AssignedPodGone.into());
    assert_eq!(fixture.pop().as_deref(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn a_change_during_the_cycle_is_not_missed() {
    let mut fixture = Fixture::new();
    fixture.put("p", 0);
    fixture.pop();
    fixture.queue.note_changes(ClusterChange::NodeAdded.into());
    fixture.refuse("p", "NodeResourcesFit");
    assert_eq!(fixture.after(1).await.as_deref(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn a_change_right_after_a_failure_waits_for_the_backoff() {
    let mut fixture = Fixture::new();
    fixture.put("p", 0);
    fixture.pop();
    fixture.refuse("p", "NodeResourcesFit");
    fixture.queue.note_changes(ClusterChange::NodeAdded.into());
    assert_eq!(fixture.pop(), None);
    assert_eq!(fixture.after(1).await.as_deref(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn missed_changes_are_made_up_for() {
    let mut fixture = Fixture::new();
    fixture.put("p", 0);
    fixture.pop();
    fixture.refuse("p", "NodeAffinity");
    assert_eq!(fixture.after(299).await, None);
    assert_eq!(fixture.after(1).await.as_deref(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn failures_double_the_pause() {
    let mut fixture = Fixture::new();
    fixture.put("p", 0);
    for pause in [1, 2, 4, 8, 10, 10] {
        assert_eq!(fixture.pop().as_deref(), Some("p"));
        fixture.queue.retry_after_backoff("p");
        assert_eq!(fixture.after(pause - 1).await, None, "before {pause} s");
        fixture.env.sleep(Duration::from_secs(1)).await;
        fixture.queue.wake();
    }
}

#[tokio::test(start_paused = true)]
async fn gates_hold_a_pod_back() {
    let mut fixture = Fixture::new();
    let info = Arc::new(PodInfo::new(Arc::new(pod("ns/p").uid("p").build())));
    fixture.queue.put(info.clone(), true);
    assert_eq!(fixture.pop(), None);
    fixture.queue.put(info, false);
    assert_eq!(fixture.pop().as_deref(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn status_updates_do_not_wake_a_refused_pod() {
    let mut fixture = Fixture::new();
    fixture.put("p", 0);
    fixture.pop();
    fixture.refuse("p", "NodeResourcesFit");
    fixture.put("p", 0);
    assert_eq!(fixture.pop(), None);
    fixture.put("p", 5);
    assert_eq!(fixture.pop().as_deref(), Some("p"));
}
