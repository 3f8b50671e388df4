//! Where an installation keeps what this crate puts there.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use base::Instance;

/// The cluster's certificate authority and what it issued for this machine.
pub fn pki_dir(instance: &Instance) -> PathBuf {
    instance.data_dir().join("pki")
}

/// The embedded datastore.
pub fn db_dir(instance: &Instance) -> PathBuf {
    instance.data_dir().join("db")
}

/// How objects are encrypted in the datastore, with the keys; where k3s has it.
pub fn encryption_file(instance: &Instance) -> PathBuf {
    instance.data_dir().join("server").join("cred").join("encryption-config.json")
}

/// The token with which agents join.
pub fn token_file(instance: &Instance) -> PathBuf {
    instance.data_dir().join("server").join("token")
}

/// What an agent got from its server.
pub fn agent_dir(instance: &Instance) -> PathBuf {
    instance.data_dir().join("agent")
}

/// Where the built-in container runtime serves CRI.
pub fn runtime_socket(instance: &Instance) -> PathBuf {
    instance.run_dir().join("cri.sock")
}

/// Logs of pods: where the field's tools look for them, unless the installation was moved.
pub fn pod_logs_dir(instance: &Instance) -> PathBuf {
    if instance.data_dir() == Path::new("/var/lib/skiff") {
        PathBuf::from("/var/log/pods")
    } else {
        instance.data_dir().join("log").join("pods")
    }
}

/// The log of a server in the background.
pub fn server_log(instance: &Instance) -> PathBuf {
    instance.data_dir().join("log").join("skiff.log")
}

/// The process id of a server or agent.
pub fn pid_file(instance: &Instance) -> PathBuf {
    instance.run_dir().join("skiff.pid")
}

const CLUSTER_DNS: &str = "cluster-dns";
const CNI_FILES: &str = "cni-files";
const CONTAINER_RUNTIME: &str = "container-runtime";
const KUBELET_DIR: &str = "kubelet-dir";

/// Notes which addresses cluster DNS puts on this machine, in case its process cannot take them away.
pub fn note_dns(instance: &Instance, addresses: &[IpAddr]) -> Result<()> {
    note(instance, CLUSTER_DNS, addresses)
}

/// The addresses that were noted.
pub fn noted_dns(instance: &Instance) -> Vec<IpAddr> {
    noted(instance, CLUSTER_DNS)
}

/// Notes which files another container runtime was given to reach the pod network.
pub fn note_cni(instance: &Instance, files: &[PathBuf]) -> Result<()> {
    note(instance, CNI_FILES, &files.iter().map(|file| file.display()).collect::<Vec<_>>())
}

/// The files that were noted.
pub fn noted_cni(instance: &Instance) -> Vec<PathBuf> {
    noted(instance, CNI_FILES)
}

/// Notes the socket of another container runtime that runs this machine's pods.
pub fn note_runtime(instance: &Instance, socket: &Path) -> Result<()> {
    note(instance, CONTAINER_RUNTIME, &[socket.display()])
}

/// The socket that was noted.
pub fn noted_runtime(instance: &Instance) -> Option<PathBuf> {
    noted(instance, CONTAINER_RUNTIME).pop()
}

/// Notes where the kubelet keeps its things.
pub fn note_kubelet_dir(instance: &Instance, dir: &Path) -> Result<()> {
    note(instance, KUBELET_DIR, &[dir.display()])
}

/// The directory that was noted, or else the usual one.
pub fn noted_kubelet_dir(instance: &Instance) -> PathBuf {
    noted(instance, KUBELET_DIR).pop().unwrap_or_else(|| instance.data_dir().join("kubelet"))
}

/// Keeps something for `skiff down`, a line each.
fn note(instance: &Instance, name: &str, things: &[impl Display]) -> Result<()> {
    let path = instance.run_dir().join(name);
    let lines: String = things.iter().map(|thing| format!("{thing}\n")).collect();
    fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))
}

fn noted<T: FromStr>(instance: &Instance, name: &str) -> Vec<T> {
    let text = fs::read_to_string(instance.run_dir().join(name)).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Makes an installation's directories; the data directory is for root alone.
pub fn prepare(instance: &Instance) -> Result<()> {
    private_dir(instance.data_dir())?;
    fs::create_dir_all(instance.run_dir())
        .with_context(|| format!("cannot create the run directory {}", instance.run_dir().display()))
}

fn private_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700))).with_context(|| {
        format!("cannot create the data directory {}; use --data-dir to choose another", path.display())
    })
}

/// Removes a file or directory if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(err).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
