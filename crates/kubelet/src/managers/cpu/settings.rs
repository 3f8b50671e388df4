//! How the CPU manager is set up.

use std::collections::BTreeMap;

use super::super::cpuset::CpuSet;
use super::super::settings::{SettingsError, flag};
use super::super::topology;

/// Whether containers get CPUs for themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// No.
    #[default]
    None,
    /// Those of Guaranteed pods that ask for whole CPUs.
    Static,
}

impl Policy {
    /// From `cpuManagerPolicy`.
    pub fn parse(name: &str) -> Result<Self, SettingsError> {
        let known = [Self::None, Self::Static].into_iter().find(|policy| policy.name() == name);
        known.ok_or_else(|| SettingsError::unknown("CPU manager policy", name))
    }

    /// As in the configuration and the state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Static => "static",
        }
    }
}

/// `cpuManagerPolicyOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `full-pcpus-only`: only whole cores are given.
    pub full_cores: bool,
    /// `distribute-cpus-across-numa`: evenly from the nodes where one is not enough.
    pub across_nodes: bool,
    /// `align-by-socket`: nodes of one socket are as good as one node.
    pub by_socket: bool,
    /// `distribute-cpus-across-cores`: threads of different cores rather than whole cores.
    pub across_cores: bool,
    /// `strict-cpu-reservation`: the reserved CPUs are for no container at all.
    pub strict_reservation: bool,
    /// `prefer-align-cpus-by-uncorecache`: from as few caches as can be.
    pub by_cache: bool,
}

/// How the CPU manager is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `cpuManagerPolicy`.
    pub policy: Policy,
    /// `cpuManagerPolicyOptions`.
    pub options: Options,
    /// `reservedSystemCPUs`: these are given to no container for itself. Where it is empty, the lowest cores are kept
    /// for what the node reserves.
    pub reserved: CpuSet,
}

/// The options that feature gates `CPUManagerPolicyAlphaOptions` and `CPUManagerPolicyBetaOptions` guard.
const GATED: [(&str, [&str; 2]); 2] = [
    ("Alpha", ["align-by-socket", "distribute-cpus-across-cores"]),
    ("Beta", ["distribute-cpus-across-numa", "prefer-align-cpus-by-uncorecache"]),
];

impl Settings {
    /// Takes over `cpuManagerPolicyOptions`; `is_on` says whether a feature gate is.
    pub fn set_options(
        &mut self,
        options: &BTreeMap<String, String>,
        is_on: impl Fn(&str) -> bool,
    ) -> Result<(), SettingsError> {
        for (name, value) in options {
            let gated = GATED.iter().find(|(_, names)| names.contains(&name.as_str()));
            if let Some((level, _)) = gated.filter(|(level, _)| !is_on(&format!("CPUManagerPolicy{level}Options"))) {
                return Err(SettingsError::GatedOption { level, name: name.clone() });
            }
            let field = match name.as_str() {
                "full-pcpus-only" => &mut self.options.full_cores,
                "distribute-cpus-across-numa" => &mut self.options.across_nodes,
                "align-by-socket" => &mut self.options.by_socket,
                "distribute-cpus-across-cores" => &mut self.options.across_cores,
                "strict-cpu-reservation" => &mut self.options.strict_reservation,
                "prefer-align-cpus-by-uncorecache" => &mut self.options.by_cache,
                name => return Err(SettingsError::unknown("CPU manager policy option", name)),
            };
            *field = flag(name, value)?;
        }
        Ok(())
    }

    /// Checks what excludes each other.
    pub fn check(&self, topology: &topology::Settings) -> Result<(), SettingsError> {
        let Options { full_cores, across_nodes, by_socket, across_cores, by_cache, .. } = self.options;
        let pairs = [
            (full_cores && across_cores, "full-pcpus-only", "distribute-cpus-across-cores"),
            (across_nodes && across_cores, "distribute-cpus-across-numa", "distribute-cpus-across-cores"),
            (by_cache && across_cores, "prefer-align-cpus-by-uncorecache", "distribute-cpus-across-cores"),
            (by_cache && across_nodes, "prefer-align-cpus-by-uncorecache", "distribute-cpus-across-numa"),
            (
                by_socket && topology.policy == topology::Policy::SingleNumaNode,
                "align-by-socket",
                "topology manager policy single-numa-node",
            ),
        ];
        match pairs.into_iter().find(|(both, ..)| *both) {
            Some((_, first, second)) => Err(SettingsError::Conflict { first, second }),
            None => Ok(()),
        }
    }
}
