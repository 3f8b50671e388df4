//! A disk that is full: everything says so, nothing half made stays, and all goes on when there is room again.

use std::fs;
use std::path::{Path, PathBuf};

use cri::{ContainerState, PodSandboxConfig};

use crate::skip_without_privileges;
use crate::support::{Host, container, eventually, messages};

/// What a full disk says.
const FULL: &str = "No space left on device";

/// A small disk for the durable things of a runtime, in place of the big one.
struct Disk {
    place: PathBuf,
}

impl Disk {
    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: u64) {
        let left = || rustix::fs::statvfs(&self.place).map(|disk| disk.f_bavail * disk.f_frsize).expect("it tells");
        let size = left().saturating_sub(free);
        match fs::write(self.filler(), vec![1; usize::try_from(size).expect("it is small")]) {
            // Somebody else was faster.
            Err(err) if err.kind() == std::io::ErrorKind::StorageFull => {}
            written => written.expect("it can be written"),
        }
    }

    /// Makes room again.
    fn clear(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.place, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
    }
}

/// A runtime whose data directory is a disk of 24 MB.
async fn start() -> (Host, Disk) {
    let dir = crate::support::new_dir();
    let place = dir.path().join("data");
    fs::create_dir(&place).expect("made");
    rustix::mount::mount("small", &place, "tmpfs", rustix::mount::MountFlags::empty(), c"size=24m").expect("mounted");
    let host = Host::start_in(dir, Vec::new()).await;
    host.import_busybox().await;
    (host, Disk { place })
}

/// All files and directories of the runtime; of those of all containers only what is in it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("listed").flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(files(&path));
        }
        // What is kept of archives that were preloaded is written at some time after the start.
        let is_kept = path.to_string_lossy().contains("preloaded.json");
        if !path.ends_with("runtime/containers") && !is_kept {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn what_finds_no_room_says_so_and_leaves_nothing() {
    skip_without_privileges!();
    let (mut host, disk) = start().await;
    let sandbox = host.sandbox("stays").await;
    let archive = host.path("localhost_busybox_test.tar");
    let before = files(&host.path("data/runtime"));
    disk.fill(0);

    let config = crate::support::sandbox_config(host.dir(), "new");
    let err = host.run_sandbox(&config).await.expect_err("there is no room for its record");
    assert!(err.message().contains(FULL) && err.message().contains("data/runtime"), "{err}");
    let err = host.create(&sandbox, container(&sandbox.1, "c", "true")).await.expect_err("no room");
    assert!(err.message().contains(FULL) && err.message().contains("data/runtime"), "{err}");
    let images = skiff_runtime::Images::new(&host.path("run/cri.sock"));
    let file = tokio::fs::File::open(&archive).await.expect("it exists");
    let err = images.import(file, Some("localhost/other:1")).await.expect_err("no room");
    assert!(err.to_string().contains(FULL), "{err}");
    assert_eq!(files(&host.path("data/runtime")), before);

    // A runtime starts on such a disk, and takes up what is there.
    host.kill();
    host.restart().await;
    disk.clear();
    let id = host.run(&sandbox, container(&sandbox.1, "c", "true")).await;
    assert_eq!(host.exited(&id).await.exit_code, 0);
    host.run_sandbox(&config).await.expect("there is room again");
}

#[tokio::test]
async fn what_runs_goes_on_and_its_end_is_known() {
    skip_without_privileges!();
    let (mut host, disk) = start().await;
    let sandbox = sandbox_with_logs(&mut host, "data/log").await;
    let gate = host.path("gate");
    fs::create_dir(&gate).expect("made");
    let script = "n=0; while ! test -e /gate/end; do n=$((n+1)); echo number $n and some more words; done; exit 7";
    let mut config = container(&sandbox.1, "c", script);
    config.mounts = vec![cri::Mount {
        container_path: "/gate".to_owned(),
        host_path: gate.display().to_string(),
        ..Default::default()
    }];
    let id = host.run(&sandbox, config).await;
    let log = host.path("data/log/c.log");
    eventually("some lines", || (fs::metadata(&log).ok()?.len() > 10_000).then_some(())).await;
    disk.fill(64 << 10);
    let full = || rustix::fs::statvfs(&disk.place).is_ok_and(|disk| disk.f_bavail == 0).then_some(());
    eventually("the log has filled the disk", full).await;
    // It is not held up by its log.
    assert_eq!(host.exec(&id, &["/bin/echo", "here"]).await.0, "here\n");
    disk.clear();
    let size = fs::metadata(&log).expect("it is there").len();
    eventually("lines after that", || (fs::metadata(&log).ok()?.len() > size + 10_000).then_some(())).await;

    disk.fill(0);
    eventually("the disk is full again", full).await;
    fs::write(gate.join("end"), "").expect("written");
    assert_eq!(host.exited(&id).await.exit_code, 7);
    host.kill();
    host.restart().await;
    let status = host.status(&id).await;
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 7));
    let lines = messages(&fs::read_to_string(&log).expect("readable"));
    for line in &lines {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(matches!(words[..], ["stdout", "F", "number", _, "and", "some", "more", "words"]), "{line:?}");
    }

    // What makes room needs none.
    let request = cri::StopPodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
    host.runtime.stop_pod_sandbox(request).await.expect("stopped");
    host.kill();
    host.restart().await;
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.0.clone(), verbose: false };
    let status = host.runtime.pod_sandbox_status(request).await.expect("it is known").into_inner().status;
    assert_eq!(status.expect("a status").state(), cri::PodSandboxState::SandboxNotready);
    let request = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
    host.runtime.remove_pod_sandbox(request).await.expect("removed");
    assert!(!files(&host.path("data/runtime")).iter().any(|path| path.ends_with(&sandbox.0) || path.ends_with(&id)));
}

/// A pod whose logs are on the small disk.
async fn sandbox_with_logs(host: &mut Host, logs: &str) -> (String, PodSandboxConfig) {
    let mut config = crate::support::sandbox_config(host.dir(), "logs");
    config.log_directory = host.path(logs).display().to_string();
    let id = host.run_sandbox(&config).await.expect("the sandbox is made");
    (id, config)
}
