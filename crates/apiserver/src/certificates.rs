//! The server's certificates: its authorities, which make their successors, and what they issued for it, which is
//! issued anew long before it ends, or what others keep in files. Handshakes use whichever is there then; connections
//! that are open stay.

mod upkeep;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use pki::{Authorities, Authority, IssueRequest, Leaf, Presenter, Trust, Usage};
use tokio::sync::watch;

use crate::aggregation::FRONT_PROXY;
use crate::config::Config;
use crate::server::BuildError;
pub use upkeep::AuthoritiesError;
pub(crate) use upkeep::Upkeep;

/// How long they live; they are issued anew in their last third.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Files of certificates, for those who do not want what this server issues itself. All are followed.
#[derive(Clone, Debug, Default)]
pub struct CertificateFiles {
    /// `--tls-cert-file` and `--tls-private-key-file`: what clients are shown.
    pub serving: Option<(PathBuf, PathBuf)>,
    /// kube-controller-manager's `--root-ca-file`: the authorities of that, which clients are told of before `ca`.
    pub root_ca: Option<PathBuf>,
    /// `--kubelet-client-certificate` and `--kubelet-client-key`: what kubelets are shown.
    pub to_kubelets: Option<(PathBuf, PathBuf)>,
    /// `--kubelet-certificate-authority`: the authorities of kubelets' servers. Without it, their certificates are taken
    /// as they are.
    pub kubelet_ca: Option<PathBuf>,
}

/// The server's certificates.
pub(crate) struct Certificates {
    pub(crate) authorities: Authorities,
    /// By which authorities clients are to know this server, PEM: the one to expect first.
    pub(crate) server_authorities: watch::Receiver<String>,
    /// The authorities of kubelets' servers, where they must have one.
    pub(crate) kubelets: Option<Arc<Trust>>,
    pub(crate) serving: Arc<Presenter>,
    pub(crate) to_kubelets: Arc<Presenter>,
    pub(crate) front_proxy: Arc<Leaf>,
}

impl Certificates {
    /// Loads or makes them.
    pub(crate) fn load(config: &Config, env: &Env) -> Result<(Self, Upkeep), BuildError> {
        let authorities = match &config.authorities {
            Some(authorities) => authorities.clone(),
            None => Authorities::load_or_create(&config.pki_dir, env)?,
        };
        let leaf = |authority: &Arc<Authority>, name: &str, request| {
            Leaf::load_or_issue(authority, &config.pki_dir, name, request, env)
        };
        let files = &config.certificate_files;
        let mut upkeep = Upkeep::new(env);
        upkeep.authorities(&authorities);
        let front_proxy = leaf(&authorities.front_proxy, "front-proxy-client", client_request(FRONT_PROXY))?;
        let front_proxy = Arc::new(front_proxy);
        upkeep.leaf(&front_proxy);
        let serving = || leaf(&authorities.server, "apiserver", serving_request(config));
        let to_kubelets = || {
            let request = client_request("kube-apiserver-kubelet-client");
            leaf(&authorities.client, "apiserver-kubelet-client", request)
        };
        let mut server_authorities = authorities.server.subscribe();
        if let Some(path) = &files.root_ca {
            let file = ("root-ca-file", path.as_path());
            let (_, given) = upkeep.file(file)?;
            (_, server_authorities) = upkeep.joined(file, [given, server_authorities])?;
        }
        let kubelets = files.kubelet_ca.as_ref();
        let kubelets = kubelets.map(|path| upkeep.file(("kubelet-certificate-authority", path))).transpose()?;
        let certificates = Self {
            server_authorities,
            kubelets: kubelets.map(|(trust, _)| trust),
            serving: upkeep.presenter(files.serving.as_ref(), serving)?,
            to_kubelets: upkeep.presenter(files.to_kubelets.as_ref(), to_kubelets)?,
            front_proxy,
            authorities: authorities.clone(),
        };
        Ok((certificates, upkeep))
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
