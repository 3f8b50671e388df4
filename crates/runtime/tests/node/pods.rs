//! Pods with namespaces of their own.

use std::time::Duration;

use cri::{ContainerState, NamespaceMode, PodSandboxConfig, PodSandboxState};

use crate::skip_without_privileges;
use crate::support::{Host, container, messages, sandbox_config};

/// A pod with a network of its own.
pub fn pod(host: &Host, name: &str, change: impl FnOnce(&mut cri::NamespaceOption)) -> PodSandboxConfig {
    let mut config = sandbox_config(host.dir(), name);
    let linux = config.linux.as_mut().expect("set");
    let options = linux.security_context.as_mut().and_then(|context| context.namespace_options.as_mut());
    let options = options.expect("set");
    options.network = NamespaceMode::Pod.into();
    change(options);
    config
}

#[tokio::test]
async fn a_pod_has_an_address_a_name_and_shared_memory() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.11.0/24")).await;
    host.import_busybox().await;
    let mut config = pod(&host, "web", |_| {});
    config.dns_config = Some(cri::DnsConfig { servers: vec!["10.43.0.10".to_owned()], ..Default::default() });
    config.linux.as_mut().expect("set").sysctls = [("net.core.somaxconn".to_owned(), "77".to_owned())].into();
    let sandbox = (host.run_sandbox(&config).await.expect("made"), config);
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.0.clone(), verbose: false };
    let status = host.runtime.pod_sandbox_status(request.clone()).await.expect("known").into_inner();
    let ip = status.status.and_then(|status| status.network).map(|network| network.ip).unwrap_or_default();
    assert!(ip.starts_with("10.207.11."), "{ip}");
    let script = "hostname; cat /etc/resolv.conf; cat /proc/sys/net/core/somaxconn; echo shared > /dev/shm/x; \
                  echo listening; while true; do echo hello | nc -l -p 8080; done";
    let id = host.run(&sandbox, container(&sandbox.1, "server", script)).await;
    let log = messages(&host.log_with("server", "listening").await);
    assert_eq!(&log[..3], ["stdout F web", "stdout F nameserver 10.43.0.10", "stdout F 77"]);
    let second = host
        .run(&sandbox, container(&sandbox.1, "client", "cat /dev/shm/x; nc 127.0.0.1 8080 </dev/null; echo end"))
        .await;
    host.exited(&second).await;
    assert_eq!(messages(&host.log_with("client", "end").await), ["stdout F shared", "stdout F hello", "stdout F end"]);
    let stats = cri::PodSandboxStatsRequest { pod_sandbox_id: sandbox.0.clone() };
    let stats = host.runtime.pod_sandbox_stats(stats).await.expect("known").into_inner().stats;
    let linux = stats.and_then(|stats| stats.linux).expect("for Linux");
    assert_eq!(
        linux.network.and_then(|network| network.default_interface).map(|eth| eth.name).as_deref(),
        Some("eth0")
    );
    assert_eq!(linux.containers.len(), 1);
    let stop = cri::StopPodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
    host.runtime.stop_pod_sandbox(stop.clone()).await.expect("stopped");
    host.runtime.stop_pod_sandbox(stop).await.expect("stopped already");
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerExited);
    let status = host.runtime.pod_sandbox_status(request.clone()).await.expect("known").into_inner().status;
    assert_eq!(status.map(|status| status.state()), Some(PodSandboxState::SandboxNotready));
    let remove = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
    host.runtime.remove_pod_sandbox(remove.clone()).await.expect("removed");
    host.runtime.remove_pod_sandbox(remove).await.expect("removed already");
    let err = host.runtime.pod_sandbox_status(request).await.expect_err("it is gone");
    assert_eq!(err.code(), cri::Code::NotFound);
    let containers = host.runtime.list_containers(cri::ListContainersRequest { filter: None }).await.expect("listed");
    assert!(containers.into_inner().containers.is_empty());
}

