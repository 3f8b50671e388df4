//! A whole kubelet against an API in memory and a runtime in memory: what a pod goes through, seen from both sides.

mod bus;
mod configuration;
mod devices;
mod fake_cri;
mod fake_csi;
mod figures;
mod lifecycle;
mod manifests;
mod pressure;
mod served;
mod shutdown;
mod systemd;
mod volumes;
mod web_server;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{DrainTrigger, Env, Instance, Tasks};
use edge::ConnectionLimits;
use fake_cri::FakeRuntime;
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, ExecAction, Lifecycle, LifecycleHandler, Node, NodeCondition, Pod,
    PodStatus, Probe, Secret, Volume, VolumeMount,
};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use skiff_kubelet::{CgroupDriver, Config, ConfigurationSources, EvictionSettings, Kubelet};
use tempfile::TempDir;
use testkit::{Maker, MemoryApi, object, pod};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const DEADLINE: Duration = Duration::from_secs(60);

/// A kubelet that runs, and both sides of it.
struct Stage {
    api: MemoryApi,
    client: kube::Client,
    runtime: FakeRuntime,
    dir: TempDir,
    authority: pki::Authority,
    port: u16,
    connections: ConnectionLimits,
    configure: fn(&mut Config),
    configuration: ConfigurationSources,
    /// The bus of logind, and the directory of its configuration.
    bus: Option<(String, PathBuf)>,
    /// Its clock and its random numbers, over restarts.
    env: Env,
    kubelet: Option<(DrainTrigger, Tasks)>,
    _runtime: (DrainTrigger, Tasks),
}

impl Stage {
    async fn new(images: &[&str]) -> Self {
        Self::with(images, |_| {}).await
    }

    /// One whose kubelet is told something else.
    async fn with(images: &[&str], configure: fn(&mut Config)) -> Self {
        Self::within(tempfile::tempdir().expect("a directory"), images, configure).await
    }

    /// One in a directory that is there.
    async fn within(dir: TempDir, images: &[&str], configure: fn(&mut Config)) -> Self {
        let runtime = FakeRuntime::new(images);
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        let socket = dir.path().join("run/cri.sock");
        let served = runtime.clone();
        tasks.spawn("runtime", async move { served.serve(&socket, drain).await });
        let api = MemoryApi::new();
        api.allow_group("operators");
        let client = api.client();
        let authority = pki::Authority::load_or_create(&dir.path().join("pki"), "test", &Env::system()).expect("made");
        let (connections, _runtime) = (ConnectionLimits::default(), (trigger, tasks));
        let (port, kubelet, configuration) = (0, None, ConfigurationSources::default());
        let mut stage = Self {
            api,
            client,
            runtime,
            dir,
            authority,
            port,
            connections,
            configure,
            configuration,
            bus: None,
            env: Env::simulated(Env::system().now(), 1),
            kubelet,
            _runtime,
        };
        stage.start();
        // The controller that gives nodes their pods' addresses.
        let nodes: Api<Node> = Api::all(stage.client.clone());
        stage.until("the node", async || nodes.get_opt("n1").await.expect("answered")).await;
        let cidr = json!({"spec": {"podCIDR": "10.42.0.0/24"}});
        nodes.patch("n1", &PatchParams::default(), &Patch::Merge(cidr)).await.expect("patched");
        stage
    }

    fn start(&mut self) {
        let instance = Instance::new(self.dir.path().join("data"), self.dir.path().join("run"));
        let issued = self.authority.issue(&pki::IssueRequest {
            common_name: "system:node:n1".to_owned(),
            organizations: Vec::new(),
            dns_names: vec!["n1".to_owned()],
            ips: vec![IpAddr::from([127, 0, 0, 1])],
            usage: pki::Usage::Server,
            validity: Duration::from_secs(3600),
        });
        let issued = issued.expect("issued");
        let serving = Arc::new(pki::Presenter::new(&issued).expect("a certificate with its key"));
        let ca = self.authority.trust();
        let mut config = Config::new("n1", vec![IpAddr::from([127, 0, 0, 1])], instance, serving, ca);
        config.configure(self.configuration.load().expect("a configuration"));
        config.cri_socket = self.dir.path().join("run/cri.sock");
        config.pod_logs_dir = self.dir.path().join("logs");
        config.static_pod_path = Some(self.manifests());
        config.bind_address = IpAddr::from([127, 0, 0, 1]);
        config.port = 0;
        config.program_dirs.insert(0, self.dir.path().join("programs"));
        config.connections = self.connections.clone();
        // How full the disk of the machine is does not matter here, nor whether it swaps.
        config.eviction = EvictionSettings::default();
        config.eviction.interval = Duration::from_millis(100);
        config.fail_swap_on = false;
        if let Some((bus, conf_dir)) = self.bus.clone() {
            (config.shutdown.bus, config.shutdown.logind_conf_dir) = (Some(bus), conf_dir);
        }
        (self.configure)(&mut config);
        let kubelet = Kubelet::build(config, self.client.clone(), self.env.clone()).expect("built");
        self.port = kubelet.port();
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        tasks.spawn_fallible("kubelet", async move { kubelet.run(drain).await });
        self.kubelet = Some((trigger, tasks));
    }

