//! Leaf library: what every part of Skiff takes from outside itself.
//!
//! Time and randomness ([`Env`]), ordered shutdown of tasks ([`Drain`], [`Tasks`], [`Spawner`]), layered configuration
//! ([`config`]), files that others replace ([`FileWatch`]), answers that end ([`TtlCache`]), networks of one or two
//! families ([`Networks`]), the identity of an installation on its machine ([`Instance`]), how many files may be open
//! ([`raise_open_files`]), unix sockets to serve on ([`bind_socket`]), what is mounted ([`MountEntry`]), directories that others
//! have filled ([`remove_tree`], [`walk_tree`]), errors with their causes ([`error_chain`]), and tracing set-up ([`logging`]).
//! Nothing here knows Kubernetes.

pub mod config;
mod drain;
mod env;
mod errors;
mod files;
mod instance;
mod limits;
pub mod logging;
mod mounts;
mod networks;
mod sockets;
mod spawner;
mod sys;
mod tasks;
mod tree;
mod ttl_cache;

pub use drain::{Drain, DrainTrigger, drain};
pub use env::{Env, Random};
pub use errors::error_chain;
pub use files::FileWatch;
pub use instance::Instance;
pub use limits::{allow_open_files, lower_open_files, raise_open_files, restore_open_files};
pub use mounts::MountEntry;
pub use networks::{Networks, NetworksError, nth_address};
pub use sockets::{BindError, bind_socket};
pub use spawner::{OwnerEnded, SpawnedTasks, Spawner, spawner};
pub use sys::watch_descriptor;
pub use tasks::{TaskError, TaskFailure, Tasks};
pub use tree::{TreeEntry, remove_tree, walk_tree};
pub use ttl_cache::TtlCache;
