//! Swap: who may use how much of it, and what the node says of it.

use std::fs;

use serde_json::{Value, json};
use skiff_e2e::{container, pod};

use crate::{Host, SOON, command};

const FILE: &str = "/swapfile";
const BYTES: u64 = 512 << 20;

/// The machine's swap. Dropping this takes it away.
pub struct Swap;

impl Swap {
    pub fn on() -> Self {
        command("fallocate", &["-l", &BYTES.to_string(), FILE]);
        command("chmod", &["0600", FILE]);
        command("mkswap", &[FILE]);
        command("swapon", &[FILE]);
        Self
    }

    /// The node tells of it, and only burstable containers have any.
    pub fn is_told_and_shared(&self, host: &Host) {
        let told =
            host.kubectl.wait(&["node", "first"], "{.status.nodeInfo.swap.capacity}", SOON, |told| !told.is_empty());
        let total = entry("SwapTotal");
        assert_eq!(told, total.to_string());

        for (name, resources) in
            [("guaranteed", json!({"limits": {"cpu": "100m", "memory": "64Mi"}})), ("besteffort", json!({}))]
        {
            host.run(&burdened(name, "sleep 3600", resources));
            assert_eq!(bytes(&host.cgroup(name).join("memory.swap.max")), 0, "{name}");
            host.delete(name);
        }
        self.is_used(host, total);
    }

    /// A burstable container has the share of the swap that it asks for of the memory. What it holds beyond its limit
    /// goes there, and it lives.
    fn is_used(&self, host: &Host, total: u64) {
        let hold = "(head -c 408m /dev/zero; sleep 3600) | tail -c 408m";
        host.run(&burdened("holds", hold, json!({"requests": {"memory": "399Mi"}, "limits": {"memory": "400Mi"}})));
        let share = u128::from(bytes(&host.cgroup("holds").join("memory.swap.max")));
        let expected = u128::from(total) * (399 << 20) / u128::from(entry("MemTotal"));
        assert!(expected.abs_diff(share) <= 1 << 20, "{share}, expected {expected}");
        let current = host.cgroup("holds").join("memory.swap.current");
        testkit::until(SOON, "the container to swap", || (bytes(&current) > 2 << 20).then_some(()));
        let holds = host.kubectl.json(&["get", "pod", "holds"]);
        assert_eq!(holds["status"]["containerStatuses"][0]["restartCount"], 0);
        let summary = host.kubectl.run(&["get", "--raw", "/api/v1/nodes/first/proxy/stats/summary"]);
        let summary: Value = serde_json::from_str(&summary).expect("the kubelet answers JSON");
        let pods = summary["pods"].as_array().expect("it tells of pods");
        let holds = pods.iter().find(|pod| pod["podRef"]["name"] == "holds").expect("it tells of this one");
        assert!(holds["swap"]["swapUsageBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{:#}", holds["swap"]);
        host.delete("holds");
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        command("swapoff", &[FILE]);
        let _ = fs::remove_file(FILE);
    }
}

fn burdened(name: &str, script: &str, resources: Value) -> Value {
    let mut main = container("main", script);
    main["resources"] = resources;
    pod(name, &json!({"terminationGracePeriodSeconds": 0, "containers": [main]}))
}

fn bytes(file: &std::path::Path) -> u64 {
    let text = fs::read_to_string(file).expect("the cgroup is there");
    text.trim().parse().unwrap_or(u64::MAX)
}

/// Bytes in an entry of `/proc/meminfo`.
fn entry(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("the kernel tells");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("it has the entry");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
