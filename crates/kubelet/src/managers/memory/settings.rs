//! How the memory manager is set up.

use std::collections::BTreeMap;

use super::super::settings::SettingsError;

/// Whether containers get memory of certain NUMA nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// No.
    #[default]
    None,
    /// Those of Guaranteed pods.
    Static,
}

impl Policy {
    /// From `memoryManagerPolicy`.
    pub fn parse(name: &str) -> Result<Self, SettingsError> {
        let known = [Self::None, Self::Static].into_iter().find(|policy| policy.name() == name);
        known.ok_or_else(|| SettingsError::unknown("memory manager policy", name))
    }

    /// As in the configuration and the state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Static => "Static",
        }
    }
}

/// Bytes by NUMA node and resource.
pub type Reservation = BTreeMap<u32, BTreeMap<String, u64>>;

/// How the memory manager is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `memoryManagerPolicy`.
    pub policy: Policy,
    /// `reservedMemory`: on which nodes what the node keeps from pods is.
    pub reserved: Reservation,
}
