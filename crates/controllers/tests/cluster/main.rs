//! The controllers against the real API server, both in this process, on paused time.

mod account_tokens;
mod bootstrap;
mod custom;
mod garbage;
mod migrations;
mod namespaces;
mod nodes;
mod policies;
mod quotas;
mod ranges;
mod resource_claims;
mod roles;
mod storage_protection;
mod support;
mod trust_bundles;
mod workloads;