#[tokio::test]
async fn a_shared_pid_namespace_shows_the_other_containers() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.12.0/24")).await;
    host.import_busybox().await;
    let config = pod(&host, "shared", |options| options.pid = NamespaceMode::Pod.into());
    let sandbox = (host.run_sandbox(&config).await.expect("made"), config);
    // The first process ends and leaves one behind, which must end too.
    let first = host
        .run(
            &sandbox,
            container(&sandbox.1, "first", "sleep 4321 & echo up; while ! test -e /end; do sleep 0.02; done"),
        )
        .await;
    host.log_with("first", "up").await;
    let second = host.run(&sandbox, container(&sandbox.1, "second", "sleep 1000")).await;
    let (processes, ..) = host.exec(&second, &["/bin/ps"]).await;
    assert!(processes.contains("sleep 4321") && processes.contains("pause-init"), "{processes}");
    // What keeps the namespace may do nothing, and sees nothing of the machine.
    let (status, ..) = host.exec(&second, &["/bin/cat", "/proc/1/status", "/proc/1/cgroup"]).await;
    let has = |line: &str| status.lines().any(|found| found.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    for line in [
        "Uid: 65535 65535 65535 65535",
        "Gid: 65535 65535 65535 65535",
        "Groups:",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
    ] {
        assert!(has(line), "{line}: {status}");
    }
    assert!(status.contains(&format!("/{}", sandbox.0)), "its own cgroup: {status}");
    let pid = host.instance().run_dir().join("runtime/sandboxes").join(&sandbox.0).join("pause.pid");
    let pid = std::fs::read_to_string(pid).expect("it is written down");
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", pid.trim())).expect("it runs");
    let [root] = mounts.lines().collect::<Vec<_>>()[..] else { panic!("one file system: {mounts}") };
    assert!(root.contains(" / ro,nosuid,nodev,noexec"), "{root}");
    host.exec(&first, &["/bin/touch", "/end"]).await;
    assert_eq!(host.exited(&first).await.exit_code, 0);
    let (processes, ..) = host.exec(&second, &["/bin/ps"]).await;
    assert!(!processes.contains("sleep 4321"), "{processes}");
    let target = cri::NamespaceMode::Target;
    let mut debug = container(&sandbox.1, "debug", "ps; echo end");
    let linux = debug.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("set");
    let options = linux.namespace_options.as_mut().expect("set");
    options.pid = target.into();
    options.target_id = second.clone();
    host.run(&sandbox, debug).await;
    assert!(host.log_with("debug", "end").await.contains("sleep 1000"));
}

#[tokio::test]
async fn events_tell_what_happens() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let mut events =
        host.runtime.get_container_events(cri::GetEventsRequest {}).await.expect("subscribed").into_inner();
    let sandbox = host.sandbox("events").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "true")).await;
    host.exited(&id).await;
    let remove = cri::RemoveContainerRequest { container_id: id.clone() };
    host.runtime.remove_container(remove).await.expect("removed");
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let event = tokio::time::timeout(Duration::from_secs(20), events.message()).await.expect("in time");
        let event = event.expect("no error").expect("an event");
        assert!(event.pod_sandbox_status.is_some() && event.created_at > 0);
        let whose = if event.container_id == id { "container" } else { "sandbox" };
        seen.push((whose, event.container_event_type().as_str_name()));
    }
    assert_eq!(
        seen,
        [
            ("sandbox", "CONTAINER_CREATED_EVENT"),
            ("sandbox", "CONTAINER_STARTED_EVENT"),
            ("container", "CONTAINER_CREATED_EVENT"),
            ("container", "CONTAINER_STARTED_EVENT"),
            ("container", "CONTAINER_STOPPED_EVENT"),
            ("container", "CONTAINER_DELETED_EVENT"),
        ]
    );
}

#[tokio::test]
async fn a_container_that_says_nothing_is_in_its_sandboxs_namespaces() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("says-nothing").await;
    let script = "busybox readlink /proc/self/ns/net; busybox readlink /proc/self/ns/uts; echo end";
    let mut config = container(&sandbox.1, "c", script);
    config.linux = None;
    host.run(&sandbox, config).await;
    let log = messages(&host.log_with("c", "end").await);
    let of_host = ["net", "uts"].map(|kind| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("it is there");
        format!("stdout F {}", link.display())
    });
    assert_eq!(log[..2], of_host);
}

