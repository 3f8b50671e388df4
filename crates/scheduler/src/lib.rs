//! Component: decides on which node each pod runs.
//!
//! One task owns the whole state: the [cache] of nodes with the pods on them, kept current by deltas, and the
//! [queue] of pods without a node. A scheduling cycle is a pure step over that state: the [framework] runs every
//! [plugin](plugins) over the nodes and either picks one or keeps, as data, why each node was refused. Binding is
//! asynchronous: the chosen node counts the pod at once, and gives it back if the API server refuses.

mod binder;
mod cache;
mod cycle;
mod diagnosis;
mod dynamic_resources;
mod framework;
mod node_info;
mod placement;
mod plugins;
mod pod_info;
mod queue;
mod resources;
mod scheduler;

pub use scheduler::{Config, RunError, Scheduler};
