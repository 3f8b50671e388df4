//! Machines made of network namespaces, and what the kernel can that they run on.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use base::Instance;
use network::netlink::{Socket, Veth};
use network::netns;

/// Whether the kernel speaks IPv6.
pub fn has_ipv6() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    disabled.is_ok_and(|disabled| disabled.trim() == "0")
}

/// The same for a test that needs it, which is said to be skipped where it does not.
pub fn can_test_ipv6() -> bool {
    let can = has_ipv6();
    if !can {
        eprintln!("SKIPPED: this kernel does not speak IPv6");
    }
    can
}

/// A node in a network namespace of its own, with directories. It goes with its pods' namespaces when this is dropped.
pub struct Host {
    directory: tempfile::TempDir,
    netns: PathBuf,
}

impl Host {
    /// The address of the node for its neighbour.
    const UPLINK: &str = "192.0.2.1/24";
    /// That of the neighbour.
    const NEIGHBOUR: &str = "192.0.2.2/24";

    /// A node without any network. Needs root.
    #[expect(clippy::new_without_default, reason = "it makes something in the kernel")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let netns = directory.path().join("host");
        netns::create(&netns).expect("a namespace (run as root)");
        Self { directory, netns }
    }

    /// Its installation.
    pub fn instance(&self) -> Instance {
        Instance::new(self.directory.path().join("data"), self.directory.path().join("run"))
    }

    /// Its namespace.
    pub fn netns(&self) -> &Path {
        &self.netns
    }

    /// The namespace of a pod, which is there once somebody has made it.
    pub fn pod(&self, name: &str) -> PathBuf {
        netns::directory(&self.instance()).join(name)
    }

    /// Runs work on a runtime all of whose threads are in the node's namespace.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let on_host = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(work())
        };
        netns::run_in(&self.netns, on_host).expect("the host's namespace")
    }

    /// Makes a second machine, on a link between 192.0.2.1 here and 192.0.2.2 there; its namespace.
    pub fn add_neighbour(&self, mtu: u32) -> PathBuf {
        let path = self.neighbour();
        netns::create(&path).expect("a namespace");
        let there = File::open(&path).expect("the namespace");
        netns::run_in(&self.netns, || {
            let (name, peer_mac) = ("uplink", [2, 0, 0, 0, 0, 2]);
            let veth = Veth { name, controller: None, peer: name, peer_netns: there.as_fd(), peer_mac, mtu };
            Socket::open().and_then(|mut socket| socket.add_veth(veth)).expect("a veth pair");
            set_up(Self::UPLINK);
        })
        .expect("the host");
        netns::run_in(&path, || set_up(Self::NEIGHBOUR)).expect("the neighbour");
        path
    }

    /// The namespace of the second machine.
    pub fn neighbour(&self) -> PathBuf {
        self.directory.path().join("neighbour")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pods = netns::directory(&self.instance());
        let pods = std::fs::read_dir(pods).into_iter().flatten().flatten().map(|entry| entry.path());
        for netns in pods.chain([self.neighbour(), self.netns.clone()]) {
            // Not every host has a neighbour, and what cannot be removed goes with the machine.
            let _ = netns::remove(&netns);
        }
    }
}

fn set_up(address: &str) {
    let mut socket = Socket::open().expect("a socket");
    for name in ["lo", "uplink"] {
        let link = socket.link(name).expect("a link").expect("the link");
        if name == "uplink" {
            socket.add_address(&link, address.parse().expect("a network")).expect("an address");
        }
        socket.set_up(&link).expect("up");
    }
}
