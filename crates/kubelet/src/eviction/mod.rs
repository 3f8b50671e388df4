//! What happens when the node runs short of memory, disk or processes: it says so in its conditions, gives up what
//! nothing uses, and then ends pods, one at a time, until there is enough again.
//!
//! [`threshold`] is what the node is told, [`observe`] what it sees, [`track`] what follows from both over time. The
//! manager ([`run`]) then makes room: [`reclaim`] what nothing uses, or end the first pod that [`rank`] names. It also
//! ends pods that have written more to the node's disk than they may ([`local_storage`]).
//!
//! Upstream: <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>.

mod conditions;
mod local_storage;
mod manager;
mod memory_notice;
mod message;
mod observe;
mod rank;
mod reclaim;
mod settings;
mod threshold;
mod track;
mod usage;

pub use conditions::{Condition, Conditions};
pub use manager::run;
pub use observe::process_numbers;
pub use settings::Settings;
pub use threshold::{Statements, ThresholdError};
