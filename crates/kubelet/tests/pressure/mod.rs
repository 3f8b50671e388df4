//! A node that runs short of disk or memory, that keeps some of itself back, and that makes room for what it cannot do
//! without. Disks and cgroups are the kernel's; what memory containers use is said by the runtime.

mod signals;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Event;
use skiff_kubelet::{Amounts, EvictionStatements};

use super::*;

const MI: u64 = 1 << 20;

fn hard(signal: &str, value: &str) -> EvictionSettings {
    let hard = BTreeMap::from([(signal.to_owned(), value.to_owned())]);
    let settings = EvictionSettings::with(&EvictionStatements { hard, ..EvictionStatements::default() });
    let mut settings = settings.expect("a threshold");
    (settings.interval, settings.transition_period) = (Duration::from_millis(100), Duration::from_secs(1));
    settings
}

/// Mounts an empty disk of 64 MiB in memory at a path, which is made.
fn mount_disk(path: &Path) {
    mount_small(path, "size=64m");
}

fn mount_small(path: &Path, size: &str) {
    fs::create_dir_all(path).expect("made");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(size)).expect("root may mount");
}

fn with_directory(name: &str) -> Maker<Pod> {
    pod(name).container(name, "image:1").with(|pod| {
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        pod.spec.as_mut().expect("there").volumes = serde_json::from_value(volumes).expect("volumes");
    })
}

impl Stage {
    /// Waits until the node has a condition, or has it no more.
    async fn until_condition(&self, type_: &str, status: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let holds = async || {
            let conditions = nodes.get("n1").await.ok()?.status?.conditions?;
            conditions.iter().any(|c| c.type_ == type_ && c.status == status).then_some(())
        };
        self.until(&format!("{type_} {status}"), holds).await;
    }

    /// Waits until a pod has failed; its status.
    async fn until_failed(&self, name: &str, reason: &str) -> PodStatus {
        let status = self.until_phase(name, "Failed").await;
        assert_eq!(status.reason.as_deref(), Some(reason), "{status:?}");
        status
    }

    /// Waits until an event has been recorded.
    pub(super) async fn until_event(&self, reason: &str, part: &str) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let said = async || {
            let events = events.list(&Default::default()).await.expect("a list").items.into_iter();
            let mut of_reason = events.filter(|event| event.reason.as_deref() == Some(reason));
            of_reason.any(|event| event.message.as_deref().is_some_and(|text| text.contains(part))).then_some(())
        };
        self.until(&format!("event {reason} {part}"), said).await;
    }

    fn cgroup(&self, controller: &str, file: &str) -> Option<String> {
        let name = Instance::new(self.dir.path().join("data"), self.dir.path().join("run")).name();
        let root = Path::new("/sys/fs/cgroup");
        let driver = match self.runtime.profile().cgroup_driver() {
            Some(cri::CgroupDriver::Systemd) => CgroupDriver::Systemd,
            _ => CgroupDriver::Cgroupfs,
        };
        // A class of pods may stand before the file.
        let (class, file) = file.split_once('/').map_or((None, file), |(class, file)| (Some(class), file));
        let names: Vec<&str> = [name.as_str(), "kubepods"].into_iter().chain(class).collect();
        let file = Path::new(driver.path(&names).trim_start_matches('/')).join(file);
        let found =
            [root.join(controller).join(&file), root.join(&file)].into_iter().find_map(|p| fs::read_to_string(p).ok());
        found.map(|text| text.trim().to_owned())
    }
}

