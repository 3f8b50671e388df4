//! Plugins of the kubelet: whoever puts a socket into `plugins_registry` is asked what it is, and registered.
//!
//! A socket that is replaced is a plugin that was started anew; one that is gone is a plugin that is gone.

pub mod grpc;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, FileWatch};

use crate::context::Shared;
use crate::{csi, devices};
use grpc::{Call, Connection, describe};
use plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

/// After the directory could not be followed.
const RETRY: Duration = Duration::from_secs(5);
/// The first and the longest wait after a plugin could not be registered.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(120);
/// How long a plugin may take to say what it is.
const ANSWER: Duration = Duration::from_secs(10);

/// A socket in the directory: its file, and what tells it from another one at the same place.
type Socket = (PathBuf, (u64, i64, i64));

/// A plugin that registers itself.
struct Plugin {
    /// The socket that it registered with.
    socket: Socket,
    /// What it said, once it is registered.
    registered: Option<PluginInfo>,
    /// How often it could not be registered, and when it is tried again.
    failures: u32,
    retry_at: Option<jiff::Timestamp>,
}

/// Registers plugins until the drain signal.
pub async fn run(context: Shared, drain: Drain) {
    let dir = context.config.kubelet_dir().join("plugins_registry");
    let mut plugins = BTreeMap::new();
    while !drain.is_draining() {
        if let Err(err) = follow(&context, &dir, &mut plugins, &drain).await {
            tracing::warn!(path = %dir.display(), err = %err, "plugins cannot be followed");
        }
        drain.until(context.env.sleep(RETRY)).await;
    }
}

async fn follow(
    context: &Shared,
    dir: &Path,
    plugins: &mut BTreeMap<PathBuf, Plugin>,
    drain: &Drain,
) -> io::Result<()> {
    for dir in [dir, &context.config.kubelet_dir().join("plugins")] {
        std::fs::create_dir_all(dir)?;
    }
    let mut watch = FileWatch::directory(dir)?;
    loop {
        if drain.until(reconcile(context, sockets(dir)?, plugins)).await.is_none() {
            return Ok(());
        }
        let until = plugins.values().filter_map(|plugin| plugin.retry_at).min();
        let wait = until.map(|at| Duration::try_from(at.duration_since(context.env.now())).unwrap_or_default());
        let retry = async {
            match wait {
                Some(wait) => context.env.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drain.drained() => return Ok(()),
            changed = watch.changed() => changed?,
            () = retry => {}
        }
    }
}

/// The sockets in a directory: those that are not hidden.
fn sockets(dir: &Path) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.file_type().is_socket() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            sockets.push((entry.path(), (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())));
        }
    }
    sockets.sort();
    Ok(sockets)
}

/// Brings what is registered in line with the sockets that are there.
async fn reconcile(context: &Shared, found: Vec<Socket>, plugins: &mut BTreeMap<PathBuf, Plugin>) {
    let gone: Vec<PathBuf> =
        (plugins.iter()).filter(|(_, plugin)| !found.contains(&plugin.socket)).map(|(path, _)| path.clone()).collect();
    for path in gone {
        let Some(plugin) = plugins.remove(&path) else { continue };
        let is_replaced = found.iter().any(|(other, _)| *other == path);
        // A plugin that comes back at once keeps its place meanwhile.
        if let Some(info) = plugin.registered.filter(|_| !is_replaced) {
            tracing::info!(kind = info.r#type, name = info.name, "plugin is gone");
            deregister(context, &info).await;
        }
    }
    for socket in found {
        let plugin =
            plugins.entry(socket.0.clone()).or_insert(Plugin { socket, registered: None, failures: 0, retry_at: None });
        let now = context.env.now();
        if plugin.registered.is_some() || plugin.retry_at.is_some_and(|at| at > now) {
            continue;
        }
        match register(context, &plugin.socket.0).await {
            Ok(info) => {
                tracing::info!(kind = info.r#type, name = info.name, "plugin is registered");
                plugin.registered = Some(info);
                plugin.retry_at = None;
            }
            Err(err) => {
                let socket = plugin.socket.0.display();
                tracing::warn!(socket = %socket, err, "plugin cannot be registered and is tried again");
                let wait = (FIRST_RETRY * 2_u32.saturating_pow(plugin.failures.min(8))).min(LONGEST_RETRY);
                plugin.failures += 1;
                plugin.retry_at = Some(now.saturating_add(wait).unwrap_or(now));
            }
        }
    }
}

impl Call for InfoRequest {
    type Answer = PluginInfo;
    const PATH: &'static str = "/pluginregistration.Registration/GetInfo";
}

impl Call for RegistrationStatus {
    type Answer = RegistrationStatusResponse;
    const PATH: &'static str = "/pluginregistration.Registration/NotifyRegistrationStatus";
}

/// Asks a plugin what it is, registers it, and tells it so.
async fn register(context: &Shared, socket: &Path) -> Result<PluginInfo, String> {
    let connection = Connection::new(socket);
    let info = connection.call(InfoRequest {}, ANSWER).await;
    let info = info.map_err(|err| format!("failed to get plugin info using RPC GetInfo: {}", describe(&err)))?;
    let endpoint = if info.endpoint.is_empty() { socket.to_owned() } else { PathBuf::from(&info.endpoint) };
    let outcome = match info.r#type.as_str() {
        "CSIPlugin" => csi::register(context, &info.name, &endpoint, &info.supported_versions).await,
        "DevicePlugin" => devices::register(context, &info.name, &endpoint, &info.supported_versions).await,
        "DRAPlugin" => context.resource_claims.register(&info.name, &endpoint, &info.supported_versions),
        other => Err(format!("no handler registered for plugin type: {other} at socket {}", socket.display())),
    };
    let error = outcome.as_ref().err().cloned().unwrap_or_default();
    let status = RegistrationStatus { plugin_registered: outcome.is_ok(), error };
    let told = connection.call(status, ANSWER).await;
    outcome?;
    told.map_err(|err| format!("failed to send registration status: {}", describe(&err)))?;
    Ok(info)
}

async fn deregister(context: &Shared, info: &PluginInfo) {
    match info.r#type.as_str() {
        "CSIPlugin" => csi::deregister(&Arc::clone(context), &info.name).await,
        "DevicePlugin" => devices::deregister(context, &info.name),
        "DRAPlugin" => context.resource_claims.deregister(context, &info.name),
        _ => {}
    }
}
