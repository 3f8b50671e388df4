//! A blocking route-netlink socket, and the few requests on links, addresses and routes that a node needs.
//!
//! A socket belongs to the network namespace of the thread that opened it. Every call is one message and its answer,
//! taking microseconds to milliseconds of kernel time, so callers run them on blocking threads.

mod address;
mod link;
mod route;
mod socket;

pub use address::Address;
pub use link::{Link, Veth};
pub use route::Route;
pub use socket::{NetlinkError, Socket};
