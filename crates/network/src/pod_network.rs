//! The pod network of one node: who has which address, and the kernel made to match.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Instance;
use ipnet::IpNet;

use crate::addresses::{self, AllocateError};
use crate::bridge::{self, PlugError};
use crate::netlink::{NetlinkError, Socket};
use crate::netns::{self, NetnsError};
use crate::nft::{self, NftError};
use crate::reservations::{Directory, Reservation, ReservationError};
use crate::routes::{self, NodeRoute, RouteError};
use crate::rules::Rules;
use crate::{HostPort, bridge_name, host_ports, sysctl, table_name};

/// What a pod network is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The installation it belongs to.
    pub instance: Instance,
    /// The addresses of all pods of the cluster: traffic from this node's pods to them keeps its source address, and
    /// routes inside them are this network's.
    pub cluster_cidrs: Vec<IpNet>,
    /// The addresses of services. A route leads them to the bridge, so that the node's own processes reach services on
    /// a machine without a default route too, and what no service answers never leaves the machine.
    pub service_cidrs: Vec<IpNet>,
    /// The largest packet of pods; none for that of the interface with the default route.
    pub mtu: Option<u32>,
}

/// A sandbox to connect.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The sandbox's id: letters, digits, `-`, `_` and `.`.
    pub sandbox_id: String,
    /// The path of its network namespace.
    pub netns: PathBuf,
    /// The node's ports that shall lead to it.
    pub host_ports: Vec<HostPort>,
}

/// How a sandbox is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its addresses, one a pod CIDR; the first is its primary one.
    pub ips: Vec<IpAddr>,
    /// The bridge's addresses, in the same order.
    pub gateways: Vec<IpAddr>,
    /// The largest packet.
    pub mtu: u32,
}

/// The pod network of one node. Cheap to clone; all clones are the same network.
#[derive(Clone, Debug)]
pub struct PodNetwork {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    instance: String,
    bridge: String,
    table: String,
    cluster_cidrs: Vec<IpNet>,
    service_cidrs: Vec<IpNet>,
    mtu: u32,
    directory: Directory,
    state: Mutex<State>,
    /// Held while the table is replaced, so that an older text never follows a newer one.
    table_lock: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    pod_cidrs: Vec<IpNet>,
    reservations: BTreeMap<String, Reservation>,
    last: BTreeMap<IpNet, IpAddr>,
}

