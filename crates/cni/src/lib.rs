//! Protocol: the Container Network Interface, by which a container runtime that is not ours connects its sandboxes.
//!
//! Both sides are here. A runtime runs a *plugin*: a program that reads a request from its environment and standard
//! input and answers on standard output. Ours ([`plugin::run`]) decides nothing: it hands the request to the node over a unix socket named
//! in its configuration, and prints what the node answers. So addresses, routes and ports have one owner, whichever
//! runtime runs the pods.
//!
//! The runtime's side is the [`Invoker`], for those that are adapters to something which knows no pods.
//!
//! The specification is <https://www.cni.dev/docs/spec/>.

mod answer;
mod config;
mod invoker;
pub mod plugin;
mod request;

pub use answer::{Address, Answer, Code, Failure, Interface, Route, Success};
pub use config::{NetworkConfig, NetworkList, Plugin, PortMapping, RuntimeConfig};
pub use invoker::{Attachment, INVOKED_VERSIONS, InvokeError, Invoker, Network, NetworkError, Outcome};
pub use request::{Command, Request, RequestError};

/// The versions of the interface that are spoken, oldest first.
pub const VERSIONS: [&str; 2] = ["0.4.0", "1.0.0"];

/// The name of the program that a runtime looks for.
pub const PLUGIN: &str = "skiff-cni";