#[tokio::test]
async fn a_node_whose_disk_fills_ends_who_took_most_of_it_and_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    mount_disk(&data);
    let stage = Stage::within(dir, &["image:1"], |config| config.eviction = hard("nodefs.available", "50%")).await;
    // No registry has it.
    stage.runtime.hold_image("image:1");
    for name in ["small", "large"] {
        stage.create(with_directory(name)).await;
        stage.until_phase(name, "Running").await;
    }
    let volume = |name: &str| data.join(format!("kubelet/pods/uid-{name}/volumes/kubernetes.io~empty-dir/v"));
    fs::write(volume("small").join("file"), vec![1; 4 << 20]).expect("written");
    fs::write(volume("large").join("file"), vec![1; 40 << 20]).expect("written");
    let status = stage.until_failed("large", "Evicted").await;
    let message = status.message.clone().expect("a message");
    let begin = "The node was low on resource: ephemeral-storage. Threshold quantity: 32Mi, available: ";
    assert!(message.starts_with(begin), "{message}");
    stage.until_event("Evicted", begin).await;
    stage.until_event("EvictionThresholdMet", "Attempting to reclaim ephemeral-storage").await;
    stage.until("removal of volumes", async || (!volume("large").exists()).then_some(())).await;
    stage.until_condition("DiskPressure", "False").await;
    assert_eq!(stage.status("small").await.phase.as_deref(), Some("Running"));
    stage.delete("small").await;
    // What no pod has taken cannot be had back from one.
    fs::write(data.join("ballast"), vec![1; 40 << 20]).expect("written");
    stage.until_condition("DiskPressure", "True").await;
    stage.create(with_directory("late")).await;
    let status = stage.until_failed("late", "Evicted").await;
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: The node had condition: [DiskPressure]. "));
    stage.create(with_directory("critical").priority(2_000_000_000)).await;
    stage.until_phase("critical", "Running").await;
    fs::remove_file(data.join("ballast")).expect("removed");
    stage.until_condition("DiskPressure", "False").await;
    stage.create(with_directory("after")).await;
    stage.until_phase("after", "Running").await;
}

#[tokio::test]
async fn a_disk_of_images_that_is_known_late_is_kept_from_filling() {
    let stage = Stage::with(&["image:1", "image:2"], |config| config.eviction = hard("imagefs.available", "50%")).await;
    let disk = stage.dir.path().join("images");
    mount_disk(&disk);
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    fs::write(disk.join("layer"), vec![1; 40 << 20]).expect("written");
    stage.runtime.keep_images_in(&disk);
    stage.until_condition("DiskPressure", "True").await;
    // What nothing uses goes first.
    let unused = async || (!stage.runtime.has_image("image:2")).then_some(());
    stage.until("removal of an image", unused).await;
    let message = stage.until_failed("web", "Evicted").await.message.expect("a message");
    assert!(
        message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: 32Mi"),
        "{message}"
    );
    stage.until_metric("kubelet_evictions{eviction_signal=\"imagefs.available\"} 1").await;
    fs::remove_file(disk.join("layer")).expect("removed");
    stage.until_condition("DiskPressure", "False").await;
}

#[tokio::test]
async fn unused_images_go_when_their_disk_is_as_full_as_is_set_and_one_that_stays_is_told_of() {
    let configure = |config: &mut Config| config.images.interval = Duration::from_millis(200);
    let stage = Stage::with(&["image:1", "image:2", "image:3"], configure).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    stage.runtime.hold_image("image:2");
    let disk = stage.dir.path().join("images");
    mount_disk(&disk);
    // 80 of a hundred; above 85 images go.
    fs::write(disk.join("layer"), vec![1; 51 << 20]).expect("written");
    stage.runtime.keep_images_in(&disk);
    // A disk that says that it has no room at all.
    stage.runtime.keep_images_in(Path::new("/proc"));
    stage.until_event("InvalidDiskCapacity", "invalid capacity 0 on image filesystem").await;
    stage.runtime.keep_images_in(&disk);
    let asked = async |count: u64| {
        let (_, body) = stage.get("/metrics", "operators").await;
        let line = "kubelet_runtime_operations_total{operation_type=\"image_fs_info\"} ";
        let told: u64 = body.lines().find_map(|l| l.strip_prefix(line))?.parse().expect("a number");
        (told >= count).then_some(told)
    };
    let before = stage.until("a look at the disk", async || asked(1).await).await;
    stage.until("two more", async || asked(before + 2).await).await;
    assert!(stage.runtime.has_image("image:3"));
    fs::write(disk.join("another"), vec![1; 8 << 20]).expect("written");
    stage.until("removal of an image", async || (!stage.runtime.has_image("image:3")).then_some(())).await;
    stage.until_event("FreeDiskSpaceFailed", "but only found 1000 bytes eligible to free").await;
    stage.until_event("ImageGCFailed", "is held").await;
    stage.until_metric("kubelet_image_garbage_collected_total{reason=\"space\"} 1").await;
    assert!(stage.runtime.has_image("image:1") && stage.runtime.has_image("image:2"));
}

