//! The command line: one sub-command a role, and the commands of the people who run a cluster.

use clap::{Parser, Subcommand};

use crate::options::{agent, components, cri_docker, image, server, user};

/// Kubernetes in one binary.
#[derive(Debug, Parser)]
#[command(name = "skiff", version = crate::VERSION, about = "Kubernetes in one binary", disable_help_subcommand = true)]
#[command(after_help = "Start with `skiff server`; then KUBECONFIG=/etc/skiff/kubeconfig kubectl get nodes")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane and a node
    Server(Box<server::Server>),
    /// Run a node of a cluster that a server runs
    Agent(Box<agent::Agent>),
    /// Run the API server alone
    Apiserver(Box<components::Apiserver>),
    /// Run the controller manager alone
    ControllerManager(Box<components::ControllerManager>),
    /// Run the scheduler alone
    Scheduler(Box<components::Scheduler>),
    /// Run the kubelet alone
    Kubelet(Box<components::Kubelet>),
    /// Run the built-in container runtime alone
    Runtime(Box<components::Runtime>),
    /// Serve Docker Engine as a container runtime
    CriDocker(Box<cri_docker::CriDocker>),
    /// Run the service proxy alone
    Proxy(Box<components::Proxy>),
    /// Run the cluster DNS server alone
    Dns(Box<components::Dns>),
    /// Manage the images of this node's built-in runtime
    Image(image::Image),
    /// Write a kubeconfig for a user, signed by this machine's cluster authority
    Kubeconfig(user::Kubeconfig),
    /// List and renew the certificates of this machine
    Cert(user::Cert),
    /// Print the server's own join token, or manage tokens that end
    Token(user::Token),
    /// Say under which keys secrets are stored, and change the keys
    SecretsEncrypt(user::SecretsEncrypt),
    /// Say how the cluster is
    Status(user::Status),
    /// Stop this machine's cluster and remove its containers, interfaces and rules
    Down(user::Down),
}
