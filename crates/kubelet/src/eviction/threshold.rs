//! Below which amounts of what the node is short, as its configuration says.

use std::collections::BTreeMap;
use std::time::Duration;

use api::quantity::{Quantity, QuantityError};

use super::conditions::Condition;
use super::observe::{Observation, Observations};

/// Something that the node may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Memory of the machine.
    MemoryAvailable,
    /// Memory of what pods may have together.
    AllocatableMemoryAvailable,
    /// Room where the kubelet keeps volumes and logs.
    NodeFsAvailable,
    /// Inodes there.
    NodeFsInodesFree,
    /// Room where the runtime keeps images.
    ImageFsAvailable,
    /// Inodes there.
    ImageFsInodesFree,
    /// Room where the runtime keeps what containers write.
    ContainerFsAvailable,
    /// Inodes there.
    ContainerFsInodesFree,
    /// Process numbers.
    PidAvailable,
}

impl Signal {
    /// All of them, in the order in which they are looked at: memory before everything else.
    pub const ALL: [Self; 9] = [
        Self::MemoryAvailable,
        Self::AllocatableMemoryAvailable,
        Self::NodeFsAvailable,
        Self::NodeFsInodesFree,
        Self::ImageFsAvailable,
        Self::ImageFsInodesFree,
        Self::ContainerFsAvailable,
        Self::ContainerFsInodesFree,
        Self::PidAvailable,
    ];

    /// As the configuration says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory.available",
            Self::AllocatableMemoryAvailable => "allocatableMemory.available",
            Self::NodeFsAvailable => "nodefs.available",
            Self::NodeFsInodesFree => "nodefs.inodesFree",
            Self::ImageFsAvailable => "imagefs.available",
            Self::ImageFsInodesFree => "imagefs.inodesFree",
            Self::ContainerFsAvailable => "containerfs.available",
            Self::ContainerFsInodesFree => "containerfs.inodesFree",
            Self::PidAvailable => "pid.available",
        }
    }

    fn parse(text: &str) -> Result<Self, ThresholdError> {
        let known = Self::ALL.into_iter().find(|signal| signal.as_str() == text);
        known.ok_or_else(|| ThresholdError::Signal(text.to_owned()))
    }

    /// The condition of a node that is short of it.
    pub fn condition(self) -> Condition {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable => Condition::Memory,
            Self::PidAvailable => Condition::Pid,
            _ => Condition::Disk,
        }
    }

    /// What pods are ended for, as messages and events say it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable => "memory",
            Self::NodeFsAvailable | Self::ImageFsAvailable | Self::ContainerFsAvailable => "ephemeral-storage",
            Self::NodeFsInodesFree | Self::ImageFsInodesFree | Self::ContainerFsInodesFree => "inodes",
            Self::PidAvailable => "pids",
        }
    }
}

/// An amount, or a share of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So much.
    Quantity(i64),
    /// So many hundredths.
    Percent(f64),
}

impl Amount {
    /// The amount of what there is.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a share of a capacity is rounded anyway, and is no larger than that"
    )]
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Self::Quantity(amount) => amount,
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as i64,
        }
    }
}

/// Below how much of something the node is short of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// Below how much.
    pub value: Amount,
    /// How long it has to be so before pods are ended, softly; none for a hard threshold, which ends them at once.
    pub grace: Option<Duration>,
    /// How much there has to be beyond the threshold until it counts as over.
    pub minimum_reclaim: Option<Amount>,
}

impl Threshold {
    /// Whether what is there is less than the threshold; where it was before, less than what it takes to be over.
    pub fn is_met(&self, observation: Observation, was_met: bool) -> bool {
        let reclaim = self.minimum_reclaim.filter(|_| was_met).map_or(0, |more| more.of(observation.capacity));
        self.value.of(observation.capacity).saturating_add(reclaim) > observation.available
    }

    /// The same, of what was seen of the machine; what was not seen is not short.
    pub fn is_met_in(&self, observations: &Observations, was_met: bool) -> bool {
        observations.get(&self.signal).is_some_and(|observation| self.is_met(*observation, was_met))
    }
}

/// A threshold that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ThresholdError {
    /// There is no such signal.
    #[error("unrecognized eviction signal {0}")]
    Signal(String),
    /// Not a quantity.
    #[error("eviction threshold of {signal} cannot be read: {source}")]
    Quantity {
        /// The signal.
        signal: &'static str,
        /// What is wrong.
        source: QuantityError,
    },
    /// Not a share.
    #[error("eviction percentage threshold {signal} must be between 0% and 100%: {value}")]
    Percent {
        /// The signal.
        signal: &'static str,
        /// The share.
        value: String,
    },
    /// Nothing, or less.
    #[error("eviction threshold {signal} must be positive: {value}")]
    NotPositive {
        /// The signal.
        signal: &'static str,
        /// The amount.
        value: String,
    },
    /// A soft threshold without a time.
    #[error("grace period must be specified for the soft eviction threshold {0}")]
    NoGrace(&'static str),
    /// Less than nothing is to be given back.
    #[error("negative eviction minimum reclaim specified for {0}")]
    NegativeReclaim(&'static str),
}

/// What a configuration says of thresholds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// `evictionHard`.
    pub hard: BTreeMap<String, String>,
    /// `evictionSoft`.
    pub soft: BTreeMap<String, String>,
    /// `evictionSoftGracePeriod`.
    pub grace: BTreeMap<String, Duration>,
    /// `evictionMinimumReclaim`.
    pub minimum_reclaim: BTreeMap<String, String>,
}