#[tokio::test]
async fn a_node_short_of_memory_ends_one_pod_after_the_other_but_never_a_critical_one() {
    let mut stage = Stage::new(&["image:1"]).await;
    for (name, memory) in [("modest", 10), ("greedy", 900), ("critical", 2000)] {
        stage.runtime.uses(name, memory * MI);
        let priority = if name == "critical" { 2_000_000_000 } else { 0 };
        let requests = json!({"requests": {"memory": "100Mi"}});
        let asking = |pod: &mut Pod| first(pod).resources = Some(serde_json::from_value(requests).expect("resources"));
        stage.create(pod(name).container(name, "image:1").priority(priority).with(asking)).await;
        stage.until_phase(name, "Running").await;
    }
    // A machine always uses some of its memory.
    stage.stop().await;
    stage.configure = |config| config.eviction = hard("memory.available", "99.999%");
    stage.start();
    let greedy = stage.until_failed("greedy", "Evicted").await.message.expect("a message");
    let end = "Container greedy was using 900Mi, request is 100Mi, has larger consumption of memory. ";
    assert!(greedy.starts_with("The node was low on resource: memory. ") && greedy.ends_with(end), "{greedy}");
    stage.until_failed("modest", "Evicted").await;
    stage.until_metric("kubelet_evictions{eviction_signal=\"memory.available\"} 2").await;
    stage.until_condition("MemoryPressure", "True").await;
    let calls = stage.runtime.calls();
    let at = |name: &str| calls.iter().position(|call| call.starts_with(&format!("StopContainer {name}")));
    assert!(at("greedy").expect("stopped") < at("modest").expect("stopped"), "{calls:?}");
    stage.create(pod("idle").container("idle", "image:1")).await;
    let status = stage.until_failed("idle", "Evicted").await;
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: The node had condition: [MemoryPressure]. "));
    assert_eq!(stage.status("critical").await.phase.as_deref(), Some("Running"));
}

#[tokio::test]
async fn what_is_kept_back_is_not_for_pods_and_the_kernel_sees_to_it() {
    let stage = Stage::with(&["image:1"], |config| {
        config.reserved.system = Amounts::from([("cpu".to_owned(), 100), ("memory".to_owned(), 1 << 30)]);
        config.reserved.kube = Amounts::from([("memory".to_owned(), 1 << 29), ("pid".to_owned(), 1000)]);
        config.eviction = hard("memory.available", "1Mi");
    });
    let stage = stage.await;
    let node: Node = Api::all(stage.client.clone()).get("n1").await.expect("registered");
    let status = node.status.expect("a status");
    let amount = |list: &Option<BTreeMap<String, _>>, name: &str| {
        let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = &list.as_ref().expect("there")[name];
        api::quantity::Quantity::from_k8s(quantity).expect("a quantity")
    };
    let of = |name: &str| (amount(&status.capacity, name), amount(&status.allocatable, name));
    let (memory, pod_memory) = of("memory");
    let names = status.capacity.as_ref().expect("there").keys().filter(|name| name.starts_with("hugepages-"));
    let huge: i64 = names.map(|name| amount(&status.capacity, name).value()).sum();
    assert_eq!(memory.value() - pod_memory.value() - huge, (3 << 29) + (1 << 20));
    let (cpu, pod_cpu) = of("cpu");
    assert_eq!(cpu.milli_value() - pod_cpu.milli_value(), 100);
    stage.until_event("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods").await;
    let limit = (memory.value() - (3 << 29)).to_string();
    let file =
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(stage.cgroup("memory", file).as_deref(), Some(limit.as_str()));
    let pids = stage.cgroup("pids", "pids.max").expect("a limit");
    let all: i64 = pids.parse::<i64>().expect("a number") + 1000;
    let most = ["pid_max", "threads-max"].map(|name| fs::read_to_string(format!("/proc/sys/kernel/{name}")));
    assert!(most.into_iter().any(|text| text.expect("readable").trim() == all.to_string()), "{all}");
    // Half a CPU for those that ask for it.
    let half = web().with(|pod| {
        let resources = json!({"requests": {"cpu": "500m"}});
        first(pod).resources = Some(serde_json::from_value(resources).expect("resources"));
    });
    stage.create(half).await;
    stage.until_phase("web", "Running").await;
    let (v1, v2) = (stage.cgroup("cpu", "cpu.shares").is_some(), stage.cgroup("", "cpu.weight").is_some());
    assert!(v1 || v2);
    let shared = async || {
        let shares =
            if v1 { stage.cgroup("cpu", "burstable/cpu.shares") } else { stage.cgroup("", "burstable/cpu.weight") };
        shares.filter(|shares| shares == if v1 { "512" } else { "20" })
    };
    stage.until("shares of burstable pods", shared).await;
}

