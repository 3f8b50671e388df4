//! One queue: what waits in it, what of it is served, and how far it has got in virtual time.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Add, AddAssign, Div};
use std::time::Duration;

use super::super::estimate::Estimate;
use super::Id;

/// Work, in seats times nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Work(u128);

impl Work {
    /// So many seats for so long.
    pub(super) fn of(seats: u32, time: Duration) -> Self {
        Self(u128::from(seats) * time.as_nanos())
    }

    fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Div<usize> for Work {
    type Output = Self;

    fn div(self, parts: usize) -> Self {
        Self(self.0 / parts.max(1) as u128)
    }
}

/// As upstream writes it: seat-seconds with eight digits.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08}ss", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 10)
    }
}

/// How long a request is taken to be served before it is known.
const SERVICE_TIME: Duration = Duration::from_millis(3);

impl Estimate {
    fn work(self, served: Duration) -> Work {
        Work::of(self.seats, served) + Work::of(self.final_seats, self.extra)
    }

    fn expected(self) -> Work {
        self.work(SERVICE_TIME)
    }
}

/// One queue.
#[derive(Debug, Default)]
pub(in super::super) struct Queue {
    waiting: VecDeque<(Id, Estimate)>,
    executing: usize,
    seats_in_use: u32,
    waiting_work: Work,
    /// When, in virtual time, the next request starts.
    next_start: Work,
}

impl Queue {
    pub(in super::super) fn waiting(&self) -> &VecDeque<(Id, Estimate)> {
        &self.waiting
    }

    pub(in super::super) fn executing(&self) -> usize {
        self.executing
    }

    pub(in super::super) fn seats_in_use(&self) -> u32 {
        self.seats_in_use
    }

    pub(in super::super) fn waiting_work(&self) -> Work {
        self.waiting_work
    }

    pub(in super::super) fn next_start(&self) -> Work {
        self.next_start
    }

    /// Whether something waits or holds seats.
    pub(super) fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }

    pub(super) fn push(&mut self, id: Id, estimate: Estimate, now: Work) {
        if !self.is_active() {
            // Whoever asked for nothing saves nothing up.
            self.next_start = self.next_start.max(now);
        }
        self.waiting_work += estimate.expected();
        self.waiting.push_back((id, estimate));
    }

    /// When, in virtual time, the first request would end.
    pub(super) fn virtual_finish(&self) -> Option<Work> {
        self.waiting.front().map(|(_, estimate)| self.next_start + estimate.expected())
    }

    pub(super) fn start_first(&mut self) -> Option<(Id, Estimate)> {
        let (id, estimate) = self.waiting.pop_front()?;
        self.waiting_work = self.waiting_work.less(estimate.expected());
        self.next_start += estimate.expected();
        self.executing += 1;
        self.seats_in_use += estimate.most();
        Some((id, estimate))
    }

    /// A request is answered: what it was taken to need gives way to what it took.
    pub(super) fn correct(&mut self, estimate: Estimate, served: Duration) {
        self.next_start = (self.next_start + estimate.work(served)).less(estimate.expected());
    }

    /// The seats of a request are given back.
    pub(super) fn end(&mut self, estimate: Estimate) {
        self.executing -= 1;
        self.seats_in_use -= estimate.most();
    }

    pub(super) fn remove(&mut self, id: Id) {
        if let Some(at) = self.waiting.iter().position(|(other, _)| *other == id)
            && let Some((_, estimate)) = self.waiting.remove(at)
        {
            self.waiting_work = self.waiting_work.less(estimate.expected());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_written_in_seat_seconds() {
        assert_eq!(Work::of(270, SERVICE_TIME).to_string(), "0.81000000ss");
        assert_eq!(Work::of(3, Duration::from_micros(1_500_001)).to_string(), "4.50000300ss");
    }
}
