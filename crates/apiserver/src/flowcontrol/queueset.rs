//! The queues of one priority level: who may start, who waits, and who is turned away.
//!
//! Requests of a flow wait in one of the queues of its hand. Queues take turns by virtual time: a clock that runs as fast
//! as each busy queue would be served if all were served at once. A queue's next request starts when the virtual time at
//! which it would end is the least of all; what a request really took is corrected when it ends. Nothing here waits or
//! reads a clock: callers bring the time, and wake whom they are told.

mod queue;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::demand::{Integrator, Observed};
use super::estimate::Estimate;
use super::shuffle;
use queue::{Queue, Work};

/// How requests of a level wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They do not: all start at once.
    Exempt,
    /// They do not: whatever has no seat is refused.
    Reject,
    /// In queues.
    Queue(Queuing),
}

/// The queues of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    pub(super) queues: usize,
    pub(super) hand: usize,
    /// How many requests wait in a queue at most.
    pub(super) length: usize,
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
}

/// The number of a request, from its arrival to its end.
pub(super) type Id = usize;

/// A request that was taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) id: Id,
    /// Whether it starts; otherwise it waits.
    pub(super) starts: bool,
    /// Others that waited and start.
    pub(super) others: Vec<Id>,
}

/// A request in the set.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) payload: T,
    pub(super) estimate: Estimate,
    pub(super) arrived: Instant,
    pub(super) started: Option<Instant>,
    /// Whether it is answered, and keeps its seats for what comes after.
    pub(super) is_over: bool,
    pub(super) queue: Option<usize>,
}

/// How many requests went which way since the level exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    pub(super) timed_out: u64,
    pub(super) cancelled: u64,
}

/// What the requests of a set are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) waiting: usize,
    pub(super) executing: usize,
    pub(super) seats_in_use: u32,
    /// The seats that those who wait will take.
    pub(super) seats_waiting: u32,
    /// Queues from which something waits or is served.
    pub(super) active_queues: usize,
}

/// The requests of one level.
#[derive(Debug)]
pub(super) struct QueueSet<T> {
    mode: Mode,
    limit: u32,
    queues: Vec<Queue>,
    entries: Vec<Option<Entry<T>>>,
    free: Vec<Id>,
    /// Seats that are given back later.
    releases: BinaryHeap<Reverse<(Instant, Id)>>,
    now: Instant,
    virtual_now: Work,
    /// The queue that was served last; the search for the next begins behind it.
    last: usize,
    totals: Totals,
    counts: Counts,
    demand: Integrator,
}

impl<T> QueueSet<T> {
    pub(super) fn new(mode: Mode, limit: u32, now: Instant) -> Self {
        let mut set = Self {
            mode,
            limit,
            queues: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            releases: BinaryHeap::new(),
            now,
            virtual_now: Work::default(),
            last: 0,
            totals: Totals::default(),
            counts: Counts::default(),
            demand: Integrator::new(now),
        };
        set.resize();
        set
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// The requests that are in the set, with their numbers.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Id, &Entry<T>)> {
        self.entries.iter().enumerate().filter_map(|(id, entry)| entry.as_ref().map(|entry| (id, entry)))
    }

    pub(super) fn payload_mut(&mut self, id: Id) -> Option<&mut T> {
        self.entries.get_mut(id)?.as_mut().map(|entry| &mut entry.payload)
    }