#[tokio::test]
async fn a_critical_pod_takes_the_room_of_another_one() {
    let stage = Stage::with(&["image:1"], |config| {
        // Half a CPU is left for pods, whatever the machine has.
        let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).expect("known").expect("known");
        config.reserved.system = Amounts::from([("cpu".to_owned(), cpus * 1000 - 500)]);
    });
    let stage = stage.await;
    let asking = |name: &str, cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}});
        let resources = serde_json::from_value(resources).expect("resources");
        pod(name).container(name, "image:1").with(|pod| first(pod).resources = Some(resources))
    };
    for name in ["low", "kept"] {
        stage.create(asking(name, if name == "low" { "300m" } else { "100m" })).await;
        stage.until_phase(name, "Running").await;
    }
    stage.create(asking("too-much", "200m")).await;
    stage.until_failed("too-much", "OutOfcpu").await;
    stage.create(asking("critical", "250m").priority(2_000_001_000)).await;
    let status = stage.until_failed("low", "Preempting").await;
    assert_eq!(status.message.as_deref(), Some("Preempted in order to admit critical pod"));
    stage.until_event("Preempting", "Preempted in order to admit critical pod").await;
    stage.until_phase("critical", "Running").await;
    stage.until_metric("kubelet_preemptions{preemption_signal=\"cpu\"} 1").await;
    stage.until_metric("kubelet_admission_rejections_total{reason=\"OutOfcpu\"} 1").await;
    assert_eq!(stage.status("kept").await.phase.as_deref(), Some("Running"));
    stage.create(asking("hopeless", "600m").priority(2_000_001_000)).await;
    let status = stage.until_failed("hopeless", "UnexpectedAdmissionError").await;
    let message = status.message.expect("a message");
    assert!(message.contains("no set of running pods found to reclaim resources: [(res: cpu, q: "), "{message}");
}

#[tokio::test]
async fn memory_that_pods_have_asked_for_can_be_kept_for_them() {
    let mut stage = Stage::with(&["image:1"], |config| config.qos_reserved_percent = Some(50)).await;
    let file =
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "memory.max" } else { "memory.limit_in_bytes" };
    let limit = |stage: &Stage, class: &str| -> Option<i64> {
        stage.cgroup("memory", &format!("{class}/{file}")).and_then(|text| text.parse().ok())
    };
    let asking = web().with(|pod| {
        let resources = json!({"requests": {"memory": "64Mi"}});
        first(pod).resources = Some(serde_json::from_value(resources).expect("resources"));
    });
    stage.create(asking).await;
    stage.until_phase("web", "Running").await;
    let kept = async || {
        let (burstable, best_effort) = (limit(&stage, "burstable")?, limit(&stage, "besteffort")?);
        (burstable - best_effort == 32 << 20).then_some(())
    };
    stage.until("memory that is kept", kept).await;
    stage.stop().await;
    stage.configure = |_| {};
    stage.start();
    let lifted = async || (limit(&stage, "burstable").unwrap_or(i64::MAX) >= 1 << 60).then_some(());
    stage.until("no limit", lifted).await;
}
