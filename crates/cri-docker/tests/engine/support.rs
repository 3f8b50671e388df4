//! A machine with Docker Engine, and an adapter that can be ended and started again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::Env;
use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use cni::Invoker;
use cri::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ImageClient, ImageSpec, KeyValue,
    LinuxContainerConfig, LinuxContainerSecurityContext, PodSandboxConfig, PodSandboxMetadata, RuntimeClient,
};
use futures::TryStreamExt;
use serde_json::json;
use skiff_cri_docker::{Adapter, Config};
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image of the tests.
pub const IMAGE: &str = "localhost/busybox:test";

/// The programs that must be there.
const PROGRAMS: [&str; 4] = ["/usr/sbin/dockerd", "/usr/lib/cni/bridge", "/usr/bin/docker-registry", "/bin/busybox"];

/// Why the tests cannot run here, if they cannot.
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    PROGRAMS.iter().find(|program| !Path::new(program).exists()).map(|program| format!("no {program}"))
}

/// Moves this thread, and those that it starts, into a network namespace that goes with them.
pub fn enter_namespace() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.expect("ip is installed").success());
}

/// Docker Engine and an adapter to it.
pub struct Machine {
    dir: tempfile::TempDir,
    dockerd: Child,
    pub docker: Docker,
    adapter: Option<JoinHandle<()>>,
    pub runtime: RuntimeClient,
    pub images: ImageClient,
}

impl Machine {
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("skiff-dock-").tempdir().expect("a temporary directory");
        let dockerd = start_dockerd(dir.path());
        let socket = dir.path().join("docker.sock");
        eventually("Docker Engine", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
        let version = bollard::API_DEFAULT_VERSION;
        let docker = Docker::connect_with_unix(&socket.to_string_lossy(), 120, version).expect("the socket is there");
        let docker = docker.negotiate_version().await.expect("it answers");
        configure_network(dir.path());
        let (adapter, (runtime, images)) = start_adapter(dir.path()).await;
        let machine = Self { dir, dockerd, docker, adapter: Some(adapter), runtime, images };
        machine.import_busybox().await;
        machine
    }

    /// Ends the adapter as a crash would.
    pub async fn kill_adapter(&mut self) {
        if let Some(adapter) = self.adapter.take() {
            adapter.abort();
            // It was broken off.
            let _ = adapter.await;
        }
    }

    /// Starts another one.
    pub async fn start_adapter(&mut self) {
        let (adapter, (runtime, images)) = start_adapter(self.dir.path()).await;
        self.adapter = Some(adapter);
        (self.runtime, self.images) = (runtime, images);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Removes all pods and ends Docker Engine.
    pub async fn stop(mut self) {
        for pod in self
            .runtime
            .list_pod_sandbox(cri::ListPodSandboxRequest::default())
            .await
            .expect("listed")
            .into_inner()
            .items
        {
            self.remove_pod(&pod.id).await;
        }
        self.kill_adapter().await;
    }

    pub async fn import_busybox(&self) {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_path_with_name("/bin/busybox", "bin/busybox").expect("busybox-static is installed");
        let accounts = [("etc/passwd", "web:x:1000:100::/:\n"), ("etc/group", "users:x:100:\nextra:x:60:web\n")];
        for (path, text) in accounts {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, path, text.as_bytes()).expect("memory can be written");
        }
        for applet in ["sh", "cat", "echo", "sleep", "id", "ps", "hostname", "touch", "true", "ls", "grep", "ip"] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("memory can be written");
        }
        let archive = archive.into_inner().expect("memory can be written");
        let (repository, tag) = IMAGE.rsplit_once(':').expect("it has a tag");
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).build();
        let imported = self.docker.create_image(Some(options), Some(bollard::body_full(archive.into())), None);
        imported.try_collect::<Vec<_>>().await.expect("imported");
    }

    pub async fn run_pod(&mut self, config: &PodSandboxConfig) -> String {
        let request = cri::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        self.runtime.run_pod_sandbox(request).await.expect("the pod runs").into_inner().pod_sandbox_id
    }

    pub async fn remove_pod(&mut self, id: &str) {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime.stop_pod_sandbox(request).await.expect("the pod stops");
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.runtime.remove_pod_sandbox(request).await.expect("the pod is removed");
    }

    pub async fn create(
        &mut self,
        pod: (&str, &PodSandboxConfig),
        config: ContainerConfig,
    ) -> Result<String, cri::Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.0.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod.1.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    pub async fn start_container(&mut self, id: &str) -> Result<(), cri::Status> {
        self.runtime.start_container(cri::StartContainerRequest { container_id: id.to_owned() }).await.map(drop)
    }

    /// Makes a container and starts it.
    pub async fn run(&mut self, pod: (&str, &PodSandboxConfig), config: ContainerConfig) -> String {
        let id = self.create(pod, config).await.expect("the container is made");
        self.start_container(&id).await.expect("the container starts");
        id
    }

    pub async fn status(&mut self, id: &str) -> ContainerStatus {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        self.runtime.container_status(request).await.expect("it is known").into_inner().status.expect("a status")
    }

    pub async fn ended(&mut self, id: &str) -> ContainerStatus {
        let runtime = self.runtime.clone();
        let status = async || {
            let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
            let status = runtime.clone().container_status(request).await.ok()?.into_inner().status?;
            (status.state() == ContainerState::ContainerExited).then_some(status)
        };
        eventually("the end of a container", status).await
    }

    pub async fn exec(&mut self, id: &str, script: &str) -> (String, i32) {
        let cmd = strings(&["/bin/sh", "-c", script]);
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 30 };
        let answer = self.runtime.exec_sync(request).await.expect("it runs").into_inner();
        let (stdout, stderr) = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        (format!("{}{}", stdout.trim_end(), stderr.trim_end()), answer.exit_code)
    }

    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.path(&format!("log/{name}")).display().to_string(),
            labels: HashMap::from([("pod".to_owned(), name.to_owned())]),
            ..Default::default()
        }
    }

    pub fn log(&self, pod: &str, container: &str) -> String {
        fs::read_to_string(self.path(&format!("log/{pod}/{container}.log"))).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("dockerd.log")).unwrap_or_default();
            let all: Vec<&str> = log.lines().collect();
            eprintln!("{}", all[all.len().saturating_sub(20)..].join("\n"));
        }
        // It ends its containers, and its containerd.
        let pid = nix::unistd::Pid::from_raw(self.dockerd.id().try_into().expect("process ids fit"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.dockerd.wait();
    }
}

