//! How much containers may swap. Names in comments are those of upstream's configuration.
//!
//! Upstream: <https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/>.

use cri::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::amounts::{QosClass, container_amount, qos_class};
use crate::pods::spec;

/// The file of version 2 that limits swap.
const SWAP_MAX: &str = "memory.swap.max";

/// `memorySwap.swapBehavior`: who may swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapBehavior {
    /// No container.
    #[default]
    NoSwap,
    /// Containers that ask for some memory and may use more, each in proportion to what it asks for.
    LimitedSwap,
}

/// What the kernel lets the kubelet do about swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapControl {
    /// Nothing.
    #[default]
    Absent,
    /// Limits of memory and swap together (version 1).
    Together,
    /// Limits of swap (version 2).
    Apart,
}

/// What matters of the node for swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSwap {
    /// Who may swap.
    pub behavior: SwapBehavior,
    /// How that is enforced.
    pub control: SwapControl,
    /// Bytes of swap in all.
    pub total: i64,
    /// Bytes of memory in all.
    pub memory: i64,
}

impl NodeSwap {
    /// Limits the swap of a container that is to have these resources.
    pub fn limit(&self, pod: &Pod, container: &Container, resources: &mut LinuxContainerResources) {
        match self.control {
            SwapControl::Absent => {}
            // Shares of swap are not for version 1, upstream's included: memory alone is limited to the same.
            SwapControl::Together => resources.memory_swap_limit_in_bytes = resources.memory_limit_in_bytes,
            SwapControl::Apart => {
                let bytes = if self.behavior == SwapBehavior::LimitedSwap { self.share(pod, container) } else { 0 };
                resources.unified.insert(SWAP_MAX.to_owned(), bytes.to_string());
            }
        }
    }

    /// What a container may swap: of the node's swap as much as it asked for of its memory.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a share of the swap is rounded anyway, and is no larger than that"
    )]
    fn share(&self, pod: &Pod, container: &Container) -> i64 {
        let resources = container.resources.as_ref();
        let limit = container_amount(resources.and_then(|resources| resources.limits.as_ref()), "memory");
        let request = container_amount(resources.and_then(|resources| resources.requests.as_ref()), "memory");
        let request = request.or(limit).unwrap_or(0);
        let may = qos_class(pod) == QosClass::Burstable && !spec::is_critical(pod) && limit != Some(request);
        if may && request > 0 && self.memory > 0 {
            (request as f64 / self.memory as f64 * self.total as f64) as i64
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, pod};

    use super::*;

    const GI: i64 = 1 << 30;

    #[track_caller]
    fn check(maker: Maker<Pod>, behavior: SwapBehavior, control: SwapControl, together: i64, apart: Option<&str>) {
        let pod = maker.build();
        let mut resources =
            LinuxContainerResources { memory_limit_in_bytes: 2 * GI, ..LinuxContainerResources::default() };
        let node = NodeSwap { behavior, control, total: 4 * GI, memory: 8 * GI };
        node.limit(&pod, &spec::containers(&pod)[0], &mut resources);
        let found = resources.unified.get(SWAP_MAX).map(String::as_str);
        assert_eq!((resources.memory_swap_limit_in_bytes, found), (together, apart));
    }

    #[test]
    fn burstable_containers_swap_in_proportion_to_what_they_ask_for() {
        use SwapBehavior::{LimitedSwap, NoSwap};
        use SwapControl::{Absent, Apart, Together};
        let burstable = || pod("web").requests(&[("memory", "1Gi")]);
        check(burstable(), LimitedSwap, Absent, 0, None);
        check(burstable(), LimitedSwap, Together, 2 * GI, None);
        check(burstable(), NoSwap, Apart, 0, Some("0"));
        check(burstable(), LimitedSwap, Apart, 0, Some("536870912"));
        check(burstable().priority(2_000_000_000), LimitedSwap, Apart, 0, Some("0"));
        check(pod("idle").container("a", "i"), LimitedSwap, Apart, 0, Some("0"));
        check(pod("cpu").requests(&[("cpu", "1")]), LimitedSwap, Apart, 0, Some("0"));
        let fixed = burstable().with(|pod| {
            let resources = pod.spec.as_mut().expect("there").containers[0].resources.as_mut().expect("there");
            resources.limits.clone_from(&resources.requests);
        });
        check(fixed, LimitedSwap, Apart, 0, Some("0"));
    }
}
