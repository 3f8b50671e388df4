//! The serving certificate of a kubelet.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base::Env;
use kubelet::ServingCertificate;
use pki::{Authority, IssueRequest, KeyPairPem, Usage};

use super::control_plane::VALIDITY;

/// A certificate issued by an authority in `dir`: the cluster's on a server, the node's own on an agent.
pub fn issued(dir: &Path, authority: &str, node: &str, ip: IpAddr, env: &Env) -> Result<ServingCertificate> {
    let authority = Authority::load_or_create(dir, authority, env)?;
    let request = IssueRequest {
        common_name: format!("system:node:{node}"),
        organizations: vec!["system:nodes".to_owned()],
        dns_names: vec![node.to_owned()],
        ips: vec![ip],
        usage: Usage::Server,
        validity: VALIDITY,
    };
    let KeyPairPem { certificate, key } = authority.load_or_issue(dir, "kubelet", &request)?;
    Ok(ServingCertificate { certificate_pem: certificate, key_pem: key })
}

/// A certificate from files; both or none must be named.
pub fn from_files(certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Option<ServingCertificate>> {
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Ok(Some(ServingCertificate { certificate_pem: read(certificate)?, key_pem: read(key)? }))
        }
        (None, None) => Ok(None),
        _ => bail!("--tls-cert-file and --tls-private-key-file go together"),
    }
}
