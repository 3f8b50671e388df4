//! What the fields of a configuration mean for the kubelet's parts: one module an area, each with a function `set` that
//! puts its fields into the kubelet's [`Config`]. The configuration has been judged.

mod images;
mod logs;
mod managers;
mod node;
mod pods;
mod server;
mod shortage;
mod shutdown;

use std::sync::Arc;

pub use managers::settings as managers_settings;
pub use shortage::{percent, statements};

use super::document::KubeletConfiguration;
use crate::config::Config;

/// Puts an area's fields into the kubelet's configuration.
type Set = fn(&KubeletConfiguration, &mut Config);

/// All areas.
const AREAS: [Set; 8] =
    [images::set, logs::set, managers::set, node::set, pods::set, server::set, shortage::set, shutdown::set];

impl Config {
    /// Takes over what a configuration says.
    pub fn configure(&mut self, configuration: KubeletConfiguration) {
        for set in AREAS {
            set(&configuration, self);
        }
        self.configuration = Arc::new(configuration);
    }
}

/// A number that was judged not to be negative.
fn count<T: TryFrom<i64> + Default>(number: impl Into<i64>) -> T {
    T::try_from(number.into()).unwrap_or_default()
}