impl Statements {
    /// The thresholds, hard ones first.
    ///
    /// # Errors
    ///
    /// When something of it cannot be understood.
    pub fn thresholds(&self) -> Result<Vec<Threshold>, ThresholdError> {
        let mut reclaims = BTreeMap::new();
        for (signal, text) in &self.minimum_reclaim {
            let signal = Signal::parse(signal)?;
            let amount = amount(signal, text)?;
            if matches!(amount, Amount::Quantity(..0)) {
                return Err(ThresholdError::NegativeReclaim(signal.as_str()));
            }
            reclaims.insert(signal, amount);
        }
        let mut graces = BTreeMap::new();
        for (signal, grace) in &self.grace {
            graces.insert(Signal::parse(signal)?, *grace);
        }
        let mut thresholds = Vec::new();
        for (list, soft) in [(&self.hard, false), (&self.soft, true)] {
            for (signal, text) in list {
                let signal = Signal::parse(signal)?;
                let Some(value) = threshold(signal, text)? else { continue };
                let grace = graces.get(&signal).copied().filter(|_| soft);
                if soft && grace.is_none() {
                    return Err(ThresholdError::NoGrace(signal.as_str()));
                }
                let minimum_reclaim = reclaims.get(&signal).copied();
                thresholds.push(Threshold { signal, value, grace, minimum_reclaim });
            }
        }
        Ok(thresholds)
    }
}

fn amount(signal: Signal, text: &str) -> Result<Amount, ThresholdError> {
    let signal = signal.as_str();
    let Some(percent) = text.strip_suffix('%') else {
        let quantity = Quantity::parse(text).map_err(|source| ThresholdError::Quantity { signal, source })?;
        return Ok(Amount::Quantity(quantity.value()));
    };
    let percent = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(Amount::Percent).ok_or_else(|| ThresholdError::Percent { signal, value: text.to_owned() })
}

/// What a threshold is; nothing where it is switched off.
fn threshold(signal: Signal, text: &str) -> Result<Option<Amount>, ThresholdError> {
    if text == "0%" || text == "100%" {
        return Ok(None);
    }
    match amount(signal, text)? {
        Amount::Quantity(..=0) => Err(ThresholdError::NotPositive { signal: signal.as_str(), value: text.to_owned() }),
        amount => Ok(Some(amount)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(hard: &[(&str, &str)], soft: &[(&str, &str)], reclaim: &[(&str, &str)], expected: Result<&[&str], &str>) {
        let grace = BTreeMap::from([("memory.available".to_owned(), Duration::from_secs(30))]);
        let statements = Statements { hard: map(hard), soft: map(soft), grace, minimum_reclaim: map(reclaim) };
        let thresholds = statements.thresholds();
        let text = |t: &Threshold| {
            let seconds = t.grace.map(|grace| grace.as_secs());
            format!("{} {:?} {seconds:?} {:?}", t.signal.as_str(), t.value, t.minimum_reclaim)
        };
        let texts = thresholds.map(|list| list.iter().map(text).collect::<Vec<_>>()).map_err(|err| err.to_string());
        match (texts, expected) {
            (Ok(texts), Ok(expected)) => assert_eq!(texts, expected),
            (texts, expected) => assert_eq!(texts.expect_err("refused"), expected.expect_err("refused")),
        }
    }

    #[test]
    fn thresholds_are_read_as_they_are_written() {
        check(&[], &[], &[], Ok(&[]));
        check(
            &[("memory.available", "1Ki"), ("nodefs.available", "10%"), ("imagefs.inodesFree", "0%")],
            &[("memory.available", "2Ki")],
            &[("memory.available", "5%")],
            Ok(&[
                "memory.available Quantity(1024) None Some(Percent(5.0))",
                "nodefs.available Percent(10.0) None None",
                "memory.available Quantity(2048) Some(30) Some(Percent(5.0))",
            ]),
        );
        check(&[("disk", "1")], &[], &[], Err("unrecognized eviction signal disk"));
        check(&[("pid.available", "0")], &[], &[], Err("eviction threshold pid.available must be positive: 0"));
        check(
            &[("pid.available", "101%")],
            &[],
            &[],
            Err("eviction percentage threshold pid.available must be between 0% and 100%: 101%"),
        );
        check(
            &[],
            &[("nodefs.available", "1Gi")],
            &[],
            Err("grace period must be specified for the soft eviction threshold nodefs.available"),
        );
        check(
            &[],
            &[],
            &[("memory.available", "-1")],
            Err("negative eviction minimum reclaim specified for memory.available"),
        );
    }

    #[test]
    fn a_threshold_is_over_when_as_much_as_is_asked_for_is_there() {
        let threshold = Threshold {
            signal: Signal::MemoryAvailable,
            value: Amount::Percent(10.0),
            grace: None,
            minimum_reclaim: Some(Amount::Quantity(50)),
        };
        let met = |available, was_met| threshold.is_met(Observation { available, capacity: 1000 }, was_met);
        assert_eq!(
            [met(99, false), met(100, false), met(100, true), met(149, true), met(150, true)],
            [true, false, true, true, false]
        );
    }
}
