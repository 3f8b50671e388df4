//! A node's certificates over time: asked for anew, by the node itself, long before they end.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::{Drain, Env};
use base64::Engine;
use jiff::{SignedDuration, Timestamp};
use kube::config::Kubeconfig;
use pki::{Authority, KeyPairPem, Presenter, SigningRequest, Trust};

use super::join::server::{CLIENTS, SERVERS};
use super::join::{self, Ask};
use super::serving::certificate_of;
use crate::supervise::Parts;

/// How often the server is asked for its authorities: their successors are good long before anybody must know them.
const LOOK: Duration = Duration::from_secs(3600);
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(60);
/// How long a request may wait until somebody approves it; then another one is made, as upstream's kubelet does.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// When a certificate is asked for anew: after seven to nine tenths of its time, so that many nodes do not ask at once.
fn due(certificate: &str, env: &Env) -> Timestamp {
    let info = pki::inspect(certificate).ok().and_then(|all| all.into_iter().next());
    let Some(info) = info else { return Timestamp::MIN };
    let time = Duration::try_from(info.not_after.duration_since(info.not_before)).unwrap_or_default();
    let used = SignedDuration::try_from(env.random().jitter(time.mul_f64(0.7), 2.0 / 7.0));
    info.not_before.saturating_add(used.unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

fn until(due: Timestamp, env: &Env) -> Duration {
    Duration::try_from(due.duration_since(env.now())).unwrap_or_default()
}

/// How a node comes to the API server: its kubeconfig, and the authorities that it believes.
pub struct ClientRenewal {
    client: kube::Client,
    kubeconfig: PathBuf,
    /// Where the authorities are kept that the server names, of servers and of clients; of a server that names none the
    /// kubeconfig's stay.
    ca_files: Option<(PathBuf, PathBuf)>,
    due: Timestamp,
    env: Env,
}

impl ClientRenewal {
    /// Keeps the files of a node that has joined; `client` goes with the kubeconfig.
    pub fn new(client: kube::Client, joined: &join::Joined, env: &Env) -> Result<Self> {
        let files = (joined.ca_file.clone(), joined.client_ca_file.clone());
        Self::of_kubeconfig(client, &joined.kubeconfig, Some(files), env)
    }

    /// Keeps a kubeconfig alone, and its authorities as they are.
    pub fn alone(client: kube::Client, kubeconfig: &Path, env: &Env) -> Result<Self> {
        Self::of_kubeconfig(client, kubeconfig, None, env)
    }

    fn of_kubeconfig(
        client: kube::Client,
        kubeconfig: &Path,
        ca_files: Option<(PathBuf, PathBuf)>,
        env: &Env,
    ) -> Result<Self> {
        let due = due(&client_of(kubeconfig)?.certificate, env);
        Ok(Self { client, kubeconfig: kubeconfig.to_owned(), ca_files, due, env: env.clone() })
    }

    /// Keeps them until `drain`.
    pub async fn run(mut self, drain: Drain) {
        let mut pause = Duration::ZERO;
        while drain.until(self.env.sleep(pause)).await.is_some() {
            let Some(tended) = drain.until(self.tend()).await else { return };
            pause = match tended {
                Ok(()) => until(self.due, &self.env).clamp(RETRY, LOOK),
                Err(err) => {
                    tracing::warn!(err = %format!("{err:#}"), "the node's credentials cannot be renewed yet");
                    RETRY
                }
            };
        }
    }

    /// Brings the files up to date.
    pub async fn tend(&mut self) -> Result<()> {
        let Read { server, authorities: known, mut pair } = read(&self.kubeconfig)?;
        let (authorities, has_changed) = match &self.ca_files {
            None => (known, false),
            Some((kept, of_clients)) => {
                let named = self.authorities(SERVERS).await.context("cannot read the server's authorities")?;
                Trust::new(&named).context("the server's authorities cannot be used")?;
                let clients = match self.authorities(CLIENTS).await {
                    // An older server has one authority for both.
                    Err(kube::Error::Api(_)) => named.clone(),
                    read => read.context("cannot read the authorities of clients")?,
                };
                Trust::new(&clients).context("the authorities of clients cannot be used")?;
                if differs(of_clients, &clients) {
                    pki::write_private(of_clients, &clients)?;
                }
                let has_changed = differs(kept, &named);
                (named, has_changed)
            }
        };
        let is_due = self.due <= self.env.now();
        if is_due {
            pair = self.ask(&pair.certificate).await?;
            tracing::info!("the node has a new client certificate");
        }
        if is_due || has_changed {
            let written = pki::kubeconfig::Kubeconfig {
                server: &server,
                certificate_authority: &authorities,
                name: "skiff",
                client: &pair,
            };
            written.write(&self.kubeconfig)?;
            if let Some((kept, _)) = &self.ca_files {
                pki::write_private(kept, &authorities)?;
            }
            self.due = due(&pair.certificate, &self.env);
        }
        Ok(())
    }

    async fn authorities(&self, path: &str) -> Result<String, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await
    }

    async fn ask(&self, certificate: &str) -> Result<KeyPairPem> {
        let subject = pki::inspect(certificate)?.into_iter().next().context("the client certificate is empty")?;
        let asked = SigningRequest::new(&subject.common_name, &subject.organizations)?;
        let certificate = join::ask(&self.client, &Ask::CLIENT, &asked.request, PATIENCE).await?;
        Ok(KeyPairPem { certificate, key: asked.key })
    }
}

/// Whether a file says something else.
fn differs(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).unwrap_or_default() != text
}

