//! `skiff kubeconfig`: writes a kubeconfig for a user, signed by this machine's cluster authority.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::Env;
use pki::{Authorities, IssueRequest, Usage};

use crate::layout;
use crate::options::user::Kubeconfig;

/// How long such a certificate is valid.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Writes it.
pub fn run(options: &Kubeconfig) -> Result<()> {
    let dir = layout::pki_dir(&options.installation.instance());
    if !Authorities::are_in(&dir) {
        bail!("there is no cluster authority in {}: start `skiff server` first, or name its --data-dir", dir.display());
    }
    let authorities = Authorities::load_or_create(&dir, &Env::system())?;
    let request = IssueRequest {
        common_name: options.user.clone(),
        organizations: options.group.clone(),
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: Usage::Client,
        validity: VALIDITY,
    };
    let client = authorities.client.issue(&request)?;
    let kubeconfig = pki::kubeconfig::Kubeconfig {
        server: &options.server,
        certificate_authority: &authorities.server.certificate_pem(),
        name: "skiff",
        client: &client,
    };
    kubeconfig.write(&options.out).context("cannot write the kubeconfig")?;
    println!("{}", options.out.display());
    Ok(())
}
