//! Two machines in network namespaces, joined by a cable: the cluster's first node, and its second node or a client
//! from outside.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// Two namespaces with a veth pair between them. Dropping them removes both.
#[derive(Debug)]
pub struct Machines {
    first: String,
    second: String,
    is_host: bool,
}

impl Machines {
    /// The address of the first machine.
    pub const FIRST_IP: &'static str = "10.99.0.1";
    /// The first machine's address of the other family, where the kernel speaks IPv6.
    pub const FIRST_IPV6: &'static str = "fd99::1";
    /// The address of the second machine.
    pub const SECOND_IP: &'static str = "10.99.0.2";

    /// Makes them; `tag` keeps their names apart from those of other tests.
    pub fn new(tag: &str) -> Self {
        let machines = Self { first: format!("e2e-{tag}-a"), second: format!("e2e-{tag}-b"), is_host: false };
        machines.remove();
        for name in [&machines.first, &machines.second] {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        ip(&[
            "-n",
            &machines.first,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &machines.second,
        ]);
        for (name, own, other) in
            [(&machines.first, Self::FIRST_IP, Self::SECOND_IP), (&machines.second, Self::SECOND_IP, Self::FIRST_IP)]
        {
            ip(&["-n", name, "addr", "add", &format!("{own}/24"), "dev", "eth0"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
            ip(&["-n", name, "route", "add", "default", "via", other]);
        }
        if testkit::has_ipv6() {
            for (name, own) in [(&machines.first, Self::FIRST_IPV6), (&machines.second, "fd99::2")] {
                ip(&["-n", name, "addr", "add", &format!("{own}/64"), "dev", "eth0", "nodad"]);
            }
        }
        machines
    }

    /// The first machine's namespace.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// The second machine's namespace.
    pub fn second(&self) -> &str {
        &self.second
    }

    /// The first machine's route to exactly this network, as `ip` shows it; empty where there is none.
    pub fn route_of_first(&self, network: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.first, "route", "show", network]).output();
        String::from_utf8_lossy(&output.expect("ip is installed").stdout).into_owned()
    }

    /// This machine itself, its own network and all, as the first; there is no second. Only for a machine that is the
    /// test's alone.
    pub fn host() -> Self {
        let machines = Self { first: "e2e-host".to_owned(), second: "e2e-none".to_owned(), is_host: true };
        machines.remove();
        ip(&["netns", "attach", &machines.first, "1"]);
        ip(&["netns", "add", &machines.second]);
        ip(&["link", "add", "eth0", "type", "dummy"]);
        ip(&["addr", "add", &format!("{}/24", Self::FIRST_IP), "dev", "eth0"]);
        ip(&["link", "set", "eth0", "up"]);
        ip(&["route", "add", "default", "via", Self::SECOND_IP]);
        machines
    }

    fn remove(&self) {
        for name in [&self.first, &self.second] {
            // It is not there before the first test; removal of what is not there may fail.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
        if self.is_host {
            let _ = Command::new("ip").args(["link", "del", "eth0"]).output();
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The version of the kernel: major and minor.
pub fn kernel() -> (u32, u32) {
    let release = nix::sys::utsname::uname().expect("the kernel tells").release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A command that runs inside a namespace. Not by `ip netns exec`, which hides the cgroups.
pub(crate) fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

/// Moves the calling thread into a namespace for good.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
    setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a network namespace");
}

/// Runs `action` in a thread inside a namespace, and returns what it does.
pub fn run_inside<T: Send>(namespace: &str, action: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace);
            action()
        });
        thread.join().expect("the action does not panic")
    })
}

/// Where something is mounted below a directory, the innermost first.
pub(crate) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    found.reverse();
    found
}

/// Unmounts all of that.
pub(crate) fn unmount_below(dir: &Path) {
    for point in mounts_below(dir) {
        if let Err(err) = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("cannot unmount {}: {err}", point.display());
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
