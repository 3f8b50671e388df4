//! Requests that say as little as those of the CRI project's validation suite, whose names the tests' data has: what is
//! left out has its default, and what is unknown is already stopped and removed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cri::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatsFilter, ImageSpec, LinuxContainerConfig,
    LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxFilter, PodSandboxMetadata, PodSandboxState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::skip_without_privileges;
use crate::spdy_streams;
use crate::support::{Host, IMAGE, strings};

/// A pod and its configuration.
pub type Sandbox = (String, PodSandboxConfig);

/// A pod of which only its names are said.
pub fn pod(name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("cri-test-uid-{name}"),
            namespace: "cri-test-namespace".to_owned(),
            attempt: 2,
        }),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..Default::default()
    }
}

/// A container of which only its name and its command are said.
pub fn container(name: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 2 }),
        image: Some(ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: strings(command),
        linux: Some(LinuxContainerConfig::default()),
        ..Default::default()
    }
}

pub async fn run(host: &mut Host, config: PodSandboxConfig) -> Sandbox {
    (host.run_sandbox(&config).await.expect("the sandbox is made"), config)
}

async fn sandbox_state(host: &mut Host, id: &str) -> PodSandboxState {
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    host.runtime.pod_sandbox_status(request).await.expect("known").into_inner().status.expect("a status").state()
}

async fn pods(host: &mut Host, filter: PodSandboxFilter) -> Vec<cri::PodSandbox> {
    let request = cri::ListPodSandboxRequest { filter: Some(filter) };
    host.runtime.list_pod_sandbox(request).await.expect("listed").into_inner().items
}

async fn containers(host: &mut Host, id: &str) -> usize {
    let filter = cri::ContainerFilter { id: id.to_owned(), ..Default::default() };
    let request = cri::ListContainersRequest { filter: Some(filter) };
    host.runtime.list_containers(request).await.expect("listed").into_inner().containers.len()
}

async fn stats(host: &mut Host, filter: Option<ContainerStatsFilter>) -> Vec<String> {
    let request = cri::ListContainerStatsRequest { filter };
    let stats = host.runtime.list_container_stats(request).await.expect("answered").into_inner().stats;
    stats.into_iter().filter_map(|stats| Some(stats.attributes?.id)).collect()
}

#[tokio::test]
async fn containers_that_say_nothing_run_stop_and_go() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.20.0/24")).await;
    host.import_busybox().await;
    let sandbox = run(&mut host, pod("sparse")).await;
    for (name, starts, stops) in [("created", false, false), ("running", true, false), ("stopped", true, true)] {
        let id = host.create(&sandbox, container(name, &["sh", "-c", "busybox top"])).await.expect("made");
        assert_eq!(
            (containers(&mut host, &id).await, host.status(&id).await.state()),
            (1, ContainerState::ContainerCreated)
        );
        if starts {
            host.start_container(&id).await.expect("started");
            assert_eq!(host.status(&id).await.state(), ContainerState::ContainerRunning, "{name}");
        }
        if stops {
            host.stop(&id, 60).await;
            let status = host.status(&id).await;
            // It is asked, not killed.
            assert_eq!((status.state(), status.exit_code == 137), (ContainerState::ContainerExited, false), "{name}");
        }
        for _ in 0..2 {
            let request = cri::RemoveContainerRequest { container_id: id.clone() };
            host.runtime.remove_container(request).await.expect("removed");
        }
        assert_eq!(containers(&mut host, &id).await, 0, "{name}");
    }
    let mut config = container("measured", &["busybox", "top"]);
    config.labels = HashMap::from([("foo".to_owned(), "bar".to_owned())]);
    let id = host.run(&sandbox, config).await;
    assert_eq!(host.exec(&id, &["echo", "-n", "hello"]).await, ("hello".to_owned(), String::new(), 0));
    let other = host.run(&sandbox, container("other", &["busybox", "top"])).await;
    let of_one = cri::ContainerStatsRequest { container_id: id.clone() };
    let of_one = host.runtime.container_stats(of_one).await.expect("answered").into_inner().stats.expect("stats");
    let attributes = of_one.attributes.expect("attributes");
    assert_eq!((attributes.id.as_str(), attributes.metadata.map(|names| names.attempt)), (id.as_str(), Some(2)));
    assert!(of_one.cpu.is_some_and(|cpu| cpu.timestamp > 0) && of_one.memory.is_some_and(|one| one.timestamp > 0));
    let labelled = |value: &str| {
        let selector = HashMap::from([("foo".to_owned(), value.to_owned())]);
        Some(ContainerStatsFilter { label_selector: selector, ..Default::default() })
    };
    let all = stats(&mut host, None).await;
    assert!(all.contains(&id) && all.contains(&other), "{all:?}");
    let by_id = ContainerStatsFilter { id: other.clone(), ..Default::default() };
    assert_eq!(stats(&mut host, Some(by_id)).await, [other]);
    assert_eq!(stats(&mut host, labelled("bar")).await, [id]);
    assert!(stats(&mut host, labelled("baz")).await.is_empty());
}

