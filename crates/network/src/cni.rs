//! The pod network for container runtimes that are not ours: they run the plugin of the `cni` crate, which asks here.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use base::{BindError, Drain, Env, Tasks};
use cni::{Address, Answer, Code, Command, Failure, Interface, PortMapping, Request, Route, Success, plugin};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::bridge::POD_INTERFACE;
use crate::{Attach, AttachError, Attached, HostPort, PodNetwork, Protocol};

/// How long a plugin may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers plugins on a socket.
#[derive(Debug)]
pub struct CniServer {
    listener: UnixListener,
    network: PodNetwork,
    env: Env,
}

impl CniServer {
    /// Listens on `socket`, whose name stands in the configuration that runtimes read.
    pub fn bind(socket: &Path, network: PodNetwork, env: Env) -> Result<Self, BindError> {
        Ok(Self { listener: base::bind_socket(socket)?, network, env })
    }

    /// Answers until the drain signal; requests that came before it are answered still.
    pub async fn run(self, drain: Drain) {
        let mut tasks = Tasks::new();
        loop {
            tokio::select! {
                () = drain.drained() => break,
                Some(_) = tasks.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (network, env) = (self.network.clone(), self.env.clone());
                        tasks.spawn("a request of a CNI plugin", async move {
                            if let Err(err) = serve(stream, &network, &env).await {
                                tracing::warn!(%err, "a CNI plugin went away before it was answered");
                            }
                        });
                    }
                    Err(err) => tracing::warn!(%err, "a CNI plugin cannot be heard"),
                },
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn serve(mut stream: UnixStream, network: &PodNetwork, env: &Env) -> io::Result<()> {
    let mut asked = Vec::new();
    let (mut reader, mut writer) = stream.split();
    let mut limited = (&mut reader).take(plugin::MAX_BYTES);
    tokio::select! {
        read = limited.read_to_end(&mut asked) => drop(read?),
        () = env.sleep(PATIENCE) => return Err(io::ErrorKind::TimedOut.into()),
    }
    let answer = match serde_json::from_slice(&asked) {
        Ok(request) => answer(network, &request).await,
        Err(err) => Answer::Failed(Failure::new(Code::Undecodable, err)),
    };
    let text = serde_json::to_vec(&answer).expect("an answer has a JSON form");
    writer.write_all(&text).await
}

/// Does what a runtime wants of the network.
async fn answer(network: &PodNetwork, request: &Request) -> Answer {
    let done = match request.command {
        Command::Add => add(network, request).await.map(Answer::Connected),
        Command::Del => {
            let detached = network.detach(&request.container_id).await;
            detached.map(|()| Answer::Done).map_err(|err| Failure::new(Code::Node, err))
        }
        Command::Check => match network.is_connected(&request.container_id).await {
            Ok(true) => Ok(Answer::Done),
            Ok(false) => {
                Err(Failure::new(Code::UnknownContainer, format!("{} is not connected", request.container_id)))
            }
            Err(err) => Err(Failure::new(Code::Node, err)),
        },
        Command::Version => Ok(Answer::Done),
    };
    done.unwrap_or_else(|failure| {
        tracing::warn!(sandbox_id = request.container_id, command = ?request.command, failure.message, "CNI request failed");
        Answer::Failed(failure)
    })
}

async fn add(network: &PodNetwork, request: &Request) -> Result<Success, Failure> {
    if request.if_name != POD_INTERFACE {
        let why = format!("the interface of a pod is {POD_INTERFACE}, not {}", request.if_name);
        return Err(Failure::new(Code::InvalidConfig, why));
    }
    let netns = request.netns.clone().unwrap_or_default();
    let mapped = request.config.runtime_config.port_mappings.iter().filter(|mapping| mapping.host_port > 0);
    let host_ports = mapped.map(host_port).collect::<Result<_, _>>()?;
    let attach = Attach { sandbox_id: request.container_id.clone(), netns: netns.clone(), host_ports };
    let attached = network.attach(attach).await.map_err(|err| {
        let code = match err {
            AttachError::NoPodCidr => Code::TryAgainLater,
            _ => Code::Node,
        };
        Failure::new(code, err)
    })?;
    Ok(success(&attached, netns.to_string_lossy().into_owned()))
}

fn success(attached: &Attached, sandbox: String) -> Success {
    let pairs = || attached.ips.iter().copied().zip(attached.gateways.iter().copied());
    let any = |ip: IpAddr| match ip {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    Success {
        interfaces: vec![Interface { name: POD_INTERFACE.to_owned(), sandbox }],
        ips: pairs().map(|(ip, gateway)| Address { address: ip.into(), gateway, interface: 0 }).collect(),
        routes: pairs().map(|(ip, gw)| Route { dst: any(ip), gw }).collect(),
    }
}

fn host_port(mapping: &PortMapping) -> Result<HostPort, Failure> {
    let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(Failure::new(Code::InvalidConfig, format!("protocol {other:?} of a port is not known"))),
    };
    let (host_port, container_port) = (mapping.host_port, mapping.container_port);
    Ok(HostPort { protocol, host_ip: mapping.host_ip, host_port, container_port })
}
