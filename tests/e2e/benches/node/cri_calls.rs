//! A pod through CRI alone, without any network: a sandbox and one container, created and started.

use std::path::Path;
use std::time::{Duration, Instant};

use cri::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    RemovePodSandboxRequest, RunPodSandboxRequest, RuntimeClient, StartContainerRequest, StopPodSandboxRequest,
};
use skiff_e2e::{Machines, Process};
use tempfile::TempDir;

use crate::peer::{Figures, percentile};

/// How many are started, one after the other.
const TIMES: usize = 50;

/// Measures the built-in runtime as a process of its own.
pub fn of_runtime(figures: &mut Figures) {
    let machines = Machines::new("bencri");
    let dir = TempDir::with_prefix("skiff-bencri-").expect("a temporary directory can be made");
    let (data, run) = (dir.path().join("data"), dir.path().join("run"));
    let dirs = [Path::new("--data-dir"), &data, Path::new("--run-dir"), &run];
    let dirs = dirs.map(|argument| argument.to_string_lossy().into_owned());
    let arguments: Vec<String> = std::iter::once("runtime".to_owned()).chain(dirs.clone()).collect();
    let mut process = Process::start("runtime", machines.first(), &arguments, &dir.path().join("log"));
    let socket = run.join("cri.sock");
    testkit::until(Duration::from_secs(60), "the runtime", || {
        process.assert_running();
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    skiff_e2e::build_hello(&data, &run, "1", &[]);
    measure(&socket, figures);
    process.stop();
    let down = ["down", "--purge", "--write-kubeconfig", "/nonexistent"].map(str::to_owned);
    let down: Vec<String> = down.into_iter().chain(dirs).collect();
    Process::start("down", machines.first(), &down, &dir.path().join("down")).wait(Duration::from_secs(60));
}

/// Measures whoever serves the socket.
pub fn measure(socket: &Path, figures: &mut Figures) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut runtime, _) = cri::connect(socket).await.expect("it listens");
        let mut times = Vec::new();
        for number in 0..TIMES {
            let began = Instant::now();
            let sandbox = run(&mut runtime, number).await;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            let stop = StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() };
            runtime.stop_pod_sandbox(stop).await.expect("stopped");
            let remove = RemovePodSandboxRequest { pod_sandbox_id: sandbox };
            runtime.remove_pod_sandbox(remove).await.expect("removed");
        }
        figures.cost("cri-start-p50", percentile(times, 0.5), "ms");
    });
}

async fn run(runtime: &mut RuntimeClient, number: usize) -> String {
    let namespaces = NamespaceOption { network: NamespaceMode::Node.into(), ..NamespaceOption::default() };
    let security = LinuxSandboxSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
    let config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: format!("bench-{number}"),
            uid: format!("bench-{number}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        linux: Some(LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
        ..PodSandboxConfig::default()
    };
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    let sandbox = runtime.run_pod_sandbox(request).await.expect("a sandbox").into_inner().pod_sandbox_id;
    let container = ContainerConfig {
        metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: "skiff.local/hello:1".to_owned(), ..ImageSpec::default() }),
        command: vec!["sleep".to_owned(), "3600".to_owned()],
        ..ContainerConfig::default()
    };
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.clone(),
        config: Some(container),
        sandbox_config: Some(config),
    };
    let container_id = runtime.create_container(request).await.expect("a container").into_inner().container_id;
    runtime.start_container(StartContainerRequest { container_id }).await.expect("started");
    sandbox
}
