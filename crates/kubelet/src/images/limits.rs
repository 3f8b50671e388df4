//! How many pulls there are: at a time, and in a second.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::settings::ImageSettings;

/// How long a pull keeps others from their turn. One that takes longer waits for a registry rather than for this node,
/// and that registry must not hold up the images of all the others.
const LONGEST_TURN: Duration = Duration::from_secs(20);

/// Bounds on pulls.
#[derive(Debug)]
pub struct PullLimits {
    /// Turns of those that run; none where there is no bound.
    turns: Option<Semaphore>,
    rate: Option<Mutex<Bucket>>,
}

/// Tokens that come back with time.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    capacity: f64,
    tokens: f64,
    at: Instant,
}

impl PullLimits {
    /// The bounds of the settings.
    pub fn new(settings: &ImageSettings, env: &Env) -> Self {
        let turns = if settings.serialize_pulls { Some(1) } else { settings.max_parallel_pulls };
        let capacity = f64::from(settings.registry_burst);
        let bucket =
            || Bucket { per_second: f64::from(settings.registry_qps), capacity, tokens: capacity, at: env.instant() };
        Self { turns: turns.map(Semaphore::new), rate: (settings.registry_qps > 0).then(|| Mutex::new(bucket())) }
    }

    /// Waits for the turn of a pull, and does it. Cancel safe where the pull is.
    pub async fn take_turn<T>(&self, env: &Env, pull: impl Future<Output = T>) -> T {
        let turn = self.turn().await;
        let mut pull = pin!(pull);
        tokio::select! {
            done = &mut pull => return done,
            () = env.sleep(LONGEST_TURN) => drop(turn),
        }
        pull.await
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        match &self.turns {
            // The semaphore is never closed.
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        }
    }

    /// Whether one more pull may begin now.
    pub fn admits(&self, env: &Env) -> bool {
        let Some(bucket) = &self.rate else { return true };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = env.instant();
        let passed = now.saturating_duration_since(bucket.at);
        bucket.tokens = (bucket.tokens + passed.as_secs_f64() * bucket.per_second).min(bucket.capacity);
        bucket.at = now;
        let admits = bucket.tokens >= 1.0;
        if admits {
            bucket.tokens -= 1.0;
        }
        admits
    }
}

/// A duration as Go prints it, in whole milliseconds: `0s`, `850ms`, `1.234s`, `1m2.5s`, `1h0m3s`.
pub fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(qps: u32, burst: u32) -> ImageSettings {
        ImageSettings { registry_qps: qps, registry_burst: burst, ..ImageSettings::new("/x".into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn pulls_begin_in_bursts_and_then_at_their_rate() {
        let env = Env::simulated(testkit::epoch(), 1);
        let limits = PullLimits::new(&settings(2, 3), &env);
        let begun = |count: usize| (0..count).filter(|_| limits.admits(&env)).count();
        assert_eq!(begun(5), 3);
        env.sleep(Duration::from_millis(1600)).await;
        assert_eq!(begun(5), 3);
        env.sleep(Duration::from_secs(60)).await;
        assert_eq!(begun(9), 3);
        let unlimited = PullLimits::new(&settings(0, 0), &env);
        assert!((0..100).all(|_| unlimited.admits(&env)));
    }

    #[tokio::test]
    async fn one_pull_at_a_time_or_as_many_as_are_set() {
        let env = Env::system();
        let limits = PullLimits::new(&settings(0, 0), &env);
        let first = limits.turn().await;
        assert!(futures::FutureExt::now_or_never(limits.turn()).is_none());
        drop(first);
        assert!(limits.turn().await.is_some());
        let parallel = ImageSettings { serialize_pulls: false, max_parallel_pulls: None, ..settings(0, 0) };
        assert!(PullLimits::new(&parallel, &env).turn().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_does_not_come_to_its_end_holds_up_nobody_for_long() {
        let env = Env::simulated(testkit::epoch(), 1);
        let limits = PullLimits::new(&settings(0, 0), &env);
        let began = env.instant();
        let stuck = limits.take_turn(&env, std::future::pending::<()>());
        let slow = limits.take_turn(&env, env.sleep(LONGEST_TURN * 3));
        let quick = limits.take_turn(&env, async {});
        let others = async {
            tokio::join!(slow, quick);
            env.instant() - began
        };
        tokio::select! {
            biased;
            () = stuck => panic!("it does not end"),
            took = others => assert_eq!(took, LONGEST_TURN * 4),
        }
        assert_eq!(limits.turns.map(|turns| turns.available_permits()), Some(1));
    }

    #[test]
    fn durations_look_as_go_prints_them() {
        for (millis, text) in
            [(0, "0s"), (850, "850ms"), (1234, "1.234s"), (2000, "2s"), (62_500, "1m2.5s"), (3_603_000, "1h0m3s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