/// The network could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The reservations could not be read.
    #[error(transparent)]
    Reservations(#[from] ReservationError),
    /// The machine's interfaces could not be looked at.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The pod CIDRs of the run before could not be set up.
    #[error(transparent)]
    PodCidrs(#[from] SetPodCidrsError),
}

/// The pod CIDRs could not be set.
#[derive(Debug, thiserror::Error)]
pub enum SetPodCidrsError {
    /// The network has no room for a bridge and a pod.
    #[error("pod CIDR {0} is too small")]
    TooSmall(IpNet),
    /// The bridge could not be made.
    #[error(transparent)]
    Bridge(#[from] NetlinkError),
    /// The rules were refused.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// The CIDRs could not be written down.
    #[error(transparent)]
    Write(#[from] ReservationError),
}

/// A sandbox could not be connected; nothing of the attempt is left.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The id cannot be a file name.
    #[error("invalid sandbox id {0:?}")]
    InvalidSandboxId(String),
    /// The node has no pod CIDR yet.
    #[error("no pod CIDR is set for this node")]
    NoPodCidr,
    /// All addresses are in use.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// A port of the node leads to another sandbox.
    #[error("host port {port} is in use by sandbox {sandbox_id}")]
    HostPortInUse {
        /// The port.
        port: HostPort,
        /// Who has it.
        sandbox_id: String,
    },
    /// The reservation could not be written.
    #[error(transparent)]
    Reserve(#[from] ReservationError),
    /// The interfaces could not be made.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The host ports were refused.
    #[error(transparent)]
    Rules(#[from] NftError),
}

/// The network could not be brought in line with the sandboxes that exist; calling again goes on.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// One that is gone could not be disconnected.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// What one has could not be written down.
    #[error(transparent)]
    Reserve(#[from] ReservationError),
    /// The host ports could not be restored.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// The interfaces could not be looked at or removed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// A sandbox could not be disconnected; calling again goes on.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The interface could not be removed.
    #[error(transparent)]
    Unplug(#[from] NetlinkError),
    /// The host ports could not be removed.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// The reservation could not be removed.
    #[error(transparent)]
    Release(#[from] ReservationError),
}

impl PodNetwork {
    /// Opens the network of this machine, with the reservations and pod CIDRs of the run before.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        blocking(move || Self::open_blocking(config)).await
    }

    fn open_blocking(config: Config) -> Result<Self, OpenError> {
        let mut socket = Socket::open()?;
        let mtu = config.mtu.map_or_else(|| bridge::detect_mtu(&mut socket), Ok)?;
        let directory = Directory::open(config.instance.run_dir().join("network"))?;
        let reservations = directory.load()?;
        let pod_cidrs = directory.pod_cidrs()?.unwrap_or_default();
        // Going on behind the highest address in use comes close to where the run before stopped.
        let used = reservations.values().flat_map(|reservation| &reservation.ips);
        let last = pod_cidrs
            .iter()
            .filter_map(|cidr| Some((*cidr, *used.clone().filter(|ip| cidr.contains(*ip)).max()?)))
            .collect();
        let shared = Shared {
            instance: config.instance.name(),
            bridge: bridge_name(&config.instance),
            table: table_name(&config.instance, "net"),
            cluster_cidrs: config.cluster_cidrs,
            service_cidrs: config.service_cidrs,
            mtu,
            directory,
            state: Mutex::new(State { pod_cidrs: Vec::new(), reservations, last }),
            table_lock: Mutex::new(()),
        };
        if !pod_cidrs.is_empty() {
            shared.set_pod_cidrs(pod_cidrs)?;
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sets the node's pod CIDRs: makes the bridge and the rules. Setting what is set already does nothing. Sandboxes
    /// keep the addresses that they have.
    pub async fn set_pod_cidrs(&self, pod_cidrs: Vec<IpNet>) -> Result<(), SetPodCidrsError> {
        if self.shared.state().pod_cidrs == pod_cidrs {
            return Ok(());
        }
        let shared = self.shared.clone();
        blocking(move || shared.set_pod_cidrs(pod_cidrs)).await
    }

    /// The node's pod CIDRs; empty until they are set.
    pub fn pod_cidrs(&self) -> Vec<IpNet> {
        self.shared.state().pod_cidrs.clone()
    }

    /// The name of the bridge.
    pub fn bridge(&self) -> &str {
        &self.shared.bridge
    }

    /// Connects a sandbox. A sandbox that is connected already, or half so after a crash, gets new interfaces with the
    /// same addresses. Not cancel safe in its effects: call [`PodNetwork::detach`] for an attempt that was abandoned.
    pub async fn attach(&self, attach: Attach) -> Result<Attached, AttachError> {
        let shared = self.shared.clone();
        blocking(move || shared.attach(&attach)).await
    }

    /// Disconnects a sandbox and gives back what it had; a sandbox that has nothing is no error. It is faster when the
    /// sandbox's namespace is removed first.
    pub async fn detach(&self, sandbox_id: &str) -> Result<(), DetachError> {
        let (shared, sandbox_id) = (self.shared.clone(), sandbox_id.to_owned());
        blocking(move || shared.detach(&sandbox_id)).await
    }

    /// How a sandbox is connected, if it is.
    pub fn attached(&self, sandbox_id: &str) -> Option<Attached> {
        let state = self.shared.state();
        state.reservations.get(sandbox_id).map(|reservation| self.shared.attached(&state, reservation))
    }

    /// Whether a sandbox is connected as it was: it has its addresses, and the node its end of the cable.
    pub async fn is_connected(&self, sandbox_id: &str) -> Result<bool, NetlinkError> {
        let (shared, sandbox_id) = (self.shared.clone(), sandbox_id.to_owned());
        blocking(move || {
            let is_known = shared.state().reservations.contains_key(&sandbox_id);
            let name = bridge::veth_name(&shared.instance, &sandbox_id);
            Ok(is_known && Socket::open()?.link(&name)?.is_some_and(|link| link.up))
        })
        .await
    }

    /// Disconnects every sandbox that is not in `existing`, and takes what is said there of the others for true: a file of
    /// ours may be damaged. To be called at start with the sandboxes that are known, before any is connected.
    pub async fn retain(&self, existing: BTreeMap<String, Reservation>) -> Result<(), RetainError> {
        let shared = self.shared.clone();
        blocking(move || shared.retain(&existing)).await
    }

    /// Makes the routes to other nodes the given ones; only what differs is touched.
    pub async fn sync_routes(&self, routes: Vec<NodeRoute>) -> Result<(), RouteError> {
        let shared = self.shared.clone();
        blocking(move || shared.sync_routes(&routes)).await
    }
}

/// Every operation waits for the kernel or for a child process.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(err) => match err.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and has dropped the work: nobody waits for the answer any more.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment or one map operation, so a panic leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pod_cidrs(&self, pod_cidrs: Vec<IpNet>) -> Result<(), SetPodCidrsError> {
        if let Some(cidr) = pod_cidrs.iter().find(|cidr| cidr.max_prefix_len() - cidr.prefix_len() < 2) {
            return Err(SetPodCidrsError::TooSmall(*cidr));
        }
        let mut socket = Socket::open()?;
        let bridge = bridge::ensure(&mut socket, &self.bridge, &pod_cidrs, self.mtu)?;
        for cidr in &self.service_cidrs {
            if pod_cidrs.iter().any(|pods| pods.addr().is_ipv4() == cidr.addr().is_ipv4()) {
                routes::to_link(&mut socket, *cidr, &bridge)?;
            }
        }
        sysctl::try_set("ipv4/ip_forward", "1");
        // Lets a connection from 127.0.0.1 to a port of the node reach a pod; the table's guard keeps pods from
        // using it in the other direction.
        sysctl::try_set(&format!("ipv4/conf/{}/route_localnet", self.bridge), "1");
        sysctl::try_set(&format!("ipv4/conf/{}/send_redirects", self.bridge), "0");
        if pod_cidrs.iter().any(|cidr| matches!(cidr, IpNet::V6(_))) {
            sysctl::try_set("ipv6/conf/all/forwarding", "1");
            // The kernel looks for pods from the bridge's link-local address, and would not for the time that it asks
            // whether anybody else has that.
            sysctl::try_set(&format!("ipv6/conf/{}/accept_dad", self.bridge), "0");
        }
        self.state().pod_cidrs.clone_from(&pod_cidrs);
        self.replace_table()?;
        self.directory.write_pod_cidrs(&pod_cidrs)?;
        Ok(())
    }

    fn replace_table(&self) -> Result<(), NftError> {
        let _one_at_a_time = self.table_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state().clone();
        let rules = Rules {
            table: &self.table,
            bridge: &self.bridge,
            pod_cidrs: &state.pod_cidrs,
            cluster_cidrs: &self.cluster_cidrs,
            reservations: &state.reservations,
        };
        nft::apply(&rules.script())
    }

    fn attached(&self, state: &State, reservation: &Reservation) -> Attached {
        let gateway = |ip: &IpAddr| {
            let own = state.pod_cidrs.iter().find(|cidr| cidr.contains(ip));
            let cidr = own.or_else(|| state.pod_cidrs.iter().find(|cidr| cidr.addr().is_ipv4() == ip.is_ipv4()));
            cidr.map(|cidr| addresses::gateway(*cidr))
        };
        let gateways = reservation.ips.iter().filter_map(gateway).collect();
        Attached { ips: reservation.ips.clone(), gateways, mtu: self.mtu }
    }

    fn attach(&self, attach: &Attach) -> Result<Attached, AttachError> {
        let id = &attach.sandbox_id;
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.chars().all(valid) {
            return Err(AttachError::InvalidSandboxId(id.clone()));
        }
        let attached = self.reserve(attach)?;
        let connected = self.connect(attach, &attached);
        if connected.is_err()
            && let Err(err) = self.detach(id)
        {
            tracing::warn!(sandbox_id = id, err = %err, "failed attempt to attach a sandbox is not wholly undone");
        }
        connected.map(|()| attached)
    }

    fn reserve(&self, attach: &Attach) -> Result<Attached, AttachError> {
        let mut state = self.state();
        if state.pod_cidrs.is_empty() {
            return Err(AttachError::NoPodCidr);
        }
        let ports = state.reservations.iter().map(|(id, has)| (id.clone(), has.host_ports.clone())).collect();
        if let Some((port, other)) = host_ports::collision(&ports, &attach.sandbox_id, &attach.host_ports) {
            return Err(AttachError::HostPortInUse { port, sandbox_id: other.to_owned() });
        }
        let ips = match state.reservations.get(&attach.sandbox_id) {
            Some(reservation) if !reservation.ips.is_empty() => reservation.ips.clone(),
            _ => {
                let used = state.reservations.values().flat_map(|has| has.ips.iter().copied()).collect();
                let next = |cidr: &IpNet| addresses::next_free(*cidr, state.last.get(cidr).copied(), &used);
                state.pod_cidrs.iter().map(next).collect::<Result<Vec<_>, _>>()?
            }
        };
        let reservation = Reservation { ips, host_ports: attach.host_ports.clone() };
        self.directory.write(&attach.sandbox_id, &reservation)?;
        let last: Vec<_> = state.pod_cidrs.iter().copied().zip(reservation.ips.iter().copied()).collect();
        state.last.extend(last);
        let attached = self.attached(&state, &reservation);
        state.reservations.insert(attach.sandbox_id.clone(), reservation);
        Ok(attached)
    }

    fn connect(&self, attach: &Attach, attached: &Attached) -> Result<(), AttachError> {
        let name = bridge::veth_name(&self.instance, &attach.sandbox_id);
        bridge::plug(&self.bridge, &name, &attach.netns, &attached.ips, self.mtu)?;
        netns::run_in(&attach.netns, || bridge::configure_pod(&attached.ips, &attached.gateways))??;
        if !attach.host_ports.is_empty() {
            self.replace_table()?;
        }
        Ok(())
    }

    fn detach(&self, sandbox_id: &str) -> Result<(), DetachError> {
        let Some(reservation) = self.state().reservations.get(sandbox_id).cloned() else { return Ok(()) };
        Socket::open()?.delete_link(&bridge::veth_name(&self.instance, sandbox_id))?;
        // The address is free when the reservation goes: last, when nothing leads to it any more.
        if !reservation.host_ports.is_empty() {
            if let Some(reservation) = self.state().reservations.get_mut(sandbox_id) {
                reservation.host_ports.clear();
            }
            self.replace_table()?;
        }
        self.directory.remove(sandbox_id)?;
        self.state().reservations.remove(sandbox_id);
        Ok(())
    }

    /// What is routed is written down before, so that a cleanup after a crash finds every route and no other instance's.
    fn sync_routes(&self, routes: &[NodeRoute]) -> Result<(), RouteError> {
        let wanted: BTreeSet<IpNet> = routes.iter().map(|route| route.pod_cidr.trunc()).collect();
        let mut noted: BTreeSet<IpNet> = self.directory.routes()?.into_iter().collect();
        if noted != wanted {
            noted.extend(&wanted);
            self.directory.write_routes(&Vec::from_iter(noted))?;
        }
        routes::sync(&self.cluster_cidrs, routes)?;
        Ok(self.directory.write_routes(&Vec::from_iter(wanted))?)
    }

    fn retain(&self, existing: &BTreeMap<String, Reservation>) -> Result<(), RetainError> {
        let found = self.state().reservations.clone();
        for sandbox_id in found.keys().filter(|id| !existing.contains_key(*id)) {
            tracing::info!(sandbox_id, "address of a sandbox that is gone is given back");
            self.detach(sandbox_id)?;
        }
        // One without a reservation was being disconnected: what it had may be somebody else's by now.
        let differs = |(id, known): &(&String, &Reservation)| found.get(*id).is_some_and(|found| found != *known);
        let mut restored = false;
        for (sandbox_id, reservation) in existing.iter().filter(differs) {
            tracing::warn!(sandbox_id, ips = ?reservation.ips, "what a sandbox has is written down anew");
            self.directory.write(sandbox_id, reservation)?;
            self.state().reservations.insert(sandbox_id.clone(), reservation.clone());
            restored = true;
        }
        if restored {
            self.replace_table()?;
        }
        let mut socket = Socket::open()?;
        let Some(bridge) = socket.link(&self.bridge)? else { return Ok(()) };
        let names: BTreeSet<String> =
            self.state().reservations.keys().map(|id| bridge::veth_name(&self.instance, id)).collect();
        for port in socket.links()?.into_iter().filter(|link| link.controller == Some(bridge.index)) {
            // Only our own names: somebody may have put another interface into the bridge.
            if port.name.starts_with("veth") && port.name.len() == 14 && !names.contains(&port.name) {
                socket.delete_link(&port.name)?;
            }
        }
        Ok(())
    }
}
