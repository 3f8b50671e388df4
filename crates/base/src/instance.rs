//! Which installation on this machine a process belongs to.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The run directory of an installation that was not moved.
const DEFAULT_RUN_DIR: &str = "/run/skiff";

/// An installation: its directories, and a short identifier for what lives in the kernel's flat namespaces.
///
/// Several clusters can live on one machine; bridges, nftables tables and cgroups of each carry the
/// [identifier](Instance::name) of its run directory so that they never meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    data_dir: PathBuf,
    run_dir: PathBuf,
}

impl Instance {
    /// An installation with the given directories for durable data and for sockets and other run-time state.
    pub fn new(data_dir: impl Into<PathBuf>, run_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), run_dir: run_dir.into() }
    }

    /// Where durable data lives.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where sockets and state that ends with a reboot live (a tmpfs).
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// `skiff` for the default run directory, else `skiff-` and six hexadecimal digits of the run directory's hash.
    ///
    /// At most 12 characters, so that an interface name has three left of its 15.
    pub fn name(&self) -> String {
        if self.run_dir == Path::new(DEFAULT_RUN_DIR) {
            return "skiff".to_owned();
        }
        let digest = Sha256::digest(self.run_dir.as_os_str().as_encoded_bytes());
        format!("skiff-{}", hex::encode(&digest[..3]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_installations_have_names_of_their_own() {
        assert_eq!(Instance::new("/var/lib/skiff", "/run/skiff").name(), "skiff");
        let (a, b) = (Instance::new("/d", "/run/a").name(), Instance::new("/d", "/run/b").name());
        assert_ne!(a, b);
        assert!(a.len() <= 12, "{a}");
    }
}
