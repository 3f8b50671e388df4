//! What the node is short of, for all who have to know.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// A condition of a node that is short of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Memory.
    Memory,
    /// Disk space or inodes.
    Disk,
    /// Processes.
    Pid,
}

impl Condition {
    /// The condition's type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        }
    }
}

/// The conditions in which the node is.
#[derive(Debug)]
pub struct Conditions(watch::Sender<BTreeSet<Condition>>);

impl Default for Conditions {
    fn default() -> Self {
        Self(watch::channel(BTreeSet::new()).0)
    }
}

impl Conditions {
    /// Those that hold.
    pub fn all(&self) -> BTreeSet<Condition> {
        self.0.borrow().clone()
    }

    /// Says which hold.
    pub fn set(&self, conditions: BTreeSet<Condition>) {
        self.0.send_if_modified(|held| {
            let changed = *held != conditions;
            *held = conditions;
            changed
        });
    }

    /// Follows them.
    pub fn subscribe(&self) -> watch::Receiver<BTreeSet<Condition>> {
        self.0.subscribe()
    }
}