    /// A request arrives; [`QueueSet::tick`] has been called for this time. `hash` is that of its flow.
    pub(super) fn arrive(
        &mut self,
        now: Instant,
        hash: impl FnOnce() -> u64,
        estimate: Estimate,
        payload: T,
    ) -> Result<Arrival, Refusal> {
        self.run_clock(now);
        let queue = match self.mode {
            Mode::Exempt => None,
            Mode::Reject if self.has_room(estimate.most()) => None,
            Mode::Reject => return Err(self.refuse(Refusal::ConcurrencyLimit)),
            Mode::Queue(queuing) => Some(self.choose(hash(), queuing)?),
        };
        let entry = Entry { payload, estimate, arrived: now, started: None, is_over: false, queue };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.entries.push(None);
                self.entries.len() - 1
            }
        };
        self.entries[id] = Some(entry);
        let Some(queue) = queue else {
            self.start(id);
            self.observe();
            return Ok(Arrival { id, starts: true, others: Vec::new() });
        };
        let is_alone = self.totals.waiting == 0;
        self.totals.active_queues += usize::from(!self.queues[queue].is_active());
        self.queues[queue].push(id, estimate, self.virtual_now);
        self.totals.waiting += 1;
        self.totals.seats_waiting += estimate.most();
        if is_alone {
            // Most often: nobody has to be compared with it.
            let starts = self.has_room(estimate.most()) && self.start_first(queue).is_some();
            self.observe();
            return Ok(Arrival { id, starts, others: Vec::new() });
        }
        let mut others = self.dispatch();
        let starts = others.contains(&id);
        others.retain(|other| *other != id);
        Ok(Arrival { id, starts, others })
    }

    /// The queue of the hand with the least work waiting.
    fn choose(&mut self, hash: u64, queuing: Queuing) -> Result<usize, Refusal> {
        let mut best: Option<usize> = None;
        let queues = &self.queues;
        shuffle::deal(hash, queuing.queues, queuing.hand, |card| {
            if best.is_none_or(|best| queues[card].waiting_work() < queues[best].waiting_work()) {
                best = Some(card);
            }
        });
        let best = best.unwrap_or(0);
        if self.queues[best].waiting().len() >= queuing.length && self.totals.seats_in_use >= self.limit {
            return Err(self.refuse(Refusal::QueueFull));
        }
        Ok(best)
    }

    fn refuse(&mut self, why: Refusal) -> Refusal {
        self.counts.rejected += 1;
        why
    }

    /// Whether seats are free. What is wider than the level gets all of it.
    fn has_room(&self, seats: u32) -> bool {
        match self.totals.executing {
            0 if seats > self.limit => self.totals.seats_in_use == 0,
            _ => self.totals.seats_in_use + seats <= self.limit,
        }
    }

    fn start(&mut self, id: Id) {
        let Some(entry) = self.entries[id].as_mut() else { return };
        entry.started = Some(self.now);
        self.totals.executing += 1;
        self.totals.seats_in_use += entry.estimate.most();
        self.counts.dispatched += 1;
    }

    fn start_first(&mut self, queue: usize) -> Option<Id> {
        let (id, estimate) = self.queues[queue].start_first()?;
        self.totals.waiting -= 1;
        self.totals.seats_waiting -= estimate.most();
        self.last = queue;
        self.start(id);
        Some(id)
    }

    /// Starts what may start; the numbers of those that waited.
    fn dispatch(&mut self) -> Vec<Id> {
        let mut started = Vec::new();
        while self.totals.waiting > 0 {
            let Some((queue, seats)) = self.next_queue() else { break };
            if !self.has_room(seats) {
                break;
            }
            started.extend(self.start_first(queue));
        }
        self.observe();
        started
    }

    /// The queue whose first request would end first, and the seats which that takes.
    fn next_queue(&self) -> Option<(usize, u32)> {
        let count = self.queues.len();
        let order = (1..=count).map(|step| (self.last + step) % count);
        let candidates = order.filter_map(|index| self.queues[index].virtual_finish().map(|end| (end, index)));
        // The first of equals, in the order from the last queue on.
        let (_, index) = candidates.reduce(|best, other| if other.0 < best.0 { other } else { best })?;
        let (_, estimate) = self.queues[index].waiting().front()?;
        Some((index, estimate.most()))
    }

    /// A request is answered; the numbers of those that may start therefore.
    pub(super) fn finish(&mut self, now: Instant, id: Id) -> Vec<Id> {
        self.pass(now);
        let Some(entry) = self.entries.get_mut(id).and_then(Option::as_mut) else { return Vec::new() };
        let (estimate, queue) = (entry.estimate, entry.queue);
        let served = now.saturating_duration_since(entry.started.unwrap_or(now));
        entry.is_over = true;
        self.totals.executing -= 1;
        if let Some(queue) = queue {
            self.queues[queue].correct(estimate, served);
        }
        match estimate.extra.is_zero() {
            true => self.release(id),
            false => self.releases.push(Reverse((now + estimate.extra, id))),
        }
        self.dispatch()
    }

    /// Gives the seats of a request back.
    fn release(&mut self, id: Id) {
        let Some(entry) = self.entries[id].take() else { return };
        self.free.push(id);
        self.totals.seats_in_use -= entry.estimate.most();
        if let Some(queue) = entry.queue {
            self.queues[queue].end(entry.estimate);
            self.totals.active_queues -= usize::from(!self.queues[queue].is_active());
            self.resize();
        }
    }

    /// A request that waits gives up; the numbers of those that may start therefore. `None` if it has started itself
    /// meanwhile.
    pub(super) fn give_up(&mut self, now: Instant, id: Id, timed_out: bool) -> Option<Vec<Id>> {
        let entry = self.entries.get(id).and_then(Option::as_ref).filter(|entry| entry.started.is_none())?;
        let (estimate, queue) = (entry.estimate, entry.queue);
        self.run_clock(now);
        match timed_out {
            true => self.counts.timed_out += 1,
            false => self.counts.cancelled += 1,
        }
        self.entries[id] = None;
        self.free.push(id);
        self.totals.waiting -= 1;
        self.totals.seats_waiting -= estimate.most();
        if let Some(queue) = queue {
            self.queues[queue].remove(id);
            self.totals.active_queues -= usize::from(!self.queues[queue].is_active());
            self.resize();
        }
        Some(self.tick(now))
    }

    /// Time has passed: seats that are due are given back. The numbers of those that may start therefore.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Id> {
        self.pass(now);
        self.dispatch()
    }

    /// When the next seats are given back, if somebody waits for them.
    pub(super) fn next_release(&self) -> Option<Instant> {
        let Reverse((at, _)) = self.releases.peek()?;
        (self.totals.waiting > 0).then_some(*at)
    }

    /// Sets how many seats there are; the numbers of those that may start therefore.
    pub(super) fn set_limit(&mut self, now: Instant, limit: u32) -> Vec<Id> {
        self.pass(now);
        self.limit = limit;
        self.dispatch()
    }

    /// Changes how requests wait; those that do keep their places.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.resize();
    }

    /// Makes queues that are missing, and drops those that are too many once they are empty.
    fn resize(&mut self) {
        let wanted = match self.mode {
            Mode::Queue(queuing) => queuing.queues.max(1),
            Mode::Exempt | Mode::Reject => 0,
        };
        if self.queues.len() < wanted {
            self.queues.resize_with(wanted, Queue::default);
        }
        while self.queues.len() > wanted && self.queues.last().is_some_and(|queue| !queue.is_active()) {
            self.queues.pop();
        }
    }

    /// The seats that were wanted since the last call.
    pub(super) fn take_demand(&mut self, now: Instant) -> Observed {
        self.demand.take(now)
    }

    fn observe(&mut self) {
        let wanted = self.totals.seats_in_use + self.totals.seats_waiting;
        self.demand.set(self.now, f64::from(wanted));
    }

    /// Lets the clocks run, and gives seats back that are due on the way.
    fn pass(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.releases.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.run_clock(at);
            self.releases.pop();
            self.release(id);
        }
        self.run_clock(now);
    }

    fn run_clock(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.now);
        self.now = self.now.max(now);
        if self.totals.active_queues > 0 && passed > Duration::ZERO {
            let served = (self.totals.seats_in_use + self.totals.seats_waiting).min(self.limit);
            self.virtual_now += Work::of(served, passed) / self.totals.active_queues;
        }
    }
}

#[cfg(test)]
mod tests;
