//! A runtime of its own for each test: a process that can be killed, a client, and images made of busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::Instance;
use cri::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ImageClient, ImageSpec, KeyValue,
    LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, RuntimeClient,
};
use rustix::process::Pid;
use skiff_runtime::image::archive::{ImageOptions, build};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub const IMAGE: &str = "localhost/busybox:test";

/// Why privileged tests cannot run here, if they cannot.
pub fn obstacle() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    (!Path::new("/usr/bin/busybox").exists()).then_some("no /usr/bin/busybox (Debian: busybox-static)")
}

/// Tells on standard error that a test was skipped.
#[macro_export]
macro_rules! skip_without_privileges {
    () => {
        if let Some(obstacle) = $crate::support::obstacle() {
            eprintln!("SKIPPED: {obstacle}");
            return;
        }
    };
}

/// A running runtime.
pub struct Host {
    dir: tempfile::TempDir,
    settings: Vec<String>,
    process: Option<Child>,
    pub runtime: RuntimeClient,
    pub images: ImageClient,
}

impl Host {
    /// Starts a runtime in directories of its own.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts a runtime with a pod network of these addresses.
    pub async fn start_with(pod_cidr: Option<&'static str>) -> Self {
        let settings = pod_cidr.map(|pod_cidr| format!("pod-cidr={pod_cidr}"));
        Self::start_in(new_dir(), settings.into_iter().collect()).await
    }

    /// Starts a runtime that knows other OCI runtimes by their names.
    pub async fn start_with_handlers(handlers: &[(&str, PathBuf)]) -> Self {
        let setting = |(name, program): &(&str, PathBuf)| format!("handler={name}:{}", program.display());
        Self::start_in(new_dir(), handlers.iter().map(setting).collect()).await
    }

    /// Starts a runtime that finds descriptions of devices in `cdi` of its directory.
    pub async fn start_with_cdi() -> Self {
        let dir = new_dir();
        let cdi = dir.path().join("cdi");
        fs::create_dir(&cdi).expect("made");
        Self::start_in(dir, vec![format!("cdi={}", cdi.display())]).await
    }

    /// Starts a runtime in this directory.
    pub async fn start_in(dir: tempfile::TempDir, settings: Vec<String>) -> Self {
        let (process, (runtime, images)) = launch(dir.path(), &settings).await;
        Self { dir, settings, process: Some(process), runtime, images }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn instance(&self) -> Instance {
        instance(self.dir.path())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Kills the runtime with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it can be reaped");
        }
    }

    /// Starts the runtime that was killed.
    pub async fn restart(&mut self) {
        let (process, (runtime, images)) = launch(self.dir.path(), &self.settings).await;
        self.process = Some(process);
        self.runtime = runtime;
        self.images = images;
    }

    /// Imports an image whose root is busybox.
    pub async fn import(&self, name: &str, options: ImageOptions) -> Vec<skiff_runtime::ImageInfo> {
        self.import_changed(name, options, |_| {}).await
    }

    /// Imports an image whose root is busybox with what `change` does to it.
    pub async fn import_changed(
        &self,
        name: &str,
        options: ImageOptions,
        change: impl FnOnce(&Path),
    ) -> Vec<skiff_runtime::ImageInfo> {
        let archive = changed_archive(self.dir.path(), name, &options, change);
        let file = tokio::fs::File::open(archive).await.expect("the archive exists");
        skiff_runtime::Images::new(&socket(self.dir.path())).import(file, None).await.expect("the archive is imported")
    }

    /// Imports the usual image.
    pub async fn import_busybox(&self) {
        self.import(IMAGE, ImageOptions { cmd: strings(&["/bin/sh"]), ..Default::default() }).await;
    }

    /// Makes a pod in the machine's network.
    pub async fn sandbox(&mut self, name: &str) -> (String, PodSandboxConfig) {
        let config = sandbox_config(self.dir.path(), name);
        let id = self.run_sandbox(&config).await.expect("the sandbox is made");
        (id, config)
    }

