//! The suite that every engine passes: random operations, failures and crashes, compared with a simple model.
//!
//! An engine takes part through [`Subject`]; its tests call [`check`] with the steps that proptest draws.

mod driver;
mod model;
mod steps;

use std::sync::Arc;

use async_trait::async_trait;

use crate::Store;

pub(crate) use driver::{check, check_basics};
pub(crate) use steps::{Fault, FaultKind, steps};

/// An engine under test.
#[async_trait]
pub(crate) trait Subject {
    /// The engine as it runs now. The suite keeps no reference beyond [`Subject::reopen`].
    fn store(&self) -> Arc<dyn Store>;

    /// Closes and opens it again: after a crash with what the crash left on disk, else with everything.
    async fn reopen(&mut self);

    /// Makes a coming write to the disk fail; engines that cannot fail ignore it.
    fn arm(&mut self, fault: Fault);

    /// Whether an armed crash has happened.
    fn crashed(&self) -> bool;
}
