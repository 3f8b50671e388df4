//! The serving certificate of a kubelet.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use base::Env;
use pki::{Authority, IssueRequest, Leaf, PairFiles, Presenter, Usage};

use super::control_plane::VALIDITY;
use crate::supervise::Parts;

/// What a kubelet's serving certificate says.
pub fn certificate_of(node: &str, ips: &[IpAddr]) -> IssueRequest {
    IssueRequest {
        common_name: format!("system:node:{node}"),
        organizations: vec!["system:nodes".to_owned()],
        dns_names: vec![node.to_owned()],
        ips: ips.to_vec(),
        usage: Usage::Server,
        validity: VALIDITY,
    }
}

/// A certificate that an authority of this machine issues into `dir`, and issues anew in time.
pub fn issued(
    parts: &mut Parts,
    authority: &Arc<Authority>,
    dir: &Path,
    (node, ips): (&str, &[IpAddr]),
    env: &Env,
) -> Result<Arc<Presenter>> {
    let request = certificate_of(node, ips);
    let leaf = Arc::new(Leaf::load_or_issue(authority, dir, "kubelet", request, env)?);
    let presenter = leaf.presenter();
    parts.spawn_endless("kubelet's certificate", leaf.run(parts.drain()));
    Ok(presenter)
}

/// The same by an authority of the node's own, which nobody else knows.
pub fn self_issued(parts: &mut Parts, dir: &Path, (node, ips): (&str, &[IpAddr]), env: &Env) -> Result<Arc<Presenter>> {
    let authority = Arc::new(Authority::load_or_create(dir, "serving-ca", env)?);
    let presenter = issued(parts, &authority, dir, (node, ips), env)?;
    parts.spawn_endless("kubelet's certificate authority", authority.run(parts.drain()));
    Ok(presenter)
}

/// A certificate from files, which are followed; both or none must be named.
pub fn from_files(
    parts: &mut Parts,
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
    env: &Env,
) -> Result<Option<Arc<Presenter>>> {
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => bail!("--tls-cert-file and --tls-private-key-file go together"),
    };
    let files = PairFiles::read(certificate, key)?;
    let presenter = files.presenter();
    parts.spawn_endless("kubelet's certificate", files.run(env.clone(), parts.drain()));
    Ok(Some(presenter))
}
