//! How the server's seats are shared out among priority levels.
//!
//! Each level has a nominal part by its shares. Of that it lends what it does not use, down to a minimum, and it borrows
//! what others lend, up to a maximum. Once a period the parts are set so that each level gets the same fraction of what
//! it wants, within its bounds.

/// The bounds of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) nominal: u32,
    pub(super) min: u32,
    pub(super) max: u32,
}

/// What a level is by its configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) shares: u32,
    pub(super) lendable_percent: u32,
    pub(super) borrowing_percent: Option<u32>,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seats are few, and never negative")]
fn seats(value: f64) -> u32 {
    value as u32
}

impl Share {
    /// The bounds of this level when the server has `limit` seats and all levels together have `sum` shares.
    pub(super) fn bounds(self, limit: u32, sum: u32) -> Bounds {
        // Rounded up, so that every level with a share has a seat; the sum may be a little more than the limit.
        let nominal = match sum {
            0 => 0,
            sum => seats((f64::from(limit) * f64::from(self.shares) / f64::from(sum)).ceil()),
        };
        let of = |percent: u32| seats((f64::from(nominal) * f64::from(percent) / 100.0).round());
        let borrowed = self.borrowing_percent.map_or(limit, of);
        Bounds { nominal, min: nominal - of(self.lendable_percent.min(100)), max: nominal + borrowed }
    }
}

impl Bounds {
    /// What a level has before its demand is known: it lends half of what it may.
    pub(super) fn initial(self) -> u32 {
        self.nominal - (self.nominal - self.min) / 2
    }
}

/// What a level wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) bounds: Bounds,
    /// The most seats that it wanted at once in the last period.
    pub(super) high: f64,
    /// What it wants by and large.
    pub(super) smoothed: f64,
    /// Whether it takes what it wants, without a limit.
    pub(super) is_exempt: bool,
}

impl Wanted {
    /// What it gets at least: what it wanted in the last period, within its own part.
    fn lower(&self) -> f64 {
        f64::from(self.bounds.min).max(f64::from(self.bounds.nominal).min(self.high))
    }
}

/// The parts of all levels, in their order.
pub(super) fn allocate(levels: &[Wanted]) -> Vec<u32> {
    let total: f64 = levels.iter().map(|level| f64::from(level.bounds.nominal)).sum();
    let exempt: f64 = levels.iter().filter(|level| level.is_exempt).map(Wanted::lower).sum();
    let limited = || levels.iter().filter(|level| !level.is_exempt);
    let left = total - exempt;
    let min: f64 = limited().map(|level| f64::from(level.bounds.min)).sum();
    let lower: f64 = limited().map(Wanted::lower).sum();
    let part: Box<dyn Fn(&Wanted) -> f64> = if left <= min {
        Box::new(|level| f64::from(level.bounds.min))
    } else if left <= lower {
        // Not enough for what all used: the same fraction of it above the minimum.
        let fraction = (left - min) / (lower - min);
        Box::new(move |level| f64::from(level.bounds.min) + fraction * (level.lower() - f64::from(level.bounds.min)))
    } else {
        let fraction = fair_fraction(&limited().copied().collect::<Vec<_>>(), left);
        Box::new(move |level| level.at(fraction))
    };
    levels.iter().map(|level| seats(if level.is_exempt { level.lower() } else { part(level) }.round())).collect()
}

impl Wanted {
    fn target(&self) -> f64 {
        self.lower().max(self.smoothed).max(f64::MIN_POSITIVE)
    }

    /// Its part when it gets a fraction of what it wants.
    fn at(&self, fraction: f64) -> f64 {
        (fraction * self.target()).clamp(self.lower(), f64::from(self.bounds.max).max(self.lower()))
    }
}

