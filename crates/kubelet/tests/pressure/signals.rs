//! What a node runs short of besides room and memory, and what it does when it has time.

use std::io::Write;

use super::*;

#[tokio::test]
async fn a_node_short_of_inodes_ends_who_made_most_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    mount_small(&data, "size=64m,nr_inodes=2000");
    let stage = Stage::within(dir, &["image:1"], |config| config.eviction = hard("nodefs.inodesFree", "50%")).await;
    for name in ["few", "many"] {
        stage.create(with_directory(name)).await;
        stage.until_phase(name, "Running").await;
    }
    let volume = |name: &str| data.join(format!("kubelet/pods/uid-{name}/volumes/kubernetes.io~empty-dir/v"));
    for (name, count) in [("few", 10), ("many", 1100)] {
        for number in 0..count {
            fs::write(volume(name).join(number.to_string()), "").expect("written");
        }
    }
    let message = stage.until_failed("many", "Evicted").await.message.expect("a message");
    assert!(
        message.starts_with("The node was low on resource: inodes. Threshold quantity: 1k, available: "),
        "{message}"
    );
    stage.until_metric("kubelet_evictions{eviction_signal=\"nodefs.inodesFree\"} 1").await;
    stage.until_condition("DiskPressure", "False").await;
    assert_eq!(stage.status("few").await.phase.as_deref(), Some("Running"));
}

#[tokio::test]
async fn a_node_short_of_process_numbers_says_so_and_ends_pods() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let mut stage = stage;
    stage.stop().await;
    // There is always some process.
    stage.configure = |config| config.eviction = hard("pid.available", "99.9999%");
    stage.start();
    let message = stage.until_failed("web", "Evicted").await.message.expect("a message");
    assert!(message.starts_with("The node was low on resource: pids. "), "{message}");
    stage.until_condition("PIDPressure", "True").await;
    stage.until_event("NodeHasInsufficientPID", "Node n1 status is now: NodeHasInsufficientPID").await;
    stage.create(pod("late").container("late", "image:1")).await;
    let status = stage.until_failed("late", "Evicted").await;
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: The node had condition: [PIDPressure]. "));
}

#[tokio::test]
async fn a_soft_threshold_waits_and_lets_pods_end_in_their_time() {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    stage.stop().await;
    stage.configure = |config| {
        let memory = |value: &str| BTreeMap::from([("memory.available".to_owned(), value.to_owned())]);
        let grace = BTreeMap::from([("memory.available".to_owned(), Duration::from_secs(2))]);
        let statements = EvictionStatements { soft: memory("99.999%"), grace, ..EvictionStatements::default() };
        let mut settings = EvictionSettings::with(&statements).expect("a threshold");
        (settings.interval, settings.max_pod_grace_period) = (Duration::from_millis(100), 11);
        config.eviction = settings;
    };
    stage.start();
    stage.until_condition("MemoryPressure", "True").await;
    assert_eq!(stage.status("web").await.phase.as_deref(), Some("Running"), "it has two seconds");
    stage.until_failed("web", "Evicted").await;
    let calls = stage.runtime.calls();
    assert!(calls.iter().any(|call| call == "StopContainer a 11"), "{calls:?}");
}

#[tokio::test]
async fn what_the_kernel_kills_for_want_of_memory_is_told() {
    let stage = Stage::new(&[]).await;
    let marker = format!("skiff-{}", stage.port);
    let log = fs::File::options().write(true).open("/dev/kmsg");
    let Ok(mut log) = log else { return eprintln!("skipped: this user may not write to the kernel's log") };
    let told = async || {
        // Each write is a record. The kubelet may not listen yet.
        let record = format!("<4>Out of memory: Killed process 4321 ({marker}) total-vm:1kB\n");
        log.write_all(record.as_bytes()).ok()?;
        let events: Api<Event> = Api::namespaced(stage.client.clone(), "default");
        let events = events.list(&Default::default()).await.expect("a list").items;
        let message = format!("System OOM encountered, victim process: {marker}, pid: 4321");
        events.iter().any(|event| event.message.as_ref() == Some(&message)).then_some(())
    };
    assert!(testkit::poll_async(DEADLINE, told).await.is_some(), "no event tells of it");
}