fn start_dockerd(dir: &Path) -> Child {
    let path = |name: &str| dir.join(name).display().to_string();
    let log = fs::File::create(dir.join("dockerd.log")).expect("written");
    let mut command = Command::new("/usr/sbin/dockerd");
    command.args(["--host", &format!("unix://{}", path("docker.sock"))]);
    command.args(["--data-root", &path("root"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
    // It connects no containers, and has no say over the machine's packets.
    command.args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]);
    command.args(["--oom-score-adjust", "0", "--shutdown-timeout", "1"]);
    command.stdin(Stdio::null()).stderr(log.try_clone().expect("a file can be cloned")).stdout(log);
    command.spawn().expect("dockerd starts")
}

fn configure_network(dir: &Path) {
    let ipam = json!({"type": "host-local", "subnet": "10.78.0.0/24", "dataDir": dir.join("ipam")});
    let bridge = json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam});
    let list = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]});
    fs::create_dir(dir.join("net.d")).expect("a directory");
    fs::write(dir.join("net.d/10-pods.conflist"), list.to_string()).expect("written");
}

async fn start_adapter(dir: &Path) -> (JoinHandle<()>, (RuntimeClient, ImageClient)) {
    let socket = dir.join("cri.sock");
    let config = Config {
        socket: socket.clone(),
        docker_endpoint: dir.join("docker.sock"),
        pod_infra_container_image: None,
        cni: Invoker {
            conf_dir: dir.join("net.d"),
            bin_dirs: vec!["/usr/lib/cni".into()],
            cache_dir: dir.join("cni-cache"),
        },
        stream_idle_timeout: Duration::from_secs(600),
        env: Env::system(),
    };
    let adapter = Adapter::build(config).await.expect("the adapter starts");
    let adapter = tokio::spawn(async move {
        let (_trigger, drain) = base::drain();
        adapter.run(drain).await.expect("it serves");
    });
    (adapter, cri::connect(&socket).await.expect("the adapter listens"))
}

/// Waits until `check` gives something.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        ticks.tick().await;
    }
}

pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A container that runs a shell script.
pub fn container(name: &str, script: &str) -> ContainerConfig {
    let context = LinuxContainerSecurityContext {
        namespace_options: Some(cri::NamespaceOption {
            pid: cri::NamespaceMode::Container.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: strings(&["/bin/sh", "-c", script]),
        envs: vec![KeyValue { key: "COLOR".to_owned(), value: "blue".to_owned() }],
        log_path: format!("{name}.log"),
        linux: Some(LinuxContainerConfig { resources: None, security_context: Some(context) }),
        ..Default::default()
    }
}

/// The security context of a container.
pub fn context(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}
