//! Random documents and bytes: what must hold for all of them.

mod decoding;
mod documents;
mod oracle;
mod patches;
mod protobuf;
mod texts;

use proptest::prelude::ProptestConfig;

/// So many cases in an ordinary run: those that look at every kind are as good as hundreds. With `PROPTEST_CASES`, as
/// `make fuzz` sets it, there are more in the same proportion.
fn cases(count: u32) -> ProptestConfig {
    const USUAL: u32 = 256;
    let all = ProptestConfig::default();
    ProptestConfig { cases: (count * all.cases / USUAL).max(1), failure_persistence: None, ..all }
}