    /// Lets time pass for everything that is in this process.
    async fn pass(&self, time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    fn kubelet_dir(&self) -> PathBuf {
        self.dir.path().join("data/kubelet")
    }

    fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    /// Puts a manifest in place as a whole, or takes it away.
    fn manifest(&self, file: &str, text: Option<&str>) {
        let (path, draft) = (self.manifests().join(file), self.dir.path().join("draft"));
        match text {
            Some(text) => std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path)),
            None => std::fs::remove_file(path),
        }
        .expect("the directory can be changed");
    }

    /// Stops the kubelet; the runtime goes on.
    async fn stop(&mut self) {
        let (trigger, tasks) = self.kubelet.take().expect("it runs");
        trigger.drain();
        let failures = tasks.shutdown(DEADLINE).await;
        assert!(failures.is_empty(), "{failures:?}");
    }

    /// What the kubelet's server answers to a client of a group: status line and headers, then the body.
    async fn get(&self, path: &str, group: &str) -> (String, String) {
        self.ask("GET", path, group).await
    }

    /// The same for any method, without a body.
    async fn ask(&self, method: &str, path: &str, group: &str) -> (String, String) {
        let issued = self.authority.issue(&pki::IssueRequest {
            common_name: "somebody".to_owned(),
            organizations: vec![group.to_owned()],
            dns_names: Vec::new(),
            ips: Vec::new(),
            usage: pki::Usage::Client,
            validity: Duration::from_secs(3600),
        });
        let mut stream = self.connect(Some(&issued.expect("issued"))).await.expect("a handshake");
        let end = "Host: n1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let request = format!("{method} {path} HTTP/1.1\r\n{end}");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // The end may come without TLS saying so.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.to_owned(), body.to_owned())
    }

    /// A connection with the kubelet's server, with or without a certificate.
    async fn connect(&self, shown: Option<&pki::KeyPairPem>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificates().remove(0)).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain.expect("certificates"), key).expect("a certificate")
            }
        };
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("n1").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create(&self, maker: Maker<Pod>) -> Pod {
        let pod = maker.node("n1").build();
        self.pods().create(&PostParams::default(), &pod).await.expect("created")
    }

    async fn until<T>(&self, what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
        match testkit::poll_async(DEADLINE, condition).await {
            Some(found) => found,
            None => panic!(
                "timed out waiting for {what}; runtime: {:?}; pods: {:#?}",
                self.runtime.calls(),
                self.pods().list(&kube::api::ListParams::default()).await.map(|list| list.items)
            ),
        }
    }

    async fn status(&self, name: &str) -> PodStatus {
        self.pods().get_opt(name).await.expect("answered").and_then(|pod| pod.status).unwrap_or_default()
    }

    async fn until_phase(&self, name: &str, phase: &str) -> PodStatus {
        self.until(phase, async || {
            Some(self.status(name).await).filter(|status| status.phase.as_deref() == Some(phase))
        })
        .await
    }

    /// Waits until the kubelet shows a line of figures.
    async fn until_metric(&self, line: &str) {
        let shows = async || {
            let (_, body) = self.get("/metrics", "operators").await;
            body.lines().any(|one| one == line).then_some(())
        };
        self.until(line, shows).await;
    }

    async fn until_waiting(&self, name: &str, reason: &str) -> String {
        let waiting = async || {
            let status = self.status(name).await;
            let states = status.container_statuses.into_iter().flatten().filter_map(|status| status.state);
            let mut waiting = states.filter_map(|state| state.waiting);
            waiting.find(|waiting| waiting.reason.as_deref() == Some(reason)).map(|w| w.message.unwrap_or_default())
        };
        self.until(reason, waiting).await
    }

    async fn delete(&self, name: &str) {
        // The API server sets this and waits for the kubelet; a finalizer keeps the simple one from removing the pod.
        let patch = json!({"metadata": {
            "deletionTimestamp": "2023-11-14T22:13:20Z", "deletionGracePeriodSeconds": 7, "finalizers": ["test/keep"],
        }});
        self.pods().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nothing may make what is removed here anew.
        self.kubelet = None;
        let name = Instance::new(self.dir.path().join("data"), self.dir.path().join("run")).name();
        for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            let Some(point) = line.split(' ').nth(4).map(Path::new) else { continue };
            if point.starts_with(self.dir.path()) {
                let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
            }
            if line.contains(" - cgroup") {
                remove_cgroup(&point.join(&name));
                remove_cgroup(&point.join(CgroupDriver::Systemd.path(&[&name]).trim_start_matches('/')));
            }
        }
    }
}

