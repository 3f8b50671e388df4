//! Component: the controllers, which bring the cluster's state to what its objects ask for.
//!
//! One module a controller, one list that registers them ([`all`]). Every controller has the same shape: informers
//! whose events become keys in a queue, and an idempotent sync of one key that reads listers, computes what to change
//! (a pure function where it can be), and writes it. [`ControllerManager`] runs them while it holds the Lease.

mod account_tokens;
mod bootstrap;
mod certificates;
mod claim;
mod cluster_role_aggregation;
mod context;
mod deployment;
mod endpoints;
mod endpointslice;
mod error;
mod finalizer;
mod garbage;
mod manager;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod pods;
mod policy_status;
mod registry;
mod replicaset;
mod resource_claim;
mod resource_quota;
mod root_ca;
mod service_account;
mod service_cidr;
mod storage_migration;
mod storage_protection;

pub use certificates::Signer;
pub use manager::{BuildError, Config, ControllerManager, RunError};
pub use registry::{Registration, all};
pub use storage_migration::{MigrateError, migrate};
