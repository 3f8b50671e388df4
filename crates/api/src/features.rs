//! Feature gates: which features that are not settled are on. All parts of a cluster know the same ones.

mod gates;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use gates::{DEPENDENCIES, GATES};

/// A feature gate of upstream.
struct Gate {
    name: &'static str,
    stage: Stage,
    default: Preset,
}

/// How settled a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Stable,
    Deprecated,
}

/// What a gate is unless it is set, and whether it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    Off,
    On,
    AlwaysOff,
    AlwaysOn,
}

impl Preset {
    fn is_on(self) -> bool {
        matches!(self, Self::On | Self::AlwaysOn)
    }

    fn is_locked(self) -> bool {
        matches!(self, Self::AlwaysOn | Self::AlwaysOff)
    }
}

/// Gates of all features of a stage.
const STAGES: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// The gates that are not as upstream's v1.35 has them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates(BTreeMap<&'static str, bool>);

/// Why a setting means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureGatesError {
    /// A gate without a value.
    #[error("missing bool value for {0}")]
    Missing(String),
    /// The value is not a boolean.
    #[error("invalid value of {gate}={value}: expected true or false")]
    Value {
        /// The gate.
        gate: String,
        /// Its value.
        value: String,
    },
    /// There is no such gate.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// The feature cannot be switched any more.
    #[error("cannot set feature gate {gate} to {value}, feature is locked to {}", !value)]
    Locked {
        /// The gate.
        gate: String,
        /// What it was to be.
        value: bool,
    },
    /// Another gate is off.
    #[error("{gate} is enabled, but depends on features that are disabled: [{}]", disabled.join(", "))]
    Dependency {
        /// The gate.
        gate: &'static str,
        /// What it depends on.
        disabled: Vec<&'static str>,
    },
}

impl FromStr for FeatureGates {
    type Err = FeatureGatesError;

    /// Reads `Name=bool` pairs with commas between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut settings = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| FeatureGatesError::Missing(pair.to_owned()))?;
            let (name, value) = (name.trim(), value.trim());
            let value = parse_bool(value)
                .ok_or_else(|| FeatureGatesError::Value { gate: name.to_owned(), value: value.to_owned() })?;
            settings.push((name, value));
        }
        Self::of(settings)
    }
}

/// A boolean as Go reads it.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn find(name: &str) -> Option<&'static Gate> {
    GATES.iter().find(|gate| gate.name == name)
}

impl FeatureGates {
    /// The gates as they are set, by their names or by the name of all of a stage.
    pub fn of<'a>(settings: impl IntoIterator<Item = (&'a str, bool)>) -> Result<Self, FeatureGatesError> {
        let (mut stages, mut gates) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in settings {
            if let Some((_, stage)) = STAGES.iter().find(|(all, _)| *all == name) {
                stages.insert(*stage, value);
                continue;
            }
            let gate = find(name).ok_or_else(|| FeatureGatesError::Unknown(name.to_owned()))?;
            if gate.default.is_locked() && value != gate.default.is_on() {
                return Err(FeatureGatesError::Locked { gate: name.to_owned(), value });
            }
            gates.insert(gate.name, value);
        }
        // What is named wins over its stage.
        for gate in GATES.iter().filter(|gate| !gate.default.is_locked()) {
            if let Some(value) = stages.get(&gate.stage) {
                gates.entry(gate.name).or_insert(*value);
            }
        }
        gates.retain(|name, value| find(name).is_some_and(|gate| gate.default.is_on() != *value));
        Self(gates).checked()
    }

    fn checked(self) -> Result<Self, FeatureGatesError> {
        for (gate, needed) in DEPENDENCIES.iter().filter(|(gate, _)| self.is_on(gate)) {
            let disabled: Vec<&str> = needed.iter().copied().filter(|needed| !self.is_on(needed)).collect();
            if !disabled.is_empty() {
                return Err(FeatureGatesError::Dependency { gate, disabled });
            }
        }
        Ok(self)
    }

    /// Whether a feature is on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        let default = || find(name).is_some_and(|gate| gate.default.is_on());
        self.0.get(name).copied().unwrap_or_else(default)
    }

    /// The gates that were set to something else than they are by default.
    pub fn changed(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// What a user may read of the gates that can be set.
    #[must_use]
    pub fn help() -> String {
        let mut help = String::from(
            "Features to switch on or off, each as Name=true or Name=false (may be repeated). A field of an object \
             that belongs to a feature that is off is dropped, unless the object had it before. Options are:",
        );
        for (name, stage) in STAGES {
            help += &format!("\n{name}=true|false ({stage} - default=false)");
        }
        for gate in GATES.iter().filter(|gate| !gate.default.is_locked()) {
            help += &format!("\n{}=true|false ({} - default={})", gate.name, gate.stage, gate.default.is_on());
        }
        help
    }
}

/// As upstream's help writes it.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Stable => "GA",
            Self::Deprecated => "DEPRECATED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, gate: &str, expected: bool) {
        let gates: FeatureGates = text.parse().expect("settings");
        assert_eq!(gates.is_on(gate), expected, "{text} {gate}");
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(text.parse::<FeatureGates>().expect_err("an error").to_string(), expected);
    }

    #[test]
    fn gates_are_as_upstream_has_them_unless_they_are_set() {
        check("", "GenericWorkload", false);
        check("", "EnvFiles", true);
        check("GenericWorkload=true,", "GenericWorkload", true);
        check("EnvFiles=0, GenericWorkload=t", "EnvFiles", false);
        check("JobManagedBy=true", "JobManagedBy", true);
        let odd: FeatureGates = "GenericWorkload=true,MemoryQoS=true,EnvFiles=true".parse().expect("settings");
        assert_eq!(odd.changed().collect::<Vec<_>>(), ["GenericWorkload", "MemoryQoS"]);
    }

    #[test]
    fn a_stage_is_set_at_once_but_for_what_is_named() {
        check("AllAlpha=true", "GenericWorkload", true);
        check("AllAlpha=true", "ClusterTrustBundle", false);
        check("GangScheduling=false,GenericWorkload=false,AllAlpha=true", "GenericWorkload", false);
        check("AllBeta=true", "ClusterTrustBundle", true);
        check("AllAlpha=true,AllBeta=true", "DRADeviceTaints", true);
        check("AllBeta=false", "EnvFiles", false);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check_error("Nope=true", "unrecognized feature gate: Nope");
        check_error("EnvFiles", "missing bool value for EnvFiles");
        check_error("EnvFiles=perhaps", "invalid value of EnvFiles=perhaps: expected true or false");
        check_error("JobManagedBy=false", "cannot set feature gate JobManagedBy to false, feature is locked to true");
        check_error(
            "ClusterTrustBundleProjection=true",
            "ClusterTrustBundleProjection is enabled, but depends on features that are disabled: [ClusterTrustBundle]",
        );
    }

    #[test]
    fn the_gates_are_in_order() {
        assert!(GATES.is_sorted_by(|a, b| a.name < b.name));
        for (gate, needed) in DEPENDENCIES {
            assert!(find(gate).is_some() && needed.iter().all(|needed| find(needed).is_some()), "{gate}");
        }
    }
}