#[tokio::test]
async fn pods_keep_what_they_were_given_and_what_is_unknown_is_gone_already() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.21.0/24")).await;
    let mut config = pod("keeps");
    let map = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    config.labels = map(&[("foo", "bar"), ("io.kubernetes.pod.name", "keeps")]);
    config.annotations = map(&[("abc", "def")]);
    let (id, config) = run(&mut host, config).await;
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    let status = host.runtime.pod_sandbox_status(request).await.expect("known").into_inner().status.expect("a status");
    let [item] = &pods(&mut host, PodSandboxFilter { id: id.clone(), ..Default::default() }).await[..] else {
        panic!("one pod")
    };
    for (metadata, labels, annotations) in
        [(&status.metadata, &status.labels, &status.annotations), (&item.metadata, &item.labels, &item.annotations)]
    {
        assert_eq!((metadata, labels, annotations), (&config.metadata, &config.labels, &config.annotations));
    }
    assert!(status.created_at > 0 && item.created_at == status.created_at);
    let of_state = |state: PodSandboxState| PodSandboxFilter {
        state: Some(cri::PodSandboxStateValue { state: state.into() }),
        label_selector: map(&[("foo", "bar")]),
        ..Default::default()
    };
    assert_eq!(pods(&mut host, of_state(PodSandboxState::SandboxReady)).await.len(), 1);
    assert!(
        pods(&mut host, PodSandboxFilter { id: "non-existent-id".to_owned(), ..Default::default() }).await.is_empty()
    );
    // Measured although nothing runs in them.
    let filter = cri::PodSandboxStatsFilter { id: id.clone(), ..Default::default() };
    let request = cri::ListPodSandboxStatsRequest { filter: Some(filter) };
    assert_eq!(host.runtime.list_pod_sandbox_stats(request).await.expect("answered").into_inner().stats.len(), 1);
    let metrics = host.runtime.list_pod_sandbox_metrics(cri::ListPodSandboxMetricsRequest {}).await;
    assert_eq!(metrics.expect("answered").into_inner().pod_metrics[0].pod_sandbox_id, id);
    let unknown = "6f1e8f0e-8c2c-4a39-9d2c-3d7f1c0a9b11".to_owned();
    for id in [&id, &id, &unknown] {
        host.runtime
            .stop_pod_sandbox(cri::StopPodSandboxRequest { pod_sandbox_id: id.clone() })
            .await
            .expect("stopped");
    }
    assert_eq!(sandbox_state(&mut host, &id).await, PodSandboxState::SandboxNotready);
    assert!(pods(&mut host, of_state(PodSandboxState::SandboxReady)).await.is_empty());
    for id in [&id, &id, &unknown] {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
        host.runtime.remove_pod_sandbox(request).await.expect("removed");
    }
    assert!(pods(&mut host, PodSandboxFilter::default()).await.is_empty());
    host.stop(&unknown, 0).await;
    host.runtime.remove_container(cri::RemoveContainerRequest { container_id: unknown }).await.expect("removed");
    for _ in 0..2 {
        let image = Some(ImageSpec { image: "0".repeat(64), ..Default::default() });
        host.images.remove_image(cri::RemoveImageRequest { image }).await.expect("removed");
    }
}

