//! What a plugin answers.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the node says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The sandbox is connected like this.
    Connected(Success),
    /// It is done, and there is nothing to say.
    Done,
    /// It is not done.
    Failed(Failure),
}

/// How a sandbox is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// The interfaces that were made.
    pub interfaces: Vec<Interface>,
    /// The addresses of the sandbox.
    pub ips: Vec<Address>,
    /// The routes in the sandbox.
    pub routes: Vec<Route>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The network namespace of the sandbox that it is in.
    pub sandbox: String,
}

/// An address of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address with its prefix.
    pub address: IpNet,
    /// Through which address the rest is reached.
    pub gateway: IpAddr,
    /// Which of the interfaces has it.
    pub interface: usize,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub dst: IpNet,
    /// Through which address.
    pub gw: IpAddr,
}

impl Success {
    /// The document in a version of the interface.
    pub fn document(&self, version: &str) -> Value {
        let mut ips = json!(self.ips);
        if version == "0.4.0" {
            for (ip, document) in self.ips.iter().zip(ips.as_array_mut().into_iter().flatten()) {
                document["version"] = json!(if ip.address.addr().is_ipv4() { "4" } else { "6" });
            }
        }
        json!({
            "cniVersion": version,
            "interfaces": self.interfaces,
            "ips": ips,
            "routes": self.routes,
            "dns": {},
        })
    }
}

/// The kinds of failures that the specification numbers, and ours from 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// The version is not spoken.
    IncompatibleVersion = 1,
    /// The sandbox is not known, or not connected as it was.
    UnknownContainer = 3,
    /// A variable of the environment is missing or wrong.
    InvalidEnvironment = 4,
    /// Something could not be read or written.
    Io = 5,
    /// The configuration cannot be decoded.
    Undecodable = 6,
    /// The configuration makes no sense.
    InvalidConfig = 7,
    /// It may work later.
    TryAgainLater = 11,
    /// The node could not do it.
    Node = 100,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// What people read.
    pub message: String,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// The document in a version of the interface.
    pub fn document(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code as u32, "msg": self.message})
    }
}
