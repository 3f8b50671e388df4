//! The pod network under a container runtime that is not the built-in one: it runs our plugin, which asks this node.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base::{Drain, Env, Instance, Networks};
use cni::{NetworkList, PLUGIN};
use network::{CniServer, NodeRoutesConfig, PodNetwork};

use super::node;
use crate::layout;
use crate::options::other_runtime::OtherRuntime;
use crate::supervise::Parts;

/// What network configurations are called at their end.
const CONFIGURATIONS: [&str; 3] = ["conf", "conflist", "json"];

/// A machine whose pods a runtime other than the built-in one runs.
pub struct OtherNode<'a> {
    pub instance: &'a Instance,
    pub name: &'a str,
    pub cluster_cidr: Networks,
    pub service_cidr: Networks,
    /// Where it serves CRI.
    pub socket: &'a Path,
    pub runtime: &'a OtherRuntime,
}

/// Makes the pod network, and tells the runtime of it; nothing, where another network is configured.
pub async fn start(parts: &mut Parts, node: OtherNode<'_>, informers: &client::Informers, env: &Env) -> Result<()> {
    layout::note_runtime(node.instance, node.socket)?;
    let file = configuration(node.instance, &node.runtime.cni_conf_dir);
    if let Some(other) = foreign(&node.runtime.cni_conf_dir, &file)? {
        tracing::info!(configuration = %other.display(), "another pod network is configured on this machine, and is left to connect the pods");
        return Ok(());
    }
    let network = node::open_network(node.instance, node.cluster_cidr, node.service_cidr).await?;
    let routes = NodeRoutesConfig { node_name: node.name.to_owned(), network: network.clone(), sets_pod_cidrs: true };
    node::start_routes(parts, routes, informers);
    let server = serve(node.instance, network, env)?;
    let drain = parts.drain();
    parts.spawn_endless("CNI requests", server.run(drain));
    let mut written = install_plugin(&node.runtime.cni_bin_dir)?;
    written.push(file.clone());
    layout::note_cni(node.instance, &written)?;
    // Last: the runtime may use it at once.
    write_configuration(node.instance, &file)
}

/// Answers the runtime's plugin while `action` runs, as [`start`] does on a node.
pub async fn while_served<T>(instance: &Instance, env: &Env, action: impl Future<Output = T>) -> Result<T> {
    let nothing =
        network::Config { instance: instance.clone(), cluster_cidrs: Vec::new(), service_cidrs: Vec::new(), mtu: None };
    let network = PodNetwork::open(nothing).await.context("cannot open the pod network")?;
    let server = serve(instance, network, env)?;
    let (trigger, drain): (_, Drain) = base::drain();
    let action = async {
        let done = action.await;
        trigger.drain();
        done
    };
    Ok(tokio::join!(server.run(drain), action).1)
}

fn serve(instance: &Instance, network: PodNetwork, env: &Env) -> Result<CniServer> {
    CniServer::bind(&socket(instance), network, env.clone()).context("cannot serve the pod network to the runtime")
}

fn socket(instance: &Instance) -> PathBuf {
    instance.run_dir().join("cni.sock")
}

/// The first that runtimes find, if there is no other.
fn configuration(instance: &Instance, directory: &Path) -> PathBuf {
    directory.join(format!("10-{}.conflist", instance.name()))
}

/// A configuration that is not ours.
fn foreign(directory: &Path, own: &Path) -> Result<Option<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err).with_context(|| format!("cannot list {}", directory.display())),
    };
    let is_configuration = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str());
        end.is_some_and(|end| CONFIGURATIONS.contains(&end)) && path != own
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_configuration).min())
}

fn write_configuration(instance: &Instance, file: &Path) -> Result<()> {
    let list = NetworkList::of_node(&instance.name(), &socket(instance));
    let text = serde_json::to_vec_pretty(&list).context("a network configuration has a JSON form")?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let write = || {
        fs::create_dir_all(directory)?;
        let temporary = file.with_extension("new");
        fs::write(&temporary, text)?;
        fs::rename(&temporary, file)
    };
    write().with_context(|| format!("cannot write {}; use --cni-conf-dir to choose another", file.display()))
}

/// Puts the plugin where runtimes look for it: this binary under another name.
fn install_plugin(directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let binary = std::env::current_exe().context("cannot find the path of this program")?;
    let mut links = Vec::new();
    for (number, directory) in directories.iter().enumerate() {
        if number > 0 && !directory.is_dir() {
            continue;
        }
        let link = directory.join(PLUGIN);
        let put = || {
            fs::create_dir_all(directory)?;
            let temporary = directory.join(format!(".{PLUGIN}.new"));
            let _ = fs::remove_file(&temporary);
            symlink(&binary, &temporary)?;
            fs::rename(&temporary, &link)
        };
        put().with_context(|| format!("cannot write {}; use --cni-bin-dir to choose another", link.display()))?;
        links.push(link);
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_network_is_seen_and_our_own_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = dir.path().join("10-skiff.conflist");
        assert_eq!(foreign(&dir.path().join("absent"), &own).expect("no error"), None);
        for ours in ["10-skiff.conflist", "README", "calico-kubeconfig"] {
            fs::write(dir.path().join(ours), "").expect("written");
        }
        assert_eq!(foreign(dir.path(), &own).expect("no error"), None);
        let other = dir.path().join("05-calico.conflist");
        fs::write(&other, "").expect("written");
        assert_eq!(foreign(dir.path(), &own).expect("no error"), Some(other));
    }

    #[test]
    fn the_plugin_goes_into_the_first_directory_and_the_others_that_are_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = ["made", "absent", "there"];
        let directories = names.map(|name| dir.path().join(name));
        fs::create_dir(&directories[2]).expect("made");
        for _ in 0..2 {
            let links = install_plugin(&directories).expect("installed");
            assert_eq!(links, [&directories[0], &directories[2]].map(|directory| directory.join(PLUGIN)));
            let binary = std::env::current_exe().expect("this program");
            assert!(links.iter().all(|link| fs::read_link(link).expect("a link") == binary));
        }
    }
}
