//! How the managers are set up.

use super::{cpu, memory, topology};

/// How the managers are set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The topology manager.
    pub topology: topology::Settings,
    /// The CPU manager.
    pub cpu: cpu::Settings,
    /// The memory manager.
    pub memory: memory::Settings,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// A name that nobody knows.
    #[error("unknown {what}: {name:?}")]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An option that a feature gate guards.
    #[error("CPU Manager Policy {level}-level Options not enabled, but option {name:?} provided")]
    GatedOption {
        /// `Alpha` or `Beta`.
        level: &'static str,
        /// The option.
        name: String,
    },
    /// Two settings that exclude each other.
    #[error("{first} and {second} can not be used at the same time")]
    Conflict {
        /// The one.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A value that an option does not take.
    #[error("bad value for option {name:?}: {value:?}")]
    Value {
        /// The option.
        name: String,
        /// Its value.
        value: String,
    },
}

impl SettingsError {
    /// A name that nobody knows.
    pub fn unknown(what: &'static str, name: &str) -> Self {
        Self::Unknown { what, name: name.to_owned() }
    }

    /// A value that an option does not take.
    pub fn value(name: &str, value: &str) -> Self {
        Self::Value { name: name.to_owned(), value: value.to_owned() }
    }
}

/// An option that is on or off.
pub fn flag(name: &str, value: &str) -> Result<bool, SettingsError> {
    value.parse().map_err(|_| SettingsError::value(name, value))
}
