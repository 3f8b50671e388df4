//! The handle through which components read the clock, sleep and draw random numbers.
//!
//! Sleeping and monotonic time go through tokio's clock, which a test or a simulation pauses and drives; wall time is
//! derived from it there, so that one seed gives one history.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::time::Instant;

/// Time and randomness for one process or one simulation. Cheap to clone; all clones share the random stream.
#[derive(Clone, Debug)]
pub struct Env {
    wall: Wall,
    random: Random,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    /// Wall time that starts at a given timestamp and advances with tokio's (pausable) clock.
    Simulated {
        epoch: Timestamp,
        started: Instant,
    },
}

impl Env {
    /// The machine's clock and a generator seeded by the operating system.
    pub fn system() -> Self {
        Self { wall: Wall::System, random: Random { rng: Arc::new(Mutex::new(rand::make_rng())) } }
    }

    /// A clock that starts at `epoch` and follows tokio's clock, and a generator with a fixed seed.
    ///
    /// Must be called inside a tokio runtime.
    pub fn simulated(epoch: Timestamp, seed: u64) -> Self {
        Self { wall: Wall::Simulated { epoch, started: Instant::now() }, random: Random::seeded(seed) }
    }

    /// Wall time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match &self.wall {
            Wall::System => Timestamp::now(),
            Wall::Simulated { epoch, started } => {
                let elapsed = SignedDuration::try_from(started.elapsed()).unwrap_or(SignedDuration::MAX);
                epoch.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Monotonic time, for measuring and for deadlines.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// The random numbers of this environment.
    pub fn random(&self) -> &Random {
        &self.random
    }
}

/// A shared stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    rng: Arc<Mutex<StdRng>>,
}

/// The characters of generated name suffixes: no vowels, no easily mistaken digits, so that no words arise.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Random {
    /// A stream that is the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        // A panic while the lock is held cannot leave the generator in a bad state, so poisoning is ignored.
        draw(&mut self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.with(|rng| rng.random_range(0..bound)) }
    }

    /// A fraction in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        self.with(|rng| rng.random::<f64>())
    }

    /// `base` lengthened by up to `factor` of itself, to keep many waiters from waking at once.
    pub fn jitter(&self, base: Duration, factor: f64) -> Duration {
        base.mul_f64(1.0 + factor * self.fraction())
    }

    /// Fills `buffer` with random bytes.
    pub fn fill(&self, buffer: &mut [u8]) {
        self.with(|rng| rng.fill_bytes(buffer));
    }

    /// A version 4 UUID in its usual text form.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A suffix of `length` characters for a generated name.
    pub fn suffix(&self, length: usize) -> String {
        self.with(|rng| {
            (0..length).map(|_| char::from(SUFFIX_ALPHABET[rng.random_range(0..SUFFIX_ALPHABET.len())])).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert_eq!((a.uuid(), a.suffix(5), a.below(100)), (b.uuid(), b.suffix(5), b.below(100)));
        assert_ne!(a.uuid(), a.uuid());
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_wall_time_follows_the_paused_clock() {
        let epoch = Timestamp::from_second(1_700_000_000).expect("a valid timestamp");
        let env = Env::simulated(epoch, 1);
        env.sleep(Duration::from_secs(90)).await;
        assert_eq!(env.now().as_second() - epoch.as_second(), 90);
    }
}
