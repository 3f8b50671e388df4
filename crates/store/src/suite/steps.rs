//! The steps that a test takes, and how they are drawn.

use bytes::Bytes;
use proptest::prelude::*;

use crate::types::{KeyRange, Projection};

/// Keys that lie in and beside each other's prefixes, and at the ends of the order.
const KEYS: [&[u8]; 7] = [b"\0", b"/a", b"/a/1", b"/a/2", b"/a0", b"/b/1", b"\xff\xff"];
const PREFIXES: [&[u8]; 5] = [b"", b"/", b"/a/", b"/b", b"\xff"];

/// What a transaction compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Nothing,
    /// The key's revision as it is.
    Current,
    /// That the key does not exist.
    Absent,
    /// A revision that is a bit older than the current one.
    Stale,
}

#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub key: Bytes,
    /// `None` deletes.
    pub value: Option<Bytes>,
    pub compare: Compare,
}

/// A failure at a coming write to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// How many writes to the disk succeed before.
    pub after: u32,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum FaultKind {
    /// The disk is full, once.
    Full,
    /// It fails, once.
    Io,
    /// Power is lost during the write: each sector may have been written or not.
    Crash { seed: u64 },
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Transactions that are sent at the same time, in this order.
    Writes(Vec<Write>),
    /// A range at so many revisions before the current one; -1 is in the future.
    Range {
        range: KeyRange,
        back: Option<i64>,
        limit: usize,
        projection: Projection,
    },
    /// Opens a watch from so many revisions before the next one.
    Watch {
        range: KeyRange,
        back: Option<i64>,
    },
    /// Reads one of the open watches up to the current revision.
    ReadWatch(prop::sample::Index),
    /// Compacts to so many revisions before the current one; -1 is in the future.
    Compact {
        back: i64,
    },
    Arm(Fault),
    Reopen,
}

/// Sequences of steps.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop::option::weighted(0.7, -1..12_i64);
    prop_oneof![
        10 => prop::collection::vec(write(), 1..4).prop_map(Step::Writes),
        4 => (range(), back(), 0..4_usize, projection())
            .prop_map(|(range, back, limit, projection)| Step::Range { range, back, limit, projection }),
        3 => (range(), back()).prop_map(|(range, back)| Step::Watch { range, back }),
        4 => any::<prop::sample::Index>().prop_map(Step::ReadWatch),
        2 => (-1..10_i64).prop_map(|back| Step::Compact { back }),
        2 => (0..4_u32, fault_kind()).prop_map(|(after, kind)| Step::Arm(Fault { after, kind })),
        1 => Just(Step::Reopen),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let key = prop::sample::select(&KEYS[..]).prop_map(Bytes::from_static);
    // Mostly small, at times over several pages.
    let value = (any::<u8>(), prop_oneof![6 => 0..20_usize, 1 => 3000..20_000_usize])
        .prop_map(|(byte, length)| Bytes::from(vec![byte; length]));
    let compare = prop::sample::select(vec![
        Compare::Nothing,
        Compare::Current,
        Compare::Current,
        Compare::Absent,
        Compare::Stale,
    ]);
    (key, prop::option::weighted(0.75, value), compare).prop_map(|(key, value, compare)| Write { key, value, compare })
}

fn range() -> impl Strategy<Value = KeyRange> {
    let key = || prop::sample::select(&KEYS[..]);
    prop_oneof![
        prop::sample::select(&PREFIXES[..]).prop_map(KeyRange::prefix),
        key().prop_map(KeyRange::key),
        (key(), key()).prop_map(|(start, end)| KeyRange::span(start, end)),
    ]
}

fn projection() -> impl Strategy<Value = Projection> {
    prop::sample::select(vec![Projection::Full, Projection::Full, Projection::KeysOnly, Projection::CountOnly])
}

fn fault_kind() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        Just(FaultKind::Full),
        Just(FaultKind::Io),
        any::<u64>().prop_map(|seed| FaultKind::Crash { seed }),
        any::<u64>().prop_map(|seed| FaultKind::Crash { seed }),
    ]
}
