//! Images: pulled as containers need them, removed when the disk fills.

mod auth;
mod collect;
mod pull;
mod reference;

pub use collect::collect;
pub use pull::{Puller, rpc_message};
