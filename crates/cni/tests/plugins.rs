//! The plugins of the CNI project, in network namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use skiff_cni::{Attachment, Invoker};

/// Where Debian's package puts them.
const PLUGINS: &str = "/usr/lib/cni";

/// A network namespace that a test makes and removes.
struct Namespace(String);

impl Namespace {
    fn new(tag: &str) -> Self {
        let namespace = Self(format!("skiff-cni-{tag}-{}", std::process::id()));
        ip(&["netns", "add", &namespace.0]);
        namespace
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    fn addresses(&self) -> String {
        ip(&["-n", &self.0, "-brief", "addr"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that fails says so by itself.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Connects a sandbox by a bridge on a machine of its own, which is a namespace, too.
#[tokio::test]
async fn a_bridge_connects_a_sandbox() {
    assert!(Path::new(PLUGINS).join("bridge").exists(), "Debian's containernetworking-plugins is needed");
    let (machine, pod) = (Namespace::new("m"), Namespace::new("p"));
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let ipam = json!({"type": "host-local", "subnet": "10.77.0.0/24", "dataDir": path("ipam")});
    let bridge = json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam});
    let list = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, {"type": "loopback"}]});
    std::fs::create_dir(path("net.d")).expect("a directory");
    std::fs::write(path("net.d/10-pods.conflist"), list.to_string()).expect("written");
    let invoker = Invoker { conf_dir: path("net.d"), bin_dirs: vec![PLUGINS.into()], cache_dir: path("cache") };
    let attachment = Attachment {
        container_id: "pod".to_owned(),
        netns: Some(pod.path()),
        if_name: "eth0".to_owned(),
        ..Attachment::default()
    };
    let work = async {
        let outcome = invoker.add(&attachment).await.expect("connected");
        assert_eq!(outcome.ips, ["10.77.0.2".parse::<std::net::IpAddr>().expect("an address")]);
        invoker.check(&attachment).await.expect("connected as it was");
        let there = pod.addresses();
        assert!(there.contains("eth0") && there.contains("10.77.0.2/24") && there.contains("127.0.0.1/8"), "{there}");

        ip(&["-n", &pod.0, "addr", "flush", "dev", "eth0"]);
        invoker.check(&attachment).await.expect_err("the address is gone");
        invoker.del(&attachment).await.expect("disconnected");
        assert!(!pod.addresses().contains("eth0"), "{}", pod.addresses());
        let gone = Attachment { netns: None, ..attachment.clone() };
        invoker.del(&gone).await.expect("nothing is to be done");
    };
    // The plugins make the bridge where they are started.
    let file = std::fs::File::open(machine.path()).expect("it is there");
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter a network namespace");
    work.await;
}
