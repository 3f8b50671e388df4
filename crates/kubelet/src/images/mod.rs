//! Images: pulled as containers need them, removed when the disk fills.

mod collect;
mod keyring;
mod limits;
mod providers;
mod pull;
mod records;
mod reference;
mod settings;

pub use collect::{ImageCollector, collect};
pub use keyring::{InvalidDockerConfig, docker_config};
pub use providers::ProvidersError;
pub use pull::{Puller, rpc_message};
pub use settings::{ImageSettings, Verification};
