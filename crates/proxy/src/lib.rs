//! Component: service proxy. It makes the addresses of Services lead to their endpoints, with nftables.
//!
//! Services and EndpointSlices become an immutable [`model`] by a pure function, one service at a time; the
//! [`nftables`] data plane turns what differs from before into one transaction.
//!
//! # The table
//! Table `inet <instance>-proxy` is flat: one verdict map leads from (address, protocol, port) to a chain that is shared
//! by all services with the same *number* of endpoints. That chain draws a number below it, and in the map of that
//! number (address, protocol, port) is looked up again: the endpoint. A service more or less changes elements of maps
//! only, whatever the number of services. Services that need more than that (session affinity,
//! `externalTrafficPolicy: Local`, source ranges) have chains of their own.
//!
//! # Packet marks
//! Bit 14 ([`MASQUERADE_MARK`], the bit that the field uses for this purpose) says that a new connection gets the
//! node's address as its source. It is set and cleared within one traversal of the node. No other bit is read or
//! written: the number of an endpoint leads to a chain and is stored nowhere.

mod cleanup;
mod conntrack;
mod health_check;
pub mod model;
pub mod nftables;
mod proxy;

pub use cleanup::cleanup;
pub use nftables::MASQUERADE_MARK;
pub use proxy::{BuildError, Config, Proxy, RunError};
