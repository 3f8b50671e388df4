//! Files that all containers of a pod see.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cri::{DnsConfig, PodSandboxConfig};

use super::SandboxPaths;

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: io::Error,
}

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Writes `resolv.conf`, `hostname` and `hosts`. The kubelet mounts its own `hosts` over the last.
pub(super) fn write(config: &PodSandboxConfig, paths: &SandboxPaths) -> Result<(), FileError> {
    let resolv_conf = match &config.dns_config {
        Some(dns) if *dns != DnsConfig::default() => resolv_conf(dns),
        // A machine without one has nothing to say about name servers.
        _ => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let hostname = if config.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        config.hostname.clone()
    };
    put(&paths.resolv_conf(), &resolv_conf)?;
    put(&paths.hostname(), &format!("{hostname}\n"))?;
    put(&paths.hosts(), HOSTS)
}

fn put(path: &Path, content: &str) -> Result<(), FileError> {
    let write = || {
        fs::write(path, content)?;
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
    };
    write().map_err(|source| FileError { path: path.to_owned(), source })
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_service_is_configured_as_given() {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let dns = DnsConfig {
            servers: strings(&["10.43.0.10"]),
            searches: strings(&["default.svc.cluster.local", "cluster.local"]),
            options: strings(&["ndots:5"]),
        };
        let expected = "search default.svc.cluster.local cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), expected);
    }
}
