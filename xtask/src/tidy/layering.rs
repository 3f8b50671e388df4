//! Rules on what may depend on what.

use super::Complaint;
use super::source::Tree;

/// The crates from high to low, as ARCHITECTURE.md draws them. An arrow only ever points down.
const ORDER: &[&str] = &[
    "skiff",
    "testkit",
    "kubectl",
    "apiserver",
    "controllers",
    "scheduler",
    "kubelet",
    "proxy",
    "dns",
    "logs",
    "runtime",
    "cri-docker",
    "streaming",
    "network",
    "cri",
    "plugin-api",
    "cni",
    "client",
    "store",
    "edge",
    "encryption",
    "pki",
    "spdy",
    "cel",
    "api",
    "base",
];

/// Who may name the store: the API server uses it, the binary opens it for the API server.
const STORE_USERS: &[&str] = &["apiserver", "skiff", "testkit"];

fn rank(folder: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == folder)
}

/// A crate may only depend on crates below it.
pub(super) fn arrows(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for package in &tree.packages {
        let Some(folder) = package.crate_folder() else { continue };
        let complain = |message| Complaint { file: package.manifest(), line: 0, message };
        let Some(own) = rank(folder) else {
            complaints
                .push(complain("unknown crate: give it a place in xtask's list and in ARCHITECTURE.md".to_owned()));
            continue;
        };
        for dependency in package.crates_below() {
            if rank(dependency).is_some_and(|other| other <= own) {
                complaints.push(complain(format!("depends on {dependency}, which stands above it")));
            }
        }
    }
    complaints
}

/// Components reach the store through the API server alone.
pub(super) fn store_users(tree: &Tree) -> Vec<Complaint> {
    let users = tree.packages.iter().filter(|package| package.crates_below().any(|name| name == "store"));
    let strangers = users.filter(|package| package.crate_folder().is_none_or(|folder| !STORE_USERS.contains(&folder)));
    let message = "uses the store: go through a kube::Client instead".to_owned();
    strangers.map(|package| Complaint { file: package.manifest(), line: 0, message: message.clone() }).collect()
}