fn remove_cgroup(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}

fn web() -> Maker<Pod> {
    pod("web").container("a", "image:1")
}

fn first(pod: &mut Pod) -> &mut Container {
    &mut pod.spec.as_mut().expect("there").containers[0]
}

#[tokio::test]
async fn the_node_registers_and_becomes_ready_with_a_heartbeat() {
    let mut stage = Stage::new(&["image:1"]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let ready = async || {
        let node = nodes.get("n1").await.ok()?;
        let conditions = node.status.clone()?.conditions?;
        conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(node)
    };
    let node = stage.until("a ready node", ready).await;
    let (status, profile) = (node.status.expect("a status"), stage.runtime.profile());
    assert_eq!(node.metadata.labels.expect("labels")["kubernetes.io/hostname"], "n1");
    let attached_by = "volumes.kubernetes.io/controller-managed-attach-detach";
    assert_eq!(node.metadata.annotations.expect("annotations")[attached_by], "true");
    assert_eq!(status.capacity.as_ref().expect("capacity")["pods"].0, "110");
    assert_eq!(
        status.node_info.expect("facts").container_runtime_version,
        format!("{}://{}", profile.name(), profile.version())
    );
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), "kube-node-lease");
    let lease = stage.until("a lease", async || leases.get_opt("n1").await.expect("answered")).await;
    assert_eq!(lease.spec.expect("there").holder_identity.as_deref(), Some("n1"));

    // The kubelet is started anew: it goes on with what it said before.
    stage.stop().await;
    let long_ago = json!("2023-11-14T22:13:20Z");
    let mut conditions = json!(status.conditions);
    for condition in conditions.as_array_mut().expect("a list") {
        condition["lastHeartbeatTime"] = long_ago.clone();
        condition["lastTransitionTime"] = long_ago.clone();
    }
    let body = Patch::Strategic(json!({"status": {"conditions": conditions}}));
    nodes.patch_status("n1", &PatchParams::default(), &body).await.expect("patched");
    let bare = json!({"metadata": {"annotations": {attached_by: null}}});
    nodes.patch("n1", &PatchParams::default(), &Patch::Merge(bare)).await.expect("patched");
    stage.start();
    let heard = async || {
        let conditions = nodes.get("n1").await.ok()?.status?.conditions?;
        let is_new = |c: &NodeCondition| json!(c.last_heartbeat_time) != long_ago;
        conditions.iter().all(is_new).then_some(conditions)
    };
    for condition in stage.until("another heartbeat", heard).await {
        assert_eq!(json!(condition.last_transition_time), long_ago, "{condition:?}");
    }
    let annotations = nodes.get("n1").await.expect("there").metadata.annotations.unwrap_or_default();
    assert_eq!(annotations.get(attached_by).map(String::as_str), Some("true"));
}

