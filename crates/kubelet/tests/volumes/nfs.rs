//! Directories of NFS servers: what the node's `mount` is asked for, and what becomes of the mount. The program is a stand-in
//! that writes down how it was called and binds a directory: no kernel of a test machine needs to have NFS.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use testkit::Maker;

use super::super::Stage;
use super::{claimed, with_volume};

impl Stage {
    fn program(&self, name: &str, script: &str) {
        let program = self.dir.path().join("programs").join(name);
        std::fs::create_dir_all(program.parent().expect("a directory")).expect("made");
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// Lets the node have a client of NFS that finds a directory with a file on every server.
    fn nfs_client(&self) -> PathBuf {
        let (log, exported) = (self.dir.path().join("mount.log"), self.dir.path().join("exported"));
        std::fs::create_dir_all(&exported).expect("made");
        std::fs::write(exported.join("file"), "precious").expect("written");
        let script = format!(
            r#"#!/bin/sh
echo "$*" >> {log}
case "$*" in *:/refused*) echo "mount.nfs: access denied by server"; exit 32 ;; esac
for target; do :; done
exec /bin/mount --bind {exported} "$target"
"#,
            log = log.display(),
            exported = exported.display(),
        );
        self.program("mount", &script);
        self.program("mount.nfs", "#!/bin/sh\nexit 1\n");
        log
    }
}

fn is_mounted(dir: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
    table.lines().any(|line| line.split(' ').nth(4) == dir.to_str())
}

/// A pod's volume is mounted with these arguments, in which `TARGET` is its place; the mount goes with the pod, and what is
/// on the server stays.
async fn check(maker: Maker<Pod>, volume: &str, claim: Option<serde_json::Value>, arguments: &str, read_only: bool) {
    let stage = Stage::new(&["image:1"]).await;
    let log = stage.nfs_client();
    if let Some(spec) = claim {
        stage.claim("ReadWriteMany", spec).await;
    }
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let target = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~nfs").join(volume);
    let calls = std::fs::read_to_string(&log).expect("called").replace(&target.display().to_string(), "TARGET");
    assert_eq!(calls.trim_end(), arguments);
    assert!(is_mounted(&target));
    let config = stage.runtime.config("a").expect("made");
    let mount = config.mounts.iter().find(|mount| mount.container_path == "/v").expect("mounted");
    assert_eq!((mount.host_path.as_str(), mount.readonly), (target.to_str().expect("text"), read_only));
    stage.remove("web").await;
    assert!(!is_mounted(&target));
    let kept = std::fs::read_to_string(stage.dir.path().join("exported/file"));
    assert_eq!(kept.expect("the server's data stay"), "precious");
}

#[tokio::test]
async fn a_directory_of_a_server_is_mounted_by_the_nodes_client() {
    let inline = |source: serde_json::Value| with_volume("web", json!({"nfs": source}));
    let plain = json!({"server": "nas.example.com", "path": "/data"});
    check(inline(plain), "v", None, "-t nfs nas.example.com:/data TARGET", false).await;
    let reading = json!({"server": "fd00::1", "path": "/data", "readOnly": true});
    check(inline(reading), "v", None, "-t nfs -o ro [fd00::1]:/data TARGET", true).await;
    let claim = json!({"nfs": {"server": "10.0.0.1", "path": "/data"}, "mountOptions": ["nfsvers=4.1", "hard"]});
    let options = "-t nfs -o nfsvers=4.1,hard 10.0.0.1:/data TARGET";
    check(claimed("web"), "pv", Some(claim.clone()), options, false).await;
    let reading = claimed("web").with(|pod| {
        let volumes = pod.spec.as_mut().expect("a specification").volumes.as_mut().expect("volumes");
        volumes[0].persistent_volume_claim.as_mut().expect("a claim").read_only = Some(true);
    });
    check(reading, "pv", Some(claim), "-t nfs -o nfsvers=4.1,hard,ro 10.0.0.1:/data TARGET", true).await;
}

#[tokio::test]
async fn a_server_that_refuses_is_told_of_and_so_is_a_node_without_a_client() {
    let stage = Stage::new(&["image:1"]).await;
    let volume = |path: &str| json!({"nfs": {"server": "10.0.0.1", "path": path}});
    stage.create(with_volume("web", volume("/data"))).await;
    stage.events_say("the node has no program mount.nfs: install an NFS client").await;
    stage.nfs_client();
    stage.until_phase("web", "Running").await;
    stage.create(with_volume("api", volume("/refused"))).await;
    stage.events_say("Mounting arguments: -t nfs 10.0.0.1:/refused").await;
    stage.events_say("mount failed: exit status 32").await;
    stage.events_say("access denied by server").await;
}
