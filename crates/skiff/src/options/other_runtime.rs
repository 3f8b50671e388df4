//! A container runtime in place of the built-in one.

use std::path::PathBuf;

use clap::Args;

/// Another container runtime, and where it looks for the pod network.
#[derive(Args, Clone, Debug)]
pub struct OtherRuntime {
    /// Socket of another container runtime that serves CRI, such as unix:///run/containerd/containerd.sock [default: the built-in runtime]
    #[arg(long, env = "SKIFF_CONTAINER_RUNTIME_ENDPOINT", value_parser = socket, value_name = "SOCKET")]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Directory where another runtime looks for network configurations; with one of somebody else's there, pods are
    /// connected by that
    #[arg(long, env = "SKIFF_CNI_CONF_DIR", default_value = "/etc/cni/net.d", value_name = "DIRECTORY")]
    pub cni_conf_dir: PathBuf,
    /// Directories where another runtime looks for network plugins: the plugin goes into the first, and into each other
    /// that is there
    #[arg(
        long,
        env = "SKIFF_CNI_BIN_DIR",
        default_value = "/opt/cni/bin,/usr/lib/cni",
        value_delimiter = ',',
        value_name = "DIRECTORY"
    )]
    pub cni_bin_dir: Vec<PathBuf>,
}

/// Reads the address of a unix socket: with the scheme, as upstream's kubelet wants it, or the path alone.
pub fn socket(text: &str) -> Result<PathBuf, String> {
    let path = match text.split_once("://") {
        Some(("unix", path)) => path,
        Some((scheme, _)) => return Err(format!("{scheme}:// is not supported: use unix:///PATH")),
        None => text,
    };
    let path = PathBuf::from(path);
    if path.is_absolute() { Ok(path) } else { Err("use an absolute path, or unix:///PATH".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_with_and_without_their_scheme() {
        for text in ["unix:///run/containerd/containerd.sock", "/run/containerd/containerd.sock"] {
            assert_eq!(socket(text), Ok(PathBuf::from("/run/containerd/containerd.sock")));
        }
        for wrong in ["tcp://127.0.0.1:5000", "containerd.sock", "unix://containerd.sock", ""] {
            assert!(socket(wrong).is_err(), "{wrong}");
        }
    }
}
