//! Files of the runtime that are not what was written any more: no wrong thing comes of it, and the runtime starts.

use std::fs;
use std::path::{Path, PathBuf};

use cri::ContainerState;

use crate::pods::pod;
use crate::skip_without_privileges;
use crate::support::{Host, container, eventually, messages};

/// What happens to a file on a bad disk.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Its end is gone.
    Cut,
    /// One bit of a text in it is another.
    Flip,
}

fn damage(path: &Path, damage: Damage) {
    let mut content = fs::read(path).expect("it is there");
    match damage {
        Damage::Cut => content.truncate(content.len() / 2),
        Damage::Flip => {
            // A letter or digit stays one, so that nothing but a digest can tell.
            let at = content.iter().rposition(|byte| matches!(byte, b'0'..=b'8')).expect("it has digits");
            let at = content[..at].iter().rposition(|byte| matches!(byte, b'b' | b'd' | b'f')).unwrap_or(at);
            content[at] ^= 1;
        }
    }
    fs::write(path, content).expect("written");
}

/// The only file of this name below a directory.
fn find(dir: PathBuf, name: &str) -> PathBuf {
    let mut found = fs::read_dir(&dir).expect("listed").flatten().map(|entry| entry.path().join(name));
    let path = found.find(|path| path.exists());
    path.unwrap_or_else(|| panic!("no {name} in {}", dir.display()))
}

/// Everything that a runtime has of sandboxes and containers.
async fn all(host: &mut Host) -> (Vec<String>, Vec<String>) {
    let request = cri::ListPodSandboxRequest { filter: None };
    let sandboxes = host.runtime.list_pod_sandbox(request).await.expect("listed").into_inner().items;
    let containers = host.runtime.list_containers(cri::ListContainersRequest { filter: None }).await;
    let containers = containers.expect("listed").into_inner().containers;
    (sandboxes.into_iter().map(|one| one.id).collect(), containers.into_iter().map(|one| one.id).collect())
}

/// No process runs for a container any more, and nothing is mounted for it.
async fn is_gone(host: &Host, id: &str) {
    eventually("its processes are gone", || {
        let lines = fs::read_dir("/proc").expect("readable").flatten().filter_map(|process| {
            fs::read_to_string(process.path().join("cgroup")).ok().filter(|cgroups| cgroups.contains(id))
        });
        (lines.count() == 0).then_some(())
    })
    .await;
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(id), "{mounts}");
    for dir in ["data/runtime/containers", "run/runtime/containers"] {
        assert!(!host.path(dir).join(id).exists());
    }
}

#[tokio::test]
async fn a_damaged_record_costs_what_it_is_about_and_nothing_else() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    for (dir, file, is_sandbox) in [
        ("containers", "container.json", false),
        ("containers", "started.json", false),
        ("sandboxes", "sandbox.json", true),
    ] {
        for kind in [Damage::Cut, Damage::Flip] {
            if file == "started.json" && matches!(kind, Damage::Flip) {
                continue;
            }
            let sandbox = host.sandbox("hurt").await;
            let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
            host.kill();
            damage(&find(host.path("data/runtime").join(dir), file), kind);
            host.restart().await;
            match (is_sandbox, file) {
                (true, _) => assert_eq!(all(&mut host).await, (Vec::new(), Vec::new()), "{file} {kind:?}"),
                (false, "container.json") => {
                    assert_eq!(all(&mut host).await, (vec![sandbox.0.clone()], Vec::new()), "{file} {kind:?}");
                }
                // It is known that it was, and not how it ended.
                _ => assert_eq!(host.exited(&id).await.reason, "Unknown"),
            }
            let request = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
            host.runtime.remove_pod_sandbox(request).await.expect("removed, or never known");
            is_gone(&host, &id).await;
            // The next one of the same name is made as if nothing had been.
            let sandbox = host.sandbox("hurt").await;
            let id = host.run(&sandbox, container(&sandbox.1, "again", "exit 3")).await;
            assert_eq!(host.exited(&id).await.exit_code, 3);
            let request = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
            host.runtime.remove_pod_sandbox(request).await.expect("removed");
        }
    }
}

#[tokio::test]
async fn a_damaged_reservation_gives_no_address_out_twice() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.16.0/24")).await;
    let mut ids = Vec::new();
    for name in ["cut", "flipped"] {
        let config = pod(&host, name, |_| {});
        ids.push(host.run_sandbox(&config).await.expect("made"));
    }
    let files: Vec<PathBuf> =
        ids.iter().map(|id| host.path("run/network/sandboxes").join(id).with_extension("json")).collect();
    let before: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("it is there")).collect();
    host.kill();
    for (file, kind) in files.iter().zip([Damage::Cut, Damage::Flip]) {
        damage(file, kind);
    }
    host.restart().await;
    let config = pod(&host, "new", |_| {});
    ids.push(host.run_sandbox(&config).await.expect("made"));
    let mut ips = std::collections::BTreeSet::new();
    for id in &ids {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = host.runtime.pod_sandbox_status(request).await.expect("known").into_inner().status;
        ips.insert(status.and_then(|status| status.network).expect("it has an address").ip);
    }
    assert_eq!(ips.len(), 3, "{ips:?}");
    let after: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("it is there")).collect();
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_image_with_a_damaged_record_is_not_there_and_its_containers_run_on() {
    skip_without_privileges!();
    for kind in [Damage::Cut, Damage::Flip] {
        let mut host = Host::start().await;
        host.import_busybox().await;
        let sandbox = host.sandbox("image").await;
        let script = "while ! test -e /go; do sleep 0.02; done; echo unharmed";
        let id = host.run(&sandbox, container(&sandbox.1, "c", script)).await;
        host.kill();
        let records = fs::read_dir(host.path("data/runtime/images")).expect("listed").flatten();
        records.for_each(|record| damage(&record.path(), kind));
        host.restart().await;
        let err = host.create(&sandbox, container(&sandbox.1, "new", "true")).await.expect_err("there is no image");
        assert_eq!(err.code(), cri::Code::NotFound, "{kind:?}: {err}");
        host.exec(&id, &["/bin/touch", "/go"]).await;
        assert_eq!(messages(&host.log_with("c", "unharmed").await), ["stdout F unharmed"]);
        host.import_busybox().await;
        let new = host.run(&sandbox, container(&sandbox.1, "new", "true")).await;
        assert_eq!(host.exited(&new).await.exit_code, 0);
    }
}

#[tokio::test]
async fn a_layer_that_is_gone_is_told_and_unpacked_again() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("layer").await;
    let layers = host.path("data/runtime/layers");
    let root = find(layers, "fs");
    fs::remove_dir_all(&root).expect("removed");
    let err = host.create(&sandbox, container(&sandbox.1, "c", "true")).await.expect_err("it has no root");
    assert!(err.message().contains("layers"), "{err}");
    eventually("the layer is there again", || root.join("bin/busybox").exists().then_some(())).await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "true")).await;
    assert_eq!(host.exited(&id).await.exit_code, 0);
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerExited);
}