#[tokio::test]
async fn a_node_that_was_given_up_says_at_once_that_it_is_ready() {
    let stage = Stage::new(&["image:1"]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let ready = async || {
        let conditions = nodes.get("n1").await.ok()?.status?.conditions?;
        conditions.into_iter().find(|c| c.type_ == "Ready" && c.status == "True")
    };
    stage.until("a ready node", ready).await;
    // What the node's lifecycle controller writes when it has heard nothing for long.
    let lost = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
    let body = Patch::Strategic(json!({"status": {"conditions": [lost]}}));
    nodes.patch_status("n1", &PatchParams::default(), &body).await.expect("patched");
    assert_eq!(stage.until("a ready node", ready).await.reason.as_deref(), Some("KubeletReady"));
}

#[tokio::test]
async fn a_node_without_images_has_none_in_its_status() {
    let mut stage = Stage::new(&["image:1"]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let images = async || nodes.get("n1").await.ok()?.status.map(|status| status.images.unwrap_or_default());
    stage.until("an image", async || images().await.filter(|images| !images.is_empty())).await;
    stage.stop().await;
    stage.runtime.lose_images();
    stage.start();
    stage.until("no image", async || images().await.filter(Vec::is_empty)).await;
}

#[tokio::test]
async fn a_node_that_is_cordoned_or_was_started_anew_is_told_of() {
    let mut stage = Stage::new(&["image:1"]).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    for (cordoned, reason) in [(true, "NodeNotSchedulable"), (false, "NodeSchedulable")] {
        let body = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
        nodes.patch("n1", &PatchParams::default(), &body).await.expect("patched");
        stage.until_event(reason, &format!("Node n1 status is now: {reason}")).await;
    }
    stage.stop().await;
    let body = Patch::Merge(json!({"status": {"nodeInfo": {"bootID": "an-earlier-one"}}}));
    nodes.patch_status("n1", &PatchParams::default(), &body).await.expect("patched");
    stage.start();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("readable");
    stage.until_event("Rebooted", &format!("Node n1 has been rebooted, boot id: {}", boot.trim())).await;
    let info = async || nodes.get("n1").await.ok()?.status?.node_info.filter(|info| info.boot_id == boot.trim());
    stage.until("the machine's boot", info).await;
}

const STATIC: &str =
    "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, image: \"image:1\"}]}}";

#[tokio::test]
async fn a_static_pod_runs_as_its_manifest_says_and_shows_a_mirror() {
    let mut stage = Stage::new(&["image:1", "image:2"]).await;
    stage.manifest("web.yaml", Some(STATIC));
    let status = stage.until_phase("web-n1", "Running").await;
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.9"));
    let first = stage.pods().get("web-n1").await.expect("a mirror");
    let owner = first.metadata.owner_references.iter().flatten().next().expect("an owner");
    assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.controller), ("Node", "n1", Some(true)));
    let annotations = first.metadata.annotations.clone().expect("annotations");
    assert_eq!(annotations["kubernetes.io/config.mirror"], annotations["kubernetes.io/config.hash"]);
    let (_, list) = stage.get("/pods", "operators").await;
    assert_eq!(list.matches("\"name\":\"web-n1\"").count(), 1, "{list}");

    // Whoever deletes the mirror does not stop the pod.
    stage.delete("web-n1").await;
    let free = json!({"metadata": {"finalizers": null}});
    stage.pods().patch("web-n1", &PatchParams::default(), &Patch::Merge(free)).await.expect("patched");
    let again = async || {
        let mirror = stage.pods().get_opt("web-n1").await.expect("answered")?;
        let runs = mirror.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        (mirror.metadata.uid != first.metadata.uid && runs).then_some(mirror)
    };
    let second = stage.until("another mirror", again).await;
    let sandboxes = |stage: &Stage| stage.runtime.calls().iter().filter(|call| *call == "RunPodSandbox").count();
    assert_eq!(sandboxes(&stage), 1);

    // A manifest that cannot be used changes nothing; another kubelet finds the pod that runs.
    stage.manifest("web.yaml", Some("{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: 7}}"));
    stage.stop().await;
    stage.manifest("web.yaml", Some(STATIC));
    stage.start();
    stage.manifest("web.yaml", Some(&STATIC.replace("image:1", "image:2")));
    let changed = async || {
        let mirror = stage.pods().get_opt("web-n1").await.expect("answered")?;
        let image = &mirror.spec.as_ref()?.containers[0].image;
        let runs = mirror.status.as_ref()?.phase.as_deref() == Some("Running");
        (image.as_deref() == Some("image:2") && runs).then_some(mirror)
    };
    let third = stage.until("the new version", changed).await;
    assert_ne!(third.metadata.uid, second.metadata.uid);
    // A kubelet that finds the new version at its start does not wait for the old one to end.
    stage.until("the old version's end", async || (stage.runtime.sandboxes() == 1).then_some(())).await;
    assert_eq!(sandboxes(&stage), 2);

    stage.manifest("web.yaml", None);
    stage.until("removal", async || (stage.runtime.sandboxes() == 0).then_some(())).await;
    let gone = async || stage.pods().get_opt("web-n1").await.expect("answered").is_none().then_some(());
    stage.until("the mirror's end", gone).await;
    assert_eq!(sandboxes(&stage), 2, "what its mirror showed while it stopped did not start it again");
}

