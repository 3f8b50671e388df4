//! Volumes of CSI drivers: which drivers there are, what they know of the node, and how their volumes come and go.
//!
//! A volume is staged on the node once and published to each pod. What was asked of a driver is written down beside
//! the volume before it is asked ([`record`]), so that a kubelet that was killed takes it back in the same way.

mod attach;
mod driver;
mod expand;
mod limits;
mod messages;
mod node;
mod publish;
mod record;
mod unpublish;
mod usage;
mod volume;

use std::path::Path;
use std::sync::Arc;

pub use attach::{Attachments, Settings};
pub use driver::{Driver, Drivers};
pub use expand::expand;
pub use limits::run as keep_limits;
pub use node::initialize;
pub use publish::{Published, publish};
pub use unpublish::{release, unpublish_pod};
pub use usage::usage;
pub use volume::CsiVolume;

use crate::context::Shared;

/// Registers a driver: asks what the node is to it, and says so in the API. An error is a message for the driver.
pub async fn register(context: &Shared, name: &str, endpoint: &Path, versions: &[String]) -> Result<(), String> {
    if name.is_empty() {
        return Err("driver name is empty".to_owned());
    }
    if !versions.iter().any(|version| is_spoken(version)) {
        return Err(format!(
            "validation failed for CSI Driver {name} at endpoint {}: no supported version in [{}]",
            endpoint.display(),
            versions.join(" ")
        ));
    }
    let driver = Arc::new(Driver::new(name, endpoint));
    let info = driver.info().await?;
    node::announce(context, name, &info).await?;
    context.csi.put(driver);
    // What a kubelet that was killed had begun to take away, or had staged for nobody.
    unpublish::unstage_unused(context, name).await;
    Ok(())
}

/// Forgets a driver that is gone.
pub async fn deregister(context: &Shared, name: &str) {
    context.csi.remove(name);
    if let Err(err) = node::withdraw(context, name).await {
        tracing::warn!(driver = name, err, "CSI driver cannot be taken off the node");
    }
}

/// Whether the kubelet speaks a version of the protocol.
fn is_spoken(version: &str) -> bool {
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split('.').next() == Some("1")
}
