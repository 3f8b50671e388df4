//! Network configurations: what stands in the directory that runtimes watch, and what a plugin is given of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{PLUGIN, VERSIONS};

/// A file of the configuration directory: one network and the plugins that make it, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkList {
    /// The version of the interface that plugins are asked in.
    pub cni_version: String,
    /// The network's name, unlike all others of the machine.
    pub name: String,
    /// The plugins, one after another.
    pub plugins: Vec<Plugin>,
}

/// One plugin of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The name of its program.
    #[serde(rename = "type")]
    pub program: String,
    /// What the runtime may tell it of each sandbox.
    #[serde(default)]
    pub capabilities: BTreeMap<String, bool>,
    /// Where the node listens.
    pub socket: PathBuf,
}

impl NetworkList {
    /// The network that the node behind `socket` makes.
    pub fn of_node(name: &str, socket: &Path) -> Self {
        let plugin = Plugin {
            program: PLUGIN.to_owned(),
            capabilities: BTreeMap::from([("portMappings".to_owned(), true)]),
            socket: socket.to_owned(),
        };
        let newest = VERSIONS[VERSIONS.len() - 1];
        Self { cni_version: newest.to_owned(), name: name.to_owned(), plugins: vec![plugin] }
    }
}

/// What a plugin is given on standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkConfig {
    /// The version that the answer must have.
    pub cni_version: String,
    /// The network's name.
    pub name: String,
    /// Where the node listens.
    pub socket: PathBuf,
    /// What the runtime says of this sandbox.
    pub runtime_config: RuntimeConfig,
}

/// What a runtime says of one sandbox, as far as the plugin has the capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    /// The node's ports that lead to it.
    pub port_mappings: Vec<PortMapping>,
}

/// A port of the node that leads to the sandbox. Names are also read as containerd writes them, which knows that programs
/// in Go do not look at their case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The port of the node.
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    /// The port of the sandbox.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`, in any case; TCP when absent.
    #[serde(default, alias = "Protocol")]
    pub protocol: String,
    /// The node's address; absent or empty for all.
    #[serde(
        default,
        rename = "hostIP",
        alias = "HostIP",
        deserialize_with = "address",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_ip: Option<IpAddr>,
}

/// Runtimes write an empty text where there is no address.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}