#[tokio::test]
async fn what_an_absent_manifest_left_behind_goes() {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.manifest("web.yaml", Some(STATIC));
    stage.until_phase("web-n1", "Running").await;
    stage.stop().await;
    stage.manifest("web.yaml", None);
    stage.start();
    stage.until("removal", async || (stage.runtime.sandboxes() == 0).then_some(())).await;
    let gone = async || stage.pods().get_opt("web-n1").await.expect("answered").is_none().then_some(());
    stage.until("the mirror's end", gone).await;
}

#[tokio::test]
async fn a_missing_image_is_pulled_again_and_again() {
    let stage = Stage::new(&[]).await;
    stage.create(web()).await;
    let message = stage.until_waiting("web", "ErrImagePull").await;
    assert!(message.contains("no registry has image:1"), "{message}");
    stage.until_waiting("web", "ImagePullBackOff").await;
    stage.runtime.add_image("image:1");
    stage.until_phase("web", "Running").await;
}

#[tokio::test]
async fn a_config_map_is_waited_for_mounted_and_kept_up_to_date() {
    let stage = Stage::new(&["image:1"]).await;
    let source = ConfigMapVolumeSource { name: "map".into(), ..ConfigMapVolumeSource::default() };
    let volume = Volume { name: "v".into(), config_map: Some(source), ..Volume::default() };
    let maker = web().with(|pod| {
        pod.spec.as_mut().expect("there").volumes = Some(vec![volume]);
        let mount = VolumeMount { name: "v".into(), mount_path: "/v".into(), ..VolumeMount::default() };
        first(pod).volume_mounts = Some(vec![mount]);
    });
    stage.create(maker).await;
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "default");
    let map = object::<ConfigMap>("default/map").with(|map| map.data = Some([("k".into(), "1".into())].into()));
    maps.create(&PostParams::default(), &map.build()).await.expect("created");
    stage.until_phase("web", "Running").await;
    let config = stage.runtime.config("a").expect("made");
    let mount = config.mounts.iter().find(|mount| mount.container_path == "/v").expect("mounted").clone();
    assert!(mount.readonly);
    let file = Path::new(&mount.host_path).join("k");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "1");
    let patch = json!({"data": {"k": "2"}});
    maps.patch("map", &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    stage.until("an update", async || (std::fs::read_to_string(&file).ok()? == "2").then_some(())).await;
}

#[tokio::test]
async fn a_restarted_kubelet_adopts_what_runs_and_removes_what_is_gone() {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.create(pod("other").container("b", "image:1")).await;
    stage.until_phase("web", "Running").await;
    stage.until_phase("other", "Running").await;
    stage.stop().await;
    assert_eq!(stage.runtime.running(), ["a", "b"]);
    stage.pods().delete("other", &kube::api::DeleteParams::default()).await.expect("deleted");
    let calls = stage.runtime.calls().len();
    stage.start();
    stage.until("removal", async || (stage.runtime.sandboxes() == 1).then_some(())).await;
    assert_eq!(stage.runtime.running(), ["a"]);
    let since = stage.runtime.calls().split_off(calls);
    assert!(!since.iter().any(|call| call.starts_with("StartContainer")), "{since:?}");
}

#[tokio::test]
async fn the_server_gives_logs_to_those_alone_who_may_use_the_nodes_proxy() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let (head, body) = stage.get("/containerLogs/default/web/a", "operators").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("hello from a\n"), "{head} {body}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let (head, body) = stage.get("/containerLogs/default/web/a?previous=true", "operators").await;
    assert!(head.starts_with("HTTP/1.1 400") && body.contains("previous terminated container"), "{head} {body}");
    let (head, _) = stage.get("/containerLogs/default/web/a", "developers").await;
    assert!(head.starts_with("HTTP/1.1 403") && head.contains("x-content-type-options: nosniff"), "{head}");
}

