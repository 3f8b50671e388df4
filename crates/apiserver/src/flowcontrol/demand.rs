//! How many seats a priority level has wanted: observed at every change, and summed up once a period.

use std::time::Duration;

use tokio::time::Instant;

/// What happened to a number over a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Observed {
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) max: f64,
}

/// A number that changes over time.
#[derive(Debug)]
pub(super) struct Integrator {
    since: Instant,
    value: f64,
    max: f64,
    time: f64,
    sum: f64,
    squares: f64,
}

impl Integrator {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, value: 0.0, max: 0.0, time: 0.0, sum: 0.0, squares: 0.0 }
    }

    /// The number is `value` from now on.
    pub(super) fn set(&mut self, now: Instant, value: f64) {
        self.pass(now);
        self.value = value;
        self.max = self.max.max(value);
    }

    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.time += passed;
        self.sum += passed * self.value;
        self.squares += passed * self.value * self.value;
    }

    /// What happened since the last call.
    pub(super) fn take(&mut self, now: Instant) -> Observed {
        self.pass(now);
        let observed = match self.time > 0.0 {
            false => Observed { average: self.value, deviation: 0.0, max: self.max },
            true => {
                let average = self.sum / self.time;
                let variance = (self.squares / self.time - average * average).max(0.0);
                Observed { average, deviation: variance.sqrt(), max: self.max }
            }
        };
        (self.max, self.time, self.sum, self.squares) = (self.value, 0.0, 0.0, 0.0);
        observed
    }
}

/// How often limits are adjusted to the demand.
pub(super) const ADJUSTMENT_PERIOD: Duration = Duration::from_secs(10);

/// How slowly demand is forgotten: a peak has half of its weight after five minutes of periods.
const SMOOTHING: f64 = 0.977;

/// The demand of a priority level as limits follow it: up at once, down slowly.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    pub(super) high: f64,
    pub(super) smoothed: f64,
}

impl Demand {
    pub(super) fn update(&mut self, observed: Observed) {
        let envelope = observed.average + observed.deviation;
        self.high = observed.max;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    #[test]
    fn averages_are_weighted_by_time() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut integrator = Integrator::new(began);
        integrator.set(at(0), 4.0);
        integrator.set(at(1), 0.0);
        let observed = integrator.take(at(4));
        close(observed.average, 1.0);
        close(observed.deviation, 3.0_f64.sqrt());
        close(observed.max, 4.0);
        assert_eq!(integrator.take(at(8)), Observed::default());
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let mut demand = Demand::default();
        demand.update(Observed { average: 8.0, deviation: 2.0, max: 20.0 });
        close(demand.smoothed, 10.0);
        demand.update(Observed::default());
        close(demand.smoothed, 9.77);
        close(demand.high, 0.0);
    }
}