    /// The same in which containers may be privileged.
    pub async fn privileged_sandbox(&mut self, name: &str) -> (String, PodSandboxConfig) {
        let mut config = sandbox_config(self.dir.path(), name);
        allow_privileged(&mut config);
        let id = self.run_sandbox(&config).await.expect("the sandbox is made");
        (id, config)
    }

    pub async fn run_sandbox(&mut self, config: &PodSandboxConfig) -> Result<String, cri::Status> {
        let request = cri::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// Makes a container, without starting it.
    pub async fn create(
        &mut self,
        sandbox: &(String, PodSandboxConfig),
        config: ContainerConfig,
    ) -> Result<String, cri::Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.0.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox.1.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    pub async fn start_container(&mut self, id: &str) -> Result<(), cri::Status> {
        self.runtime.start_container(cri::StartContainerRequest { container_id: id.to_owned() }).await.map(drop)
    }

    /// Makes and starts a container.
    pub async fn run(&mut self, sandbox: &(String, PodSandboxConfig), config: ContainerConfig) -> String {
        let id = self.create(sandbox, config).await.expect("the container is made");
        self.start_container(&id).await.expect("the container is started");
        id
    }

    pub async fn status(&mut self, id: &str) -> ContainerStatus {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let response = self.runtime.container_status(request).await.expect("the container is known");
        response.into_inner().status.expect("a status")
    }

    /// Waits until the container has exited.
    pub async fn exited(&mut self, id: &str) -> ContainerStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut ticks = ticks();
        loop {
            let status = self.status(id).await;
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            assert!(Instant::now() < deadline, "the container does not exit: {status:?}");
            ticks.tick().await;
        }
    }

    /// Waits until a log holds `text`; the whole log.
    pub async fn log_with(&self, container: &str, text: &str) -> String {
        let path = log_dir(self.dir.path()).join(format!("{container}.log"));
        eventually(&format!("{text:?} in the log"), || {
            let log = fs::read_to_string(&path).unwrap_or_default();
            log.contains(text).then_some(log)
        })
        .await
    }

    pub async fn exec(&mut self, id: &str, cmd: &[&str]) -> (String, String, i32) {
        let response = self.exec_sync(id, cmd, 20).await.expect("the command runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(response.stdout), text(response.stderr), response.exit_code)
    }

    pub async fn exec_sync(
        &mut self,
        id: &str,
        cmd: &[&str],
        timeout: i64,
    ) -> Result<cri::ExecSyncResponse, cri::Status> {
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: strings(cmd), timeout };
        Ok(self.runtime.exec_sync(request).await?.into_inner())
    }

    pub async fn stop(&mut self, id: &str, timeout: i64) {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        self.runtime.stop_container(request).await.expect("the container stops");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        // A failing test must leave nothing behind either; what cannot be removed is shown by the test of cleanup.
        if let Err(err) = skiff_runtime::cleanup(&self.instance(), true) {
            eprintln!("cannot clean up: {err}");
        }
        if self.settings.iter().any(|setting| setting.starts_with("pod-cidr="))
            && let Err(err) = network::cleanup(&self.instance(), &[])
        {
            eprintln!("cannot clean up the network: {err}");
        }
    }
}

fn instance(dir: &Path) -> Instance {
    Instance::new(dir.join("data"), dir.join("run"))
}

fn socket(dir: &Path) -> PathBuf {
    skiff_runtime::Config::default_socket(&instance(dir))
}

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// An empty directory.
pub fn new_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("skiff-rt-").tempdir().expect("a temporary directory")
}

