use std::time::Duration;

use base::Env;
use jiff::Timestamp;

use super::{Backoff, Queue};

fn queue() -> Queue<&'static str> {
    Queue::new(Env::simulated(Timestamp::UNIX_EPOCH, 1))
}

/// Takes what is ready within `wait`.
#[track_caller]
fn check_next(got: Option<Option<&'static str>>, expected: Option<&'static str>) {
    assert_eq!(got.flatten(), expected);
}

async fn next(queue: &Queue<&'static str>, wait: u64) -> Option<Option<&'static str>> {
    tokio::time::timeout(Duration::from_millis(wait), queue.get()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_key_added_twice_is_handed_out_once() {
    let queue = queue();
    queue.add("a");
    queue.add("a");
    queue.add("b");
    check_next(next(&queue, 1).await, Some("a"));
    check_next(next(&queue, 1).await, Some("b"));
    check_next(next(&queue, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_in_work_waits_for_its_end() {
    let queue = queue();
    queue.add("a");
    check_next(next(&queue, 1).await, Some("a"));
    queue.add("a");
    check_next(next(&queue, 1000).await, None);
    queue.done(&"a");
    check_next(next(&queue, 1).await, Some("a"));
    queue.done(&"a");
    check_next(next(&queue, 1000).await, None);
}

#[tokio::test(start_paused = true)]
async fn delayed_keys_come_in_order_of_time_and_the_earlier_delay_counts() {
    let queue = queue();
    queue.add_after("late", Duration::from_secs(10));
    queue.add_after("early", Duration::from_secs(20));
    queue.add_after("early", Duration::from_secs(5));
    queue.add_after("early", Duration::from_secs(30));
    check_next(next(&queue, 4_900).await, None);
    check_next(next(&queue, 200).await, Some("early"));
    check_next(next(&queue, 4_800).await, None);
    check_next(next(&queue, 200).await, Some("late"));
    queue.done(&"early");
    check_next(next(&queue, 60_000).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_added_to_a_waiting_worker_wakes_it() {
    let queue = queue();
    queue.add_after("slow", Duration::from_secs(100));
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.get().await }
    });
    tokio::task::yield_now().await;
    queue.add("fast");
    assert_eq!(waiting.await.expect("the worker ends"), Some("fast"));
}

#[tokio::test(start_paused = true)]
async fn every_waiting_worker_gets_a_key() {
    let queue = queue();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.get().await })
        })
        .collect();
    tokio::task::yield_now().await;
    for key in ["a", "b", "c"] {
        queue.add_after(key, Duration::from_secs(1));
    }
    let mut got = Vec::new();
    for worker in workers {
        got.extend(worker.await.expect("the worker ends"));
    }
    got.sort_unstable();
    assert_eq!(got, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn failures_lengthen_the_pause_until_forgotten() {
    let queue = queue();
    for expected in [5, 10, 20] {
        queue.add_rate_limited("a");
        check_next(next(&queue, expected - 2).await, None);
        check_next(next(&queue, 4).await, Some("a"));
        queue.done(&"a");
    }
    queue.forget(&"a");
    queue.add_rate_limited("a");
    check_next(next(&queue, 7).await, Some("a"));
}

#[test]
fn backoff_is_bounded() {
    let backoff = Backoff::default();
    let seconds: Vec<f64> = [1, 2, 10, 18, 19, 60, u32::MAX].map(|n| backoff.delay(n).as_secs_f64()).to_vec();
    assert_eq!(seconds, [0.005, 0.01, 2.56, 655.36, 1000.0, 1000.0, 1000.0]);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_releases_all_workers() {
    let queue = queue();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.get().await })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.shut_down();
    for worker in workers {
        assert_eq!(worker.await.expect("the worker ends"), None);
    }
}
