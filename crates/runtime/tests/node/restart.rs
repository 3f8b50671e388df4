//! The runtime dies; containers do not.

use std::path::Path;

use cri::ContainerState;

use crate::handlers::installed;
use crate::skip_without_privileges;
use crate::starts::{BEFORE, Gate};
use crate::support::{Host, container, eventually, kill_shims, messages, processes, shims};

#[tokio::test]
async fn containers_outlive_a_killed_runtime() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("outlives").await;
    let script = "echo one; while ! test -e /go; do sleep 0.02; done; echo two; while ! test -e /end; do sleep 0.02; done; exit 5";
    let id = host.run(&sandbox, container(&sandbox.1, "c", script)).await;
    let created = host.create(&sandbox, container(&sandbox.1, "later", "echo late")).await.expect("made");
    host.log_with("c", "one").await;
    host.kill();
    host.restart().await;
    let status = host.status(&id).await;
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    host.exec(&id, &["/bin/touch", "/go"]).await;
    assert_eq!(messages(&host.log_with("c", "two").await), ["stdout F one", "stdout F two"]);
    // What was only created can be started by the next runtime.
    host.start_container(&created).await.expect("started");
    assert_eq!(host.exited(&created).await.exit_code, 0);
    // The new runtime sees the end of a container that the old one started.
    host.exec(&id, &["/bin/touch", "/end"]).await;
    assert_eq!(host.exited(&id).await.exit_code, 5);
}

#[tokio::test]
async fn an_end_without_a_runtime_is_found_later() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("unseen").await;
    let gate = host.path("gate");
    std::fs::create_dir(&gate).expect("made");
    let mut config = container(&sandbox.1, "c", "while ! test -e /gate/go; do sleep 0.02; done; echo bye; exit 6");
    config.mounts = vec![cri::Mount {
        container_path: "/gate".to_owned(),
        host_path: gate.display().to_string(),
        ..Default::default()
    }];
    let id = host.run(&sandbox, config).await;
    host.kill();
    std::fs::write(gate.join("go"), "").expect("written");
    host.log_with("c", "bye").await;
    let record = host.path("data/runtime/containers").join(&id).join("exit.json");
    eventually("the end is written down", || record.exists().then_some(())).await;
    host.restart().await;
    let status = host.status(&id).await;
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 6));
    assert_eq!(status.reason, "Error");
}

#[tokio::test]
async fn a_container_does_not_outlive_its_shim() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("shimless").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    kill_shims(&id);
    let status = host.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
}

#[tokio::test]
async fn cleanup_leaves_nothing() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("leftover").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let stopped = host.run(&sandbox, container(&sandbox.1, "stopped", "true")).await;
    host.exited(&stopped).await;
    assert!(!shims(&id).is_empty());
    host.kill();
    skiff_runtime::cleanup(&host.instance(), true).expect("all is removed");
    assert!(shims(&id).is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(&host.dir().display().to_string()), "{mounts}");
    for controller in std::fs::read_dir("/sys/fs/cgroup").expect("readable").flatten() {
        let rest = controller.path().join(host.instance().name());
        assert!(!rest.exists(), "{} is left", rest.display());
    }
    assert!(!host.path("run/runtime").exists() && !host.path("data/runtime").exists());
    assert!(!Path::new(&host.path("run/cri.sock")).exists());
}

#[tokio::test]
async fn a_container_whose_removal_was_broken_off_is_no_container_any_more() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("half").await;
    let id = host.create(&sandbox, container(&sandbox.1, "c", "true")).await.expect("made");
    let kept = host.path("run/runtime/containers").join(&id).join("kept");
    let file = std::fs::File::create(&kept).expect("created");
    if rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::IMMUTABLE).is_err() {
        eprintln!("skipped: this file system keeps no file from being removed");
        return;
    }
    let request = cri::RemoveContainerRequest { container_id: id.clone() };
    let removed = host.runtime.remove_container(request).await;
    host.kill();
    rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty()).expect("as before");
    removed.expect_err("a file stays");
    host.restart().await;
    let left = host.runtime.list_containers(cri::ListContainersRequest { filter: None }).await.expect("listed");
    assert!(left.into_inner().containers.is_empty());
    assert!(!kept.exists() && !host.path("data/runtime/containers").join(&id).exists());
}

#[tokio::test]
async fn a_container_that_is_being_started_keeps_no_runtime_from_starting() {
    skip_without_privileges!();
    if installed("runc").is_none() {
        return;
    }
    for (script, code) in [("exit 7", 7), ("trap 'exit 8' TERM; sleep 1000 & wait", 8)] {
        let gate = Gate::new(BEFORE);
        let (mut host, id, starting) = gate.begin(script).await;
        host.kill();
        starting.await.expect("it ends").expect_err("the runtime is gone");
        host.restart().await;
        assert_eq!(host.status(&id).await.state(), ContainerState::ContainerCreated);
        let (mut runtime, container_id) = (host.runtime.clone(), id.clone());
        // Who wants it started waits, and hears that it was.
        let again =
            tokio::spawn(async move { runtime.start_container(cri::StartContainerRequest { container_id }).await });
        gate.make("open");
        again.await.expect("it ends").expect_err("it has been started");
        if code == 8 {
            assert_eq!(host.status(&id).await.state(), ContainerState::ContainerRunning);
            host.stop(&id, 10).await;
        }
        assert_eq!(host.exited(&id).await.exit_code, code);
        eventually("the shim to leave", || shims(&id).is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_start_whose_shim_was_killed_can_be_begun_once_more() {
    skip_without_privileges!();
    if installed("runc").is_none() {
        return;
    }
    for is_runtime_killed in [false, true] {
        let gate = Gate::new(BEFORE);
        let (mut host, id, starting) = gate.begin("exit 7").await;
        gate.make("broken");
        if is_runtime_killed {
            host.kill();
        }
        kill_shims(&id);
        let script = gate.path("runtime").display().to_string();
        eventually("what the shim has started to end with it", || processes(&script).is_empty().then_some(())).await;
        starting.await.expect("it ends").expect_err("the shim is gone");
        if is_runtime_killed {
            host.restart().await;
        }
        gate.make("open");
        assert_eq!(host.status(&id).await.state(), ContainerState::ContainerCreated);
        host.start_container(&id).await.expect("started");
        assert_eq!(host.exited(&id).await.exit_code, 7);
    }
}
