//! Options of `skiff agent`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::ranges::Ranges;
use super::{Common, Node};

/// Run a node of a cluster that a server runs.
#[derive(Args, Clone, Debug)]
pub struct Agent {
    #[command(flatten)]
    pub common: Common,
    /// Address of the server, such as https://10.0.0.1:6443
    #[arg(long, env = "SKIFF_SERVER", value_name = "URL")]
    pub server: String,
    /// Token to join with, as `skiff token create` prints it on the server; everybody on the machine can read it here, so
    /// rather use --token-file or the variable
    #[arg(long, env = "SKIFF_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    #[arg(required_unless_present = "token_file", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File with the token to join with
    #[arg(long, env = "SKIFF_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub ranges: Ranges,
    /// Ask the cluster for the kubelet's serving certificate, which somebody has to approve, in place of issuing it here
    #[arg(long, env = "SKIFF_ROTATE_SERVER_CERTIFICATES", action = ArgAction::SetTrue)]
    pub rotate_server_certificates: bool,
    #[command(flatten)]
    pub node: Node,
}
