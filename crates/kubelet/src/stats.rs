//! Figures: the runtime's of what pods use, and the kernel's of what the machine does.

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use cri as v1;
use jiff::Timestamp;

use crate::context::Context;
use crate::pods::names;

/// The figures of all pods that run.
pub async fn of_pods(context: &Context) -> Result<Vec<v1::PodSandboxStats>, v1::Status> {
    let mut runtime = context.runtime.clone();
    match runtime.list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest { filter: None }).await {
        Ok(answer) => Ok(answer.into_inner().stats),
        Err(err) if err.code() == v1::Code::Unimplemented => Err(err),
        // One pod that is on its way out makes containerd 1.6 refuse them all.
        Err(_) => of_ready(&mut runtime).await,
    }
}

/// The figures of each pod that is ready, asked one by one: one that ends meanwhile is left out.
async fn of_ready(runtime: &mut v1::RuntimeClient) -> Result<Vec<v1::PodSandboxStats>, v1::Status> {
    let state = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
    let filter = v1::PodSandboxFilter { state: Some(state), ..Default::default() };
    let ready = runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) }).await?.into_inner().items;
    let mut all = Vec::new();
    for sandbox in ready {
        let asked = v1::PodSandboxStatsRequest { pod_sandbox_id: sandbox.id };
        all.extend(runtime.pod_sandbox_stats(asked).await.ok().and_then(|answer| answer.into_inner().stats));
    }
    Ok(all)
}

/// The figures of one pod; nothing where it does not run.
pub async fn of_pod(context: &Context, uid: &str) -> Result<Option<v1::PodSandboxStats>, v1::Status> {
    let label_selector = HashMap::from([(names::POD_UID.to_owned(), uid.to_owned())]);
    let filter = v1::PodSandboxStatsFilter { label_selector, ..v1::PodSandboxStatsFilter::default() };
    let request = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
    let answer = context.runtime.clone().list_pod_sandbox_stats(request).await?;
    Ok(answer.into_inner().stats.into_iter().next())
}

/// When the containers that the runtime has were made, by their identifiers, in nanoseconds since 1970. No figures say
/// when a container was started.
pub async fn containers_made(context: &Context) -> Result<HashMap<String, i64>, v1::Status> {
    let listed = context.runtime.clone().list_containers(v1::ListContainersRequest { filter: None }).await?;
    Ok(listed.into_inner().containers.into_iter().map(|container| (container.id, container.created_at)).collect())
}

/// When the sandboxes and containers that the runtime has were made, likewise.
pub async fn made(context: &Context) -> Result<HashMap<String, i64>, v1::Status> {
    let mut all = containers_made(context).await?;
    let listed = context.runtime.clone().list_pod_sandbox(v1::ListPodSandboxRequest { filter: None }).await?;
    all.extend(listed.into_inner().items.into_iter().map(|sandbox| (sandbox.id, sandbox.created_at)));
    Ok(all)
}

/// What the containers of a pod have swapped together; nothing where that is not measured.
pub fn swap_of_pod(containers: &[v1::ContainerStats]) -> Option<v1::SwapUsage> {
    let all = containers.iter().filter_map(|stats| stats.swap.as_ref());
    let timestamp = all.clone().map(|usage| usage.timestamp).max()?;
    let value = all.filter_map(|usage| usage.swap_usage_bytes.as_ref()).map(|used| used.value).sum();
    Some(v1::SwapUsage { timestamp, swap_available_bytes: None, swap_usage_bytes: Some(v1::UInt64Value { value }) })
}

/// The pod that figures are about.
pub fn uid(stats: &v1::PodSandboxStats) -> Option<&str> {
    stats.attributes.as_ref()?.labels.get(names::POD_UID).map(String::as_str)
}

/// How fast counters of CPU time rise.
#[derive(Debug, Default)]
pub struct CpuRates(Mutex<HashMap<&'static str, (Timestamp, u64)>>);

impl CpuRates {
    /// How many nanoseconds `who` works in a second, by how many it has worked so far, since the last time somebody asked.
    pub fn rate(&self, who: &'static str, used: u64, now: Timestamp) -> Option<u64> {
        let (then, before) = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(who, (now, used))?;
        let elapsed = u128::try_from(now.duration_since(then).as_nanos()).ok().filter(|elapsed| *elapsed > 0)?;
        u64::try_from(u128::from(used.saturating_sub(before)) * 1_000_000_000 / elapsed).ok()
    }
}

/// How many nanoseconds the machine's CPUs have worked since it was started.
pub fn cpu_of_machine() -> Option<u64> {
    let ticks = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(busy(&fs::read_to_string("/proc/stat").ok()?)? * (1_000_000_000 / ticks.max(1)))
}

/// The ticks in which some CPU did something, from the text of `/proc/stat`.
fn busy(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen
    let idle = [3, 4].iter().filter_map(|index| ticks.get(*index)).sum::<u64>();
    Some(ticks.iter().take(8).sum::<u64>() - idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_works_while_it_is_not_idle() {
        assert_eq!(busy("cpu  10 1 20 500 30 2 3 4 99 98\ncpu0 1\n"), Some(40));
        assert_eq!(busy("intr 1\n"), None);
        assert!(cpu_of_machine().expect("the kernel says") > 0);
    }

    #[test]
    fn a_rate_is_what_was_added_since_somebody_asked() {
        let (rates, at) = (CpuRates::default(), |second| Timestamp::from_second(second).expect("a valid time"));
        assert_eq!(rates.rate("a", 1000, at(0)), None);
        assert_eq!(rates.rate("b", 7, at(5)), None);
        assert_eq!(rates.rate("a", 3000, at(10)), Some(200));
        assert_eq!(rates.rate("a", 9000, at(10)), None, "no time has gone by");
    }
}
