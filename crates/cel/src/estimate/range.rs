//! Ranges of costs and sizes. What would not fit into 64 bits stays at the largest number.

/// From what to what a cost or a size may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub min: u64,
    pub max: u64,
}

impl Estimate {
    /// Anything.
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    /// Exactly `value`.
    pub(crate) fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    /// The neutral element of `union`, or nothing where there is nothing to unite.
    pub(super) fn nothing_if(empty: bool) -> Self {
        Self { min: if empty { 0 } else { u64::MAX }, max: 0 }
    }

    pub(super) fn add(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn multiply(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Each end times `factor`, rounded up.
    pub(super) fn by_factor(self, factor: f64) -> Self {
        let scale = |value: u64| (value as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: scale(self.max) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overflows() {
        assert_eq!(Estimate::UNKNOWN.add(Estimate::fixed(1)), Estimate { min: 1, max: u64::MAX });
        assert_eq!(Estimate::UNKNOWN.multiply(Estimate::fixed(2)).max, u64::MAX);
        assert_eq!(Estimate::UNKNOWN.by_factor(2.0).max, u64::MAX);
        assert_eq!(Estimate::fixed(11).by_factor(0.1), Estimate::fixed(2));
    }
}