/// The fraction with which all levels together get `total`, as far as their bounds allow.
fn fair_fraction(levels: &[Wanted], total: f64) -> f64 {
    // The sum grows with the fraction, in straight lines between the points where a level meets a bound.
    let bends = levels.iter().flat_map(|level| {
        let upper = f64::from(level.bounds.max).max(level.lower());
        [level.lower() / level.target(), upper / level.target()]
    });
    let mut bends: Vec<f64> = bends.collect();
    bends.sort_by(f64::total_cmp);
    let sum = |fraction: f64| -> f64 { levels.iter().map(|level| level.at(fraction)).sum() };
    let (mut before, mut sum_before) = (0.0, sum(0.0));
    for bend in bends {
        let here = sum(bend);
        if here >= total {
            let slope = (here - sum_before) / (bend - before);
            return if slope > 0.0 { before + (total - sum_before) / slope } else { bend };
        }
        (before, sum_before) = (bend, here);
    }
    before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(nominal: u32, min: u32, max: u32, high: f64, smoothed: f64) -> Wanted {
        Wanted { bounds: Bounds { nominal, min, max }, high, smoothed, is_exempt: false }
    }

    #[test]
    fn shares_make_bounds() {
        let share = Share { shares: 40, lendable_percent: 50, borrowing_percent: None };
        assert_eq!(share.bounds(600, 245), Bounds { nominal: 98, min: 49, max: 698 });
        assert_eq!(share.bounds(600, 245).initial(), 74);
        let share = Share { shares: 5, lendable_percent: 0, borrowing_percent: Some(10) };
        assert_eq!(share.bounds(600, 245), Bounds { nominal: 13, min: 13, max: 14 });
        assert_eq!(Share { shares: 0, ..share }.bounds(600, 0), Bounds::default());
    }

    #[track_caller]
    fn check(levels: &[Wanted], expected: &[u32]) {
        assert_eq!(allocate(levels), expected);
    }

    #[test]
    fn a_busy_level_borrows_what_idle_ones_lend() {
        // Nobody wants anything: all get about their part of it.
        check(&[level(50, 50, 100, 0.0, 0.0), level(50, 50, 100, 0.0, 0.0)], &[50, 50]);
        // One wants more than its part, the other nothing and lends half.
        check(&[level(50, 25, 150, 200.0, 200.0), level(50, 25, 150, 0.0, 0.0)], &[75, 25]);
        // Both want more: both have their own.
        check(&[level(50, 25, 150, 200.0, 200.0), level(50, 25, 150, 200.0, 200.0)], &[50, 50]);
        // Nobody borrows more than it may.
        check(&[level(50, 25, 60, 200.0, 200.0), level(50, 25, 150, 0.0, 0.0)], &[60, 40]);
    }

    #[test]
    fn exempt_levels_take_from_the_others() {
        let exempt = Wanted { is_exempt: true, ..level(20, 0, 100, 50.0, 50.0) };
        check(&[exempt, level(40, 20, 100, 80.0, 80.0), level(40, 40, 100, 80.0, 80.0)], &[20, 40, 40]);
        let exempt = Wanted { high: 0.0, smoothed: 0.0, ..exempt };
        check(&[exempt, level(40, 20, 100, 80.0, 80.0), level(40, 40, 100, 80.0, 80.0)], &[0, 50, 50]);
    }

    fn any_level() -> impl Strategy<Value = Wanted> {
        (0..200_u32, 0..=100_u32, 0..300_u32, 0.0..400.0_f64, 0.0..400.0_f64).prop_map(
            |(nominal, lend, borrow, high, smoothed)| {
                let min = nominal - nominal * lend / 100;
                level(nominal, min, nominal + borrow, high, smoothed)
            },
        )
    }

    proptest! {
        #[test]
        fn parts_stay_in_bounds_and_use_what_there_is(levels in prop::collection::vec(any_level(), 1..8)) {
            let parts = allocate(&levels);
            let total: u32 = levels.iter().map(|level| level.bounds.nominal).sum();
            let given: u32 = parts.iter().sum();
            for (level, part) in levels.iter().zip(&parts) {
                prop_assert!((level.bounds.min..=level.bounds.max).contains(part), "{level:?} {part}");
            }
            let most: u32 = levels.iter().map(|level| level.bounds.max).sum();
            let rounding = u32::try_from(levels.len()).expect("few");
            prop_assert!(given.abs_diff(total.min(most)) <= rounding, "{given} of {total}");
        }
    }
}
