//! Who makes a request, and whether they may.

pub(crate) mod authentication;
pub(crate) mod authorization;
mod identity;

pub use identity::Identity;
pub(crate) use identity::Peer;
