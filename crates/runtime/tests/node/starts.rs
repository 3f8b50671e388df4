//! Starts of containers that do not come to their end, and what is left of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cri::ContainerState;
use tokio::task::JoinHandle;

use crate::handlers::installed;
use crate::skip_without_privileges;
use crate::support::{Host, container, eventually, kill_shims, new_dir, processes, sandbox_config, shims};

/// An OCI runtime that waits in the middle until it is let on.
pub struct Gate(tempfile::TempDir);

/// It makes no container before. The first time it leaves a directory as one that was broken off would.
pub const BEFORE: &str = r#"#!/bin/sh
case " $* " in *" create "*)
    for id; do :; done
    test -e DIR/begun || mkdir -p "$2/$id"
    touch DIR/begun
    while ! test -e DIR/open; do sleep 0.02; done
    test -e DIR/broken || rmdir "$2/$id" 2>/dev/null
esac
exec runc "$@"
"#;

/// It has made the container by then, and fails after.
const AFTER: &str = r#"#!/bin/sh
case " $* " in *" create "*)
    runc "$@" || exit 1
    touch DIR/begun
    while ! test -e DIR/open; do sleep 0.02; done
    exit 9
    ;;
*" delete "*)
    exit 1
esac
exec runc "$@"
"#;

impl Gate {
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let script = script.replace("DIR", &dir.path().display().to_string());
        std::fs::write(dir.path().join("runtime"), script).expect("written");
        let can_run = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path().join("runtime"), can_run).expect("it can be run");
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn make(&self, name: &str) {
        std::fs::write(self.path(name), "").expect("written");
    }

    /// A host, a container in it, and the call that starts it, which has begun.
    pub async fn begin(&self, script: &str) -> (Host, String, JoinHandle<Result<(), cri::Status>>) {
        self.begin_with(script, &[]).await
    }

    async fn begin_with(&self, script: &str, settings: &[&str]) -> (Host, String, JoinHandle<Result<(), cri::Status>>) {
        let handler = format!("handler=gate:{}", self.path("runtime").display());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).chain([handler]).collect();
        let mut host = Host::start_in(new_dir(), settings).await;
        host.import_busybox().await;
        let config = sandbox_config(host.dir(), "midst");
        let request = cri::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: "gate".to_owned() };
        let sandbox = host.runtime.run_pod_sandbox(request).await.expect("made").into_inner().pod_sandbox_id;
        let sandbox = (sandbox, config);
        let id = host.create(&sandbox, container(&sandbox.1, "c", script)).await.expect("made");
        let (mut runtime, container_id) = (host.runtime.clone(), id.clone());
        let starting = tokio::spawn(async move {
            runtime.start_container(cri::StartContainerRequest { container_id }).await.map(drop)
        });
        eventually("the start to begin", || self.path("begun").exists().then_some(())).await;
        (host, id, starting)
    }
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_given_up() {
    skip_without_privileges!();
    if installed("runc").is_none() {
        return;
    }
    let gate = Gate::new(BEFORE);
    let (mut host, id, starting) = gate.begin_with("exit 7", &["start-timeout=1"]).await;
    let err = starting.await.expect("it ends").expect_err("nobody lets it on");
    assert!(err.message().contains("it was not started within 1s"), "{err}");
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerCreated);
    assert_eq!(left(&host, &id), Vec::<PathBuf>::new());
    assert!(shims(&id).is_empty());
    gate.make("open");
    host.start_container(&id).await.expect("started");
    assert_eq!(host.exited(&id).await.exit_code, 7);
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing() {
    skip_without_privileges!();
    if installed("runc").is_none() {
        return;
    }
    let gate = Gate::new(AFTER);
    let (mut host, id, starting) = gate.begin("exit 7").await;
    assert!(!left(&host, &id).is_empty());
    gate.make("open");
    let err = starting.await.expect("it ends").expect_err("it says so");
    assert!(err.message().contains("exit status: 9"), "{err}");
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerExited);
    assert_eq!(left(&host, &id), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_start_that_was_broken_off_leaves_nothing_behind_a_restart() {
    skip_without_privileges!();
    if installed("runc").is_none() {
        return;
    }
    for is_shim_killed_first in [true, false] {
        let gate = Gate::new(AFTER);
        let (mut host, id, starting) = gate.begin("exit 7").await;
        host.kill();
        starting.await.expect("it ends").expect_err("the runtime is gone");
        let script = gate.path("runtime").display().to_string();
        if is_shim_killed_first {
            kill_shims(&id);
            eventually("the OCI runtime to end", || processes(&script).is_empty().then_some(())).await;
            assert!(!left(&host, &id).is_empty());
            host.restart().await;
        } else {
            host.restart().await;
            kill_shims(&id);
        }
        eventually("all to be gone", || left(&host, &id).is_empty().then_some(())).await;
        assert_eq!(host.status(&id).await.state(), ContainerState::ContainerCreated);
    }
}

#[tokio::test]
async fn who_stops_a_container_that_is_being_started_waits_for_that() {
    skip_without_privileges!();
    if installed("runc").is_none() {
        return;
    }
    let gate = Gate::new(BEFORE);
    let (mut host, id, starting) = gate.begin("exec sleep 1000").await;
    let (mut runtime, container_id) = (host.runtime.clone(), id.clone());
    let stopping = tokio::spawn(async move {
        runtime.stop_container(cri::StopContainerRequest { container_id, timeout: 0 }).await.map(drop)
    });
    // Whichever of both is first, by this answer the other is likely to have been taken up.
    host.status(&id).await;
    gate.make("open");
    starting.await.expect("it ends").expect("started");
    stopping.await.expect("it ends").expect("stopped");
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerExited);
}

/// The cgroups of a container, and what an OCI runtime keeps of it.
fn left(host: &Host, id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let controllers = std::fs::read_dir("/sys/fs/cgroup").expect("readable").flatten().map(|entry| entry.path());
    for root in controllers.chain([PathBuf::from("/sys/fs/cgroup")]) {
        collect(&root.join(host.instance().name()), id, &mut found);
    }
    let state = host.path("run/runtime/containers").join(id).join("state");
    found.extend(state.exists().then_some(state));
    found
}

fn collect(dir: &Path, id: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name() == id {
            found.push(entry.path());
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), id, found);
        }
    }
}
