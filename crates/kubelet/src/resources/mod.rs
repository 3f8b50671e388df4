//! What pods ask for, in numbers, and how that becomes cgroups.

mod amounts;
mod cgroups;
mod driver;
mod figures;
mod huge_pages;
mod linux;
mod memory;
mod reserved;
mod slices;
mod swap;

pub use amounts::{Amounts, QosClass, amounts, container_amount, pod_limit_sums, pod_limits, pod_requests, qos_class};
pub use cgroups::{CgroupError, Cgroups, PodLimits};
pub use driver::{CgroupDriver, CgroupSettings};
pub use figures::CgroupFigures;
pub use huge_pages::{huge_page_limits, huge_page_resource};
pub use linux::{
    CpuQuota, NodeMemory, agree, container_resources, overhead_resources, pod_cgroup_limits, pod_resources, shares,
};
pub use reserved::{Enforced, Reserved};
pub use swap::{NodeSwap, SwapBehavior, SwapControl};
