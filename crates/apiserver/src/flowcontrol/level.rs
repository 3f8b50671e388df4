//! A priority level at work: its queues, and how many seats it has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::allocation::{Bounds, Share, Wanted};
use super::demand::{Demand, Observed};
use super::queueset::{Id, Mode, QueueSet, Queuing};
use super::retry::RetryAfter;
use super::schema::Schema;
use crate::access::Identity;
use crate::http::request_info::RequestInfo;

/// The part of a PriorityLevelConfiguration that this server reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LevelSpec {
    #[serde(rename = "type")]
    kind: String,
    limited: Option<LimitedSpec>,
    exempt: Option<ExemptSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LimitedSpec {
    nominal_concurrency_shares: u32,
    lendable_percent: u32,
    borrowing_limit_percent: Option<u32>,
    limit_response: LimitResponse,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExemptSpec {
    nominal_concurrency_shares: u32,
    lendable_percent: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LimitResponse {
    queuing: Option<QueuingSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueuingSpec {
    queues: usize,
    hand_size: usize,
    queue_length_limit: usize,
}

impl LevelSpec {
    pub(super) fn mode(&self) -> Mode {
        let queuing = self.limited.as_ref().and_then(|limited| limited.limit_response.queuing.as_ref());
        match queuing {
            _ if self.kind == "Exempt" => Mode::Exempt,
            None => Mode::Reject,
            Some(queuing) => Mode::Queue(Queuing {
                queues: queuing.queues.max(1),
                hand: queuing.hand_size.max(1),
                length: queuing.queue_length_limit,
            }),
        }
    }

    pub(super) fn share(&self) -> Share {
        match (&self.limited, &self.exempt) {
            (Some(limited), _) => Share {
                shares: limited.nominal_concurrency_shares,
                lendable_percent: limited.lendable_percent,
                borrowing_percent: limited.borrowing_limit_percent,
            },
            (None, Some(exempt)) => Share {
                shares: exempt.nominal_concurrency_shares,
                lendable_percent: exempt.lendable_percent,
                borrowing_percent: None,
            },
            (None, None) => Share { shares: 0, lendable_percent: 0, borrowing_percent: None },
        }
    }
}

/// A request in the queues of a level.
pub(super) struct Ticket {
    pub(super) schema: Arc<Schema>,
    pub(super) info: Arc<RequestInfo>,
    pub(super) identity: Arc<Identity>,
    /// Tells it that it may start, where it waits.
    pub(super) wake: Option<oneshot::Sender<()>>,
}

/// A priority level, as long as some request has it.
pub(super) struct Level {
    pub(super) name: String,
    pub(super) is_exempt: bool,
    /// What one request may take at most.
    max_seats: AtomicU32,
    set: Mutex<QueueSet<Ticket>>,
    tuning: Mutex<Tuning>,
    pub(super) retry_after: RetryAfter,
}

#[derive(Debug, Default)]
struct Tuning {
    bounds: Bounds,
    demand: Demand,
    /// What was wanted in the last period.
    observed: Observed,
}

impl Level {
    pub(super) fn new(name: String, mode: Mode, now: Instant) -> Self {
        Self {
            name,
            is_exempt: mode == Mode::Exempt,
            max_seats: AtomicU32::new(1),
            set: Mutex::new(QueueSet::new(mode, 0, now)),
            tuning: Mutex::default(),
            retry_after: RetryAfter::new(now),
        }
    }

    pub(super) fn max_seats(&self) -> u32 {
        self.max_seats.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) -> MutexGuard<'_, QueueSet<Ticket>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tuning(&self) -> MutexGuard<'_, Tuning> {
        self.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another configuration.
    pub(super) fn configure(&self, mode: Mode, bounds: Bounds, now: Instant) {
        let max_seats = match mode {
            Mode::Queue(queuing) => bounds.nominal.div_ceil(u32::try_from(queuing.hand).unwrap_or(u32::MAX)).max(1),
            Mode::Exempt | Mode::Reject => u32::MAX,
        };
        self.max_seats.store(max_seats, Ordering::Relaxed);
        let has_changed = std::mem::replace(&mut self.tuning().bounds, bounds) != bounds;
        let mut set = self.set();
        set.set_mode(mode);
        if has_changed {
            let started = set.set_limit(now, bounds.initial());
            wake(&mut set, started);
        }
    }

    /// What it has wanted since the last call.
    pub(super) fn wanted(&self, now: Instant) -> Wanted {
        let observed = self.set().take_demand(now);
        let mut tuning = self.tuning();
        tuning.demand.update(observed);
        tuning.observed = observed;
        let Demand { high, smoothed } = tuning.demand;
        Wanted { bounds: tuning.bounds, high, smoothed, is_exempt: self.is_exempt }
    }

    /// Its seats in numbers: its own, the least and the most that it may have, those that it has, and of those that were
    /// wanted in the last period the most, the average and the deviation from that, and what is wanted by and large.
    pub(super) fn seats(&self) -> [f64; 8] {
        let limit = self.set().limit();
        let Tuning { bounds, demand, observed } = &*self.tuning();
        let counts = [bounds.nominal, bounds.min, bounds.max, limit].map(f64::from);
        let [nominal, min, max, limit] = counts;
        [nominal, min, max, limit, observed.max, observed.average, observed.deviation, demand.smoothed]
    }

    /// Takes another limit.
    pub(super) fn limit(&self, now: Instant, limit: u32) {
        let mut set = self.set();
        let started = set.set_limit(now, limit);
        wake(&mut set, started);
    }
}

/// Tells those who waited that they may start.
pub(super) fn wake(set: &mut QueueSet<Ticket>, started: Vec<Id>) {
    for id in started {
        let sender = set.payload_mut(id).and_then(|ticket| ticket.wake.take());
        // Who has given up meanwhile finds out that it has started, and ends.
        let _ = sender.map(|sender| sender.send(()));
    }
}
