//! What pods and containers use, as CRI tells it.

use std::path::PathBuf;

use crate::skip_without_privileges;
use crate::support::{Host, container};

async fn of_pod(host: &mut Host, id: &str) -> cri::LinuxPodSandboxStats {
    let request = cri::PodSandboxStatsRequest { pod_sandbox_id: id.to_owned() };
    let stats = host.runtime.pod_sandbox_stats(request).await.expect("answered").into_inner().stats;
    stats.and_then(|stats| stats.linux).expect("for Linux")
}

/// The cgroups that a pod has because it names none.
fn cgroups(host: &Host, id: &str) -> Vec<PathBuf> {
    let controllers = std::fs::read_dir("/sys/fs/cgroup").expect("readable").flatten().map(|entry| entry.path());
    let roots = controllers.chain([PathBuf::from("/sys/fs/cgroup")]);
    let dirs = roots.map(|root| root.join(host.instance().name()).join("pods").join(id));
    dirs.filter(|dir| dir.exists()).collect()
}

#[tokio::test]
async fn a_pod_without_a_cgroup_of_the_callers_has_one_of_its_own() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let (one, other) = (host.sandbox("one").await, host.sandbox("other").await);
    host.run(&one, container(&one.1, "one", "exec sleep 1000")).await;
    host.run(&other, container(&other.1, "other", "sleep 1000 & sleep 1000 & echo up; exec sleep 1000")).await;
    host.log_with("other", "up").await;
    let count = |stats: &cri::LinuxPodSandboxStats| {
        stats.process.as_ref().and_then(|process| process.process_count.as_ref()).map(|count| count.value)
    };
    assert_eq!(count(&of_pod(&mut host, &one.0).await), Some(1));
    assert_eq!(count(&of_pod(&mut host, &other.0).await), Some(3));
    // The second time a rate is known too.
    let cpu = of_pod(&mut host, &one.0).await.cpu.expect("accounted");
    assert!(cpu.usage_nano_cores.is_some() && cpu.usage_core_nano_seconds.is_some_and(|used| used.value > 0));
    assert!(!cgroups(&host, &one.0).is_empty());
    let request = cri::StopPodSandboxRequest { pod_sandbox_id: one.0.clone() };
    host.runtime.stop_pod_sandbox(request).await.expect("stopped");
    assert_eq!(cgroups(&host, &one.0), Vec::<PathBuf>::new());
    assert_eq!(count(&of_pod(&mut host, &other.0).await), Some(3));
}

#[tokio::test]
async fn the_swap_that_a_container_may_still_use_is_told() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("swaps").await;
    let mut config = container(&sandbox.1, "c", "exec sleep 1000");
    let resources = cri::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        memory_swap_limit_in_bytes: 96 << 20,
        ..Default::default()
    };
    config.linux.as_mut().expect("set").resources = Some(resources);
    let id = host.run(&sandbox, config).await;
    let request = cri::ContainerStatsRequest { container_id: id };
    let stats = host.runtime.container_stats(request).await.expect("answered").into_inner().stats.expect("stats");
    let v1 = std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
    match stats.swap {
        Some(swap) if v1 || swap.swap_available_bytes.is_some() => {
            let number = |value: Option<cri::UInt64Value>| value.map(|value| value.value).expect("told");
            assert_eq!(number(swap.swap_available_bytes) + number(swap.swap_usage_bytes), 32 << 20);
        }
        told => eprintln!("SKIPPED: this machine limits no swap: {told:?}"),
    }
}