#[tokio::test]
async fn the_resources_of_a_pod_are_noted() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    let (id, _) = host.sandbox("resized").await;
    let resources = cri::LinuxContainerResources { cpu_shares: 77, ..Default::default() };
    let request = cri::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: id.clone(),
        resources: Some(resources),
        overhead: None,
    };
    host.runtime.update_pod_sandbox_resources(request.clone()).await.expect("noted");
    host.kill();
    host.restart().await;
    let status = cri::PodSandboxStatusRequest { pod_sandbox_id: id, verbose: true };
    let info = host.runtime.pod_sandbox_status(status).await.expect("known").into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).expect("a document");
    assert_eq!(info["config"]["linux"]["resources"]["cpu_shares"], 77);
    let unknown = cri::UpdatePodSandboxResourcesRequest { pod_sandbox_id: "none".to_owned(), ..request };
    let err = host.runtime.update_pod_sandbox_resources(unknown).await.expect_err("there is none");
    assert_eq!(err.code(), cri::Code::NotFound);
}

#[tokio::test]
async fn metrics_have_the_labels_that_their_descriptors_name() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.14.0/24")).await;
    host.import_busybox().await;
    let config = pod(&host, "measured", |_| {});
    let sandbox = (host.run_sandbox(&config).await.expect("made"), config);
    let mut config =
        container(&sandbox.1, "c", "busybox dd if=/dev/zero of=/file bs=64k count=16; echo up; sleep 1000");
    let linux = config.linux.as_mut().expect("set");
    linux.resources = Some(cri::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    });
    let id = host.run(&sandbox, config).await;
    host.log_with("c", "up").await;
    let descriptors = host.runtime.list_metric_descriptors(cri::ListMetricDescriptorsRequest {}).await;
    let descriptors = descriptors.expect("answered").into_inner().descriptors;
    let pods = host.runtime.list_pod_sandbox_metrics(cri::ListPodSandboxMetricsRequest {}).await;
    let pods = pods.expect("answered").into_inner().pod_metrics;
    let [of_pod] = pods.as_slice() else { panic!("one pod, not {}", pods.len()) };
    let [of_container] = of_pod.container_metrics.as_slice() else { panic!("one container") };
    assert_eq!((&of_pod.pod_sandbox_id, &of_container.container_id), (&sandbox.0, &id));
    let all: Vec<&cri::Metric> = of_pod.metrics.iter().chain(&of_container.metrics).collect();
    for metric in &all {
        let descriptor = descriptors.iter().find(|descriptor| descriptor.name == metric.name);
        let keys = &descriptor.unwrap_or_else(|| panic!("{} is described", metric.name)).label_keys;
        assert_eq!(keys.len(), metric.label_values.len(), "{}", metric.name);
        let pod = keys.iter().position(|key| key == "pod").map(|at| metric.label_values[at].as_str());
        assert_eq!(pod, Some("measured"), "{}", metric.name);
    }
    // What the kernel counts only where it is built or asked to.
    let optional = |name: &str| {
        [
            "container_pressure_",
            "container_hugetlb_",
            "container_blkio_",
            "container_fs_reads",
            "container_fs_writes",
            "container_memory_kernel_",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    };
    for descriptor in descriptors.iter().filter(|descriptor| !optional(&descriptor.name)) {
        assert!(all.iter().any(|metric| metric.name == descriptor.name), "no {}", descriptor.name);
    }
    let value = |name: &str| {
        let metric = all.iter().find(|metric| metric.name == name).expect("it is there");
        metric.value.as_ref().map(|value| value.value).unwrap_or_default()
    };
    assert_eq!(value("container_spec_memory_limit_bytes"), 64 << 20);
    assert_eq!(value("container_spec_cpu_quota"), 50_000);
    assert!(value("container_processes") >= 1);
    assert!(value("container_fs_usage_bytes") >= 1 << 20);
    assert!(value("container_memory_usage_bytes") > 0 && value("container_last_seen") > 0);
}
