//! What pods ask for, in numbers, and how that becomes cgroups.

mod amounts;
mod cgroups;
mod linux;

pub use amounts::{Amounts, container_amount, pod_limits, pod_requests, qos_class};
pub use cgroups::{CgroupError, Cgroups};
pub use linux::{agree, container_resources, pod_cgroup_limits, pod_resources};