async fn launch(dir: &Path, settings: &[String]) -> (Child, (RuntimeClient, ImageClient)) {
    let process = Command::new(env!("CARGO_BIN_EXE_skiff-runtime"))
        .arg("serve")
        .args([dir.join("data"), dir.join("run")])
        .args(settings)
        .stdin(Stdio::null())
        .spawn()
        .expect("the runtime starts");
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = ticks();
    loop {
        match cri::connect(&socket(dir)).await {
            Ok(clients) => return (process, clients),
            Err(err) => assert!(Instant::now() < deadline, "{err}"),
        }
        ticks.tick().await;
    }
}

/// When a condition is looked at again.
fn ticks() -> tokio::time::Interval {
    tokio::time::interval(Duration::from_millis(10))
}

/// Waits until `check` gives something.
pub async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = ticks();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        ticks.tick().await;
    }
}

pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// An archive with busybox, under a file name of the image's.
pub fn archive(dir: &Path, name: &str, options: &ImageOptions) -> PathBuf {
    changed_archive(dir, name, options, |_| {})
}

/// The same with what `change` does to the root.
pub fn changed_archive(dir: &Path, name: &str, options: &ImageOptions, change: impl FnOnce(&Path)) -> PathBuf {
    let rootfs = tempfile::tempdir_in(dir).expect("a temporary directory");
    fs::set_permissions(rootfs.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir(rootfs.path().join(dir)).expect("made");
    }
    fs::copy("/usr/bin/busybox", rootfs.path().join("bin/busybox")).expect("copied");
    for applet in [
        "sh", "cat", "echo", "sleep", "id", "ls", "true", "false", "kill", "stty", "head", "dd", "env", "hostname",
        "nc", "touch", "yes", "tail", "mount", "grep", "ps", "rm",
    ] {
        symlink("busybox", rootfs.path().join("bin").join(applet)).expect("linked");
    }
    fs::write(rootfs.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n")
        .expect("written");
    fs::write(rootfs.path().join("etc/group"), "root:x:0:\nweb:x:34:\nextra:x:50:web\n").expect("written");
    change(rootfs.path());
    let path = dir.join(format!("{}.tar", name.replace(['/', ':'], "_")));
    build(rootfs.path(), name, options, fs::File::create(&path).expect("created")).expect("built");
    path
}

/// A pod in the machine's network, for which no pod network is needed.
pub fn sandbox_config(dir: &Path, name: &str) -> PodSandboxConfig {
    let options = NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
        ..Default::default()
    };
    let context = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: log_dir(dir).display().to_string(),
        linux: Some(LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() }),
        ..Default::default()
    }
}

/// Lets containers of the pod be privileged.
pub fn allow_privileged(config: &mut PodSandboxConfig) {
    config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
}

/// A container of the pod that runs a shell script.
pub fn container(sandbox: &PodSandboxConfig, name: &str, script: &str) -> ContainerConfig {
    let linux = sandbox.linux.clone().unwrap_or_default();
    let options = linux.security_context.and_then(|context| context.namespace_options);
    let context = LinuxContainerSecurityContext { namespace_options: options, ..Default::default() };
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

/// The messages of a log in CRI's format, without times: stream, tag and text.
pub fn messages(log: &str) -> Vec<String> {
    log.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| rest.to_owned()).collect()
}

/// The processes that were started as the shim of a container.
pub fn shims(id: &str) -> Vec<Pid> {
    processes_with(|words| words.get(1) == Some(&"shim") && words.get(3).is_some_and(|bundle| bundle.ends_with(id)))
}

/// The processes of a script.
pub fn processes(script: &str) -> Vec<Pid> {
    processes_with(|words| words.get(1) == Some(&script))
}

fn processes_with(is_it: impl Fn(&[&str]) -> bool) -> Vec<Pid> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is a /proc").flatten() {
        let cmdline = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if is_it(&cmdline.split('\0').collect::<Vec<_>>())
            && let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
        {
            pids.extend(Pid::from_raw(pid));
        }
    }
    pids
}

/// Kills the shim of a container.
pub fn kill_shims(id: &str) {
    for pid in shims(id) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }
}