#[tokio::test]
async fn an_image_that_credentials_brought_is_not_for_pods_without_them() {
    let stage = Stage::new(&[]).await;
    stage.runtime.publish("r.io/team/app:1");
    let auths = json!({"auths": {"r.io": {"username": "u", "password": "p"}}});
    let secret = json!({
        "metadata": {"name": "key", "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths.to_string()},
    });
    let mut secret: Secret = serde_json::from_value(secret).expect("a secret");
    // What the API server does.
    let data = secret.string_data.take().expect("there").into_iter();
    secret.data = Some(data.map(|(key, text)| (key, ByteString(text.into_bytes()))).collect());
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), "default");
    secrets.create(&PostParams::default(), &secret).await.expect("created");
    let with_key = pod("owner").container("a", "r.io/team/app:1").with(|pod| {
        let key = json!([{"name": "key"}]);
        pod.spec.as_mut().expect("there").image_pull_secrets = serde_json::from_value(key).expect("a reference");
    });
    stage.create(with_key).await;
    stage.until_phase("owner", "Running").await;
    stage.create(pod("stranger").container("b", "r.io/team/app:1")).await;
    let message = stage.until_waiting("stranger", "ErrImagePull").await;
    assert!(message.contains("r.io/team/app:1 is not for everybody"), "{message}");
}

/// Waits until the server has ended a connection on which it says nothing.
async fn ended(mut connection: impl AsyncRead + Unpin) {
    let mut said = Vec::new();
    // A connection that is reset has ended too.
    let _ = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut said)).await.expect("the server ends it");
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{said:?}");
}

#[tokio::test]
async fn nobody_holds_up_the_server_by_what_he_does_not_do() {
    let mut stage = Stage::new(&[]).await;
    stage.stop().await;
    let short = Duration::from_millis(200);
    stage.connections = ConnectionLimits { handshake: short, ..ConnectionLimits::default() };
    stage.start();
    ended(TcpStream::connect(("127.0.0.1", stage.port)).await.expect("it listens")).await;
    stage.stop().await;
    stage.connections = ConnectionLimits { head: short, connections: 4, ..ConnectionLimits::default() };
    stage.start();
    ended(stage.connect(None).await.expect("a stranger may shake hands")).await;
    let held = [(); 4].map(|()| std::net::TcpStream::connect(("127.0.0.1", stage.port)).expect("it listens"));
    // There is no room for more of the same.
    ended(TcpStream::connect(("127.0.0.1", stage.port)).await.expect("it listens")).await;
    drop(held);
    let served = async || stage.connect(None).await.ok();
    stage.until("a place", served).await;
}

#[tokio::test]
async fn a_pod_that_does_not_fit_is_refused() {
    let stage = Stage::new(&["image:1"]).await;
    let check = async |name: &str, change: &dyn Fn(Maker<Pod>) -> Maker<Pod>, reason: &str, message: &str| {
        stage.create(change(pod(name).container("a", "image:1"))).await;
        let status = stage.until_phase(name, "Failed").await;
        assert_eq!(status.reason.as_deref(), Some(reason), "{name}");
        let told = status.message.expect("a message");
        assert!(told.starts_with(&format!("Pod was rejected: {message}")), "{told}");
    };
    let short = "Node didn't have enough resource: cpu, requested: 1000000, used: 0, capacity: ";
    check("large", &|pod| pod.requests(&[("cpu", "1000")]), "OutOfcpu", short).await;
    let selected = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    check("elsewhere", &|pod| pod.node_selector("disk", "ssd"), "NodeAffinity", selected).await;
    let strict = |maker: Maker<Pod>| {
        maker.with(|pod| {
            let context = pod.spec.get_or_insert_default().security_context.get_or_insert_default();
            context.supplemental_groups_policy = Some("Strict".to_owned());
        })
    };
    let groups = "SupplementalGroupsPolicy=Strict is not supported in this node";
    check("strict", &strict, "SupplementalGroupsPolicyNotSupported", groups).await;
    // The node may come to be one for the pod just before the pod comes.
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let label = json!({"metadata": {"labels": {"disk": "ssd"}}});
    nodes.patch("n1", &PatchParams::default(), &Patch::Merge(label)).await.expect("patched");
    stage.create(pod("here").container("a", "image:1").node_selector("disk", "ssd")).await;
    stage.until_phase("here", "Running").await;
}
