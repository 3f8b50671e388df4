//! How the topology manager is set up.

use std::collections::BTreeMap;

use super::super::settings::{SettingsError, flag};

/// What happens to a pod whose resources do not come from one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nobody looks.
    #[default]
    None,
    /// It gets the best that is there.
    BestEffort,
    /// It is refused unless it has no more nodes than it needs.
    Restricted,
    /// It is refused unless one node is enough.
    SingleNumaNode,
}

impl Policy {
    const ALL: [(&str, Self); 4] = [
        ("none", Self::None),
        ("best-effort", Self::BestEffort),
        ("restricted", Self::Restricted),
        ("single-numa-node", Self::SingleNumaNode),
    ];

    /// From `topologyManagerPolicy`.
    pub fn parse(name: &str) -> Result<Self, SettingsError> {
        let known = Self::ALL.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, policy)| policy).ok_or_else(|| SettingsError::unknown("topology manager policy", name))
    }
}

/// What is brought together in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The resources of each container.
    #[default]
    Container,
    /// The resources of all containers of a pod.
    Pod,
}

impl Scope {
    /// From `topologyManagerScope`.
    pub fn parse(name: &str) -> Result<Self, SettingsError> {
        match name {
            "container" => Ok(Self::Container),
            "pod" => Ok(Self::Pod),
            name => Err(SettingsError::unknown("topology manager scope", name)),
        }
    }
}

/// How the topology manager is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `topologyManagerPolicy`.
    pub policy: Policy,
    /// `topologyManagerScope`.
    pub scope: Scope,
    /// Option `prefer-closest-numa-nodes`: of sets of as many nodes the one is better whose nodes are closer.
    pub prefer_closest: bool,
    /// Option `max-allowable-numa-nodes`: machines with more nodes are refused, because all sets of them are tried.
    pub max_nodes: usize,
}

/// So many nodes are allowed at least.
const MAX_NODES: usize = 8;

impl Default for Settings {
    fn default() -> Self {
        Self { policy: Policy::None, scope: Scope::Container, prefer_closest: false, max_nodes: MAX_NODES }
    }
}

impl Settings {
    /// Takes over `topologyManagerPolicyOptions`.
    pub fn set_options(&mut self, options: &BTreeMap<String, String>) -> Result<(), SettingsError> {
        for (name, value) in options {
            match name.as_str() {
                "prefer-closest-numa-nodes" => self.prefer_closest = flag(name, value)?,
                "max-allowable-numa-nodes" => {
                    let count = value.parse().ok().filter(|count| *count >= MAX_NODES);
                    self.max_nodes = count.ok_or_else(|| SettingsError::value(name, value))?;
                }
                name => return Err(SettingsError::unknown("topology manager policy option", name)),
            }
        }
        Ok(())
    }
}