/// The first line of what a web server answers, without its version.
async fn status_line(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> String {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer.lines().next().and_then(|line| line.split_once(' ')).map(|(_, status)| status.to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn pods_are_reached_by_their_addresses_host_ports_and_forwarded_ports() {
    skip_without_privileges!();
    const HOST_PORT: u16 = 12907;
    let mut host = Host::start_with(Some("10.207.22.0/24")).await;
    host.import_busybox().await;
    let mut config = pod("network");
    config.hostname = "test-hostname".to_owned();
    config.dns_config = Some(cri::DnsConfig {
        servers: strings(&["10.10.10.10"]),
        searches: strings(&["google.com"]),
        options: strings(&["ndots:8"]),
    });
    // The first without a port of the host, the second with one.
    config.port_mappings = [0, HOST_PORT]
        .map(|port| cri::PortMapping { container_port: 80, host_port: port.into(), ..Default::default() })
        .to_vec();
    let mut linux = LinuxPodSandboxConfig::default();
    let sysctls = [("kernel.shm_rmid_forced", "1"), ("fs.mqueue.msg_max", "100")];
    linux.sysctls = sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config.linux = Some(linux);
    let sandbox = run(&mut host, config).await;
    let script = "echo hi > /tmp/index.html; busybox httpd -p 80 -h /tmp && echo up; exec busybox top";
    let id = host.run(&sandbox, container("server", &["sh", "-c", script])).await;
    for (command, expected) in [
        (&["hostname"][..], "test-hostname\n"),
        (&["cat", "/etc/resolv.conf"], "search google.com\nnameserver 10.10.10.10\noptions ndots:8\n"),
        (&["cat", "/proc/sys/kernel/shm_rmid_forced"], "1\n"),
        (&["cat", "/proc/sys/fs/mqueue/msg_max"], "100\n"),
    ] {
        assert_eq!(host.exec(&id, command).await, (expected.to_owned(), String::new(), 0));
    }
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.0.clone(), verbose: false };
    let status = host.runtime.pod_sandbox_status(request).await.expect("known").into_inner().status;
    let ip = status.and_then(|status| status.network).expect("a network").ip;
    for address in [format!("{ip}:80"), format!("127.0.0.1:{HOST_PORT}")] {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let mut stream = loop {
            ticks.tick().await;
            match TcpStream::connect(&address).await {
                Ok(stream) => break stream,
                Err(err) => assert!(Instant::now() < deadline, "{address}: {err}"),
            }
        };
        assert_eq!(status_line(&mut stream).await, "200 OK", "{address}");
    }
    let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.0.clone(), port: Vec::new() };
    let url = host.runtime.port_forward(request).await.expect("an address").into_inner().url;
    let (connection, _) = spdy_streams::connect(&url, &["portforward.k8s.io"]).await.expect("switched");
    let headers = |kind| [("streamType", kind), ("port", "80"), ("requestID", "0")];
    let mut error = spdy_streams::open(&connection, &headers("error")).await;
    error.shutdown().await.expect("finished");
    let mut data = spdy_streams::open(&connection, &headers("data")).await;
    assert_eq!(status_line(&mut data).await, "200 OK");
}

#[tokio::test]
async fn containers_without_a_part_for_linux_log_and_have_volumes() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.31.0/24")).await;
    host.import_busybox().await;
    let logs = host.path("logs");
    let mut config = pod("logs");
    config.log_directory = logs.display().to_string();
    config.linux.as_mut().expect("set").security_context =
        Some(cri::LinuxSandboxSecurityContext { privileged: true, ..Default::default() });
    let sandbox = run(&mut host, config).await;
    let mut config = container("c", &["echo", "hello World"]);
    (config.linux, config.log_path) = (None, "c.log".to_owned());
    let id = host.run(&sandbox, config).await;
    let status = host.exited(&id).await;
    let path = logs.join("c.log");
    assert_eq!((status.log_path, status.reason.as_str()), (path.display().to_string(), "Completed"));
    let log = std::fs::read_to_string(&path).expect("a log");
    let [time, stream, tag, text] = log.trim_end().splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{log:?}") };
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!((stream, tag, text), ("stdout", "F", "hello World"));
    // A volume, by its own name and by a link to it.
    let (volume, link) = (host.path("volume"), host.path("link"));
    std::fs::create_dir(&volume).expect("made");
    std::fs::write(volume.join("testVolume.file"), "").expect("written");
    std::os::unix::fs::symlink(&volume, &link).expect("linked");
    for (name, path) in [("directory", &volume), ("link", &link)] {
        let path = path.display().to_string();
        let mut config = container(name, &["busybox", "top"]);
        config.linux = None;
        let mount = cri::Mount {
            host_path: path.clone(),
            container_path: path.clone(),
            selinux_relabel: true,
            ..Default::default()
        };
        config.mounts = vec![mount.clone()];
        let id = host.run(&sandbox, config).await;
        assert_eq!(host.exec(&id, &["ls", "-A", &path]).await.0, "testVolume.file\n", "{name}");
        assert_eq!(host.status(&id).await.mounts, [mount], "{name}");
    }
    let mut config = container("eats", &["sh", "-c", "busybox dd if=/dev/zero of=/dev/null bs=20M"]);
    let limit = 15 << 20;
    config.linux.as_mut().expect("set").resources = Some(cri::LinuxContainerResources {
        memory_limit_in_bytes: limit,
        memory_swap_limit_in_bytes: limit,
        ..Default::default()
    });
    let id = host.run(&sandbox, config).await;
    let status = host.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
}
