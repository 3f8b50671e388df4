//! Random documents and bytes: what must hold for all of them.

use std::time::{Duration, Instant};

/// Ends a law with success when its time is over, however many cases are left: those that look at every kind take long.
macro_rules! in_time {
    () => {{
        static BEGAN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        if crate::is_over(*BEGAN) {
            return Ok(());
        }
    }};
}

mod decoding;
mod documents;
mod oracle;
mod patches;
mod protobuf;
mod texts;

use proptest::prelude::ProptestConfig;

/// Whether a law that began then has had the time that `FUZZ_SECONDS` gives to each; without it there is no end.
fn is_over(began: Instant) -> bool {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    seconds.is_some_and(|seconds| began.elapsed() >= Duration::from_secs(seconds))
}

/// So many cases in an ordinary run: those that look at every kind are as good as hundreds. With `PROPTEST_CASES`, as
/// `make fuzz` sets it, there are more in the same proportion.
fn cases(count: u32) -> ProptestConfig {
    const USUAL: u32 = 256;
    let all = ProptestConfig::default();
    ProptestConfig { cases: (count * all.cases / USUAL).max(1), failure_persistence: None, ..all }
}
