//! The server's certificates: its authorities, which make their successors, and what they issued for it, which is
//! issued anew long before it ends. Handshakes use whichever is there then; connections that are open stay.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env, Tasks};
use pki::{Authorities, Authority, IssueRequest, Leaf, Usage};

use crate::aggregation::FRONT_PROXY;
use crate::config::Config;
use crate::server::BuildError;

/// How long they live; they are issued anew in their last third.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// The server's certificates.
pub(crate) struct Certificates {
    pub(crate) authorities: Authorities,
    pub(crate) serving: Arc<Leaf>,
    pub(crate) to_kubelets: Arc<Leaf>,
    pub(crate) front_proxy: Arc<Leaf>,
}

impl Certificates {
    /// Loads or makes them.
    pub(crate) fn load(config: &Config, env: &Env) -> Result<Self, BuildError> {
        let authorities = match &config.authorities {
            Some(authorities) => authorities.clone(),
            None => Authorities::load_or_create(&config.pki_dir, env)?,
        };
        let leaf = |authority: &Arc<Authority>, name: &str, request| {
            Leaf::load_or_issue(authority, &config.pki_dir, name, request, env).map(Arc::new)
        };
        Ok(Self {
            serving: leaf(&authorities.server, "apiserver", serving_request(config))?,
            to_kubelets: leaf(
                &authorities.client,
                "apiserver-kubelet-client",
                client_request("kube-apiserver-kubelet-client"),
            )?,
            front_proxy: leaf(&authorities.front_proxy, "front-proxy-client", client_request(FRONT_PROXY))?,
            authorities,
        })
    }

    /// Keeps them until `drain`.
    pub(crate) fn spawn(&self, tasks: &mut Tasks, drain: &Drain) {
        self.authorities.spawn(tasks, drain);
        for leaf in [&self.serving, &self.to_kubelets, &self.front_proxy] {
            tasks.spawn("certificate", leaf.clone().run(drain.clone()));
        }
    }
}

fn serving_request(config: &Config) -> IssueRequest {
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    let mut dns_names: Vec<String> = names.map(str::to_owned).to_vec();
    let mut ips = vec![config.kubernetes_service_ip(), IpAddr::from([127, 0, 0, 1]), config.advertised_address()];
    if !config.bind_address.is_unspecified() {
        ips.push(config.bind_address);
    }
    for san in &config.tls_sans {
        match san.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => dns_names.push(san.clone()),
        }
    }
    ips.sort();
    ips.dedup();
    IssueRequest {
        common_name: "kube-apiserver".to_owned(),
        organizations: Vec::new(),
        dns_names,
        ips,
        usage: Usage::Server,
        validity: VALIDITY,
    }
}

fn client_request(common_name: &str) -> IssueRequest {
    IssueRequest {
        common_name: common_name.to_owned(),
        organizations: Vec::new(),
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: Usage::Client,
        validity: VALIDITY,
    }
}
