//! Probes: one task for each probe of each running container; results by container instance.

mod check;
mod http;
mod prober;
mod results;

pub use check::resolve_port;
pub use http::{HttpCheck, HttpError, InvalidUrl, http_get};
pub use prober::PodProbes;
pub use results::{Outcome, ProbeKind, ProbeResults};