/// What a kubeconfig says that was written for a node.
struct Read {
    server: String,
    authorities: String,
    pair: KeyPairPem,
}

/// The client certificate of a node's kubeconfig.
pub fn client_of(path: &Path) -> Result<KeyPairPem> {
    Ok(read(path)?.pair)
}

fn read(path: &Path) -> Result<Read> {
    let context = || format!("cannot use {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(context)?;
    let cluster = kubeconfig.clusters.first().and_then(|named| named.cluster.as_ref());
    let server = cluster.and_then(|cluster| cluster.server.clone());
    let user = kubeconfig.auth_infos.first().and_then(|named| named.auth_info.as_ref());
    // Written out, secrets are as they were read.
    let user = serde_json::to_value(user).with_context(context)?;
    let decode = |data: &str| {
        let bytes = base64::prelude::BASE64_STANDARD.decode(data).ok()?;
        String::from_utf8(bytes).ok()
    };
    let authorities = cluster.and_then(|cluster| decode(cluster.certificate_authority_data.as_ref()?));
    let of_user = |entry: &str| decode(user[entry].as_str()?);
    let (certificate, key) = (of_user("client-certificate-data"), of_user("client-key-data"));
    let (Some(server), Some(authorities), Some(certificate), Some(key)) = (server, authorities, certificate, key)
    else {
        return Err(anyhow::anyhow!("it holds no server, no authority or no client certificate")).with_context(context);
    };
    Ok(Read { server, authorities, pair: KeyPairPem { certificate, key } })
}

/// A kubelet's serving certificate of the cluster's authority (`--rotate-server-certificates`), which somebody has to
/// approve; until then it serves with one of its own.
pub struct ServingRenewal {
    client: kube::Client,
    node: String,
    ips: Vec<IpAddr>,
    dir: PathBuf,
    presenter: Arc<Presenter>,
    due: Timestamp,
    env: Env,
}

/// The name of the files of a serving certificate that was asked for.
const ASKED: &str = "kubelet-serving";

impl ServingRenewal {
    /// Begins with the certificate that was issued last, or with one of the node's own.
    pub fn start(
        parts: &mut Parts,
        client: kube::Client,
        dir: &Path,
        (node, ips): (&str, &[IpAddr]),
        env: &Env,
    ) -> Result<Arc<Presenter>> {
        let file = |end: &str| dir.join(format!("{ASKED}{end}"));
        let kept = match (std::fs::read_to_string(file(".crt")), std::fs::read_to_string(file(".key"))) {
            (Ok(certificate), Ok(key)) => Some(KeyPairPem { certificate, key }),
            _ => None,
        };
        let presented = kept.as_ref().and_then(|pair| Presenter::new(pair).ok());
        let (presenter, due) = match (presented, &kept) {
            (Some(presenter), Some(pair)) => (presenter, due(&pair.certificate, env)),
            _ => {
                let own = Authority::load_or_create(dir, "serving-ca", env)?;
                let request = certificate_of(node, ips);
                (Presenter::new(&own.load_or_issue(dir, "kubelet", &request)?)?, Timestamp::MIN)
            }
        };
        let presenter = Arc::new(presenter);
        let (dir, node, env) = (dir.to_owned(), node.to_owned(), env.clone());
        let renewal = Self { client, node, ips: ips.to_vec(), dir, presenter: presenter.clone(), due, env };
        parts.spawn_endless("kubelet's certificate", renewal.run(parts.drain()));
        Ok(presenter)
    }

    async fn run(mut self, drain: Drain) {
        let mut pause = until(self.due, &self.env).min(LOOK);
        while drain.until(self.env.sleep(pause)).await.is_some() {
            if self.due > self.env.now() {
                pause = until(self.due, &self.env).clamp(RETRY, LOOK);
                continue;
            }
            let Some(renewed) = drain.until(self.renew()).await else { return };
            pause = RETRY;
            if let Err(err) = renewed {
                tracing::warn!(err = %format!("{err:#}"), "the kubelet has no new serving certificate yet");
            }
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let (name, groups) = (format!("system:node:{}", self.node), ["system:nodes".to_owned()]);
        let asked = SigningRequest::with_names(&name, &groups, std::slice::from_ref(&self.node), &self.ips)?;
        let certificate = join::ask(&self.client, &Ask::SERVING, &asked.request, PATIENCE).await?;
        let pair = KeyPairPem { certificate, key: asked.key };
        self.presenter.set(&pair)?;
        self.due = due(&pair.certificate, &self.env);
        pki::write_private(&self.dir.join(format!("{ASKED}.key")), &pair.key)?;
        pki::write_private(&self.dir.join(format!("{ASKED}.crt")), &pair.certificate)?;
        tracing::info!("the kubelet has a new serving certificate");
        Ok(())
    }
}
