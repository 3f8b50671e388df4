//! How plugins make themselves known: the service `Registration` on a socket of the kubelet, or a socket of the plugin's
//! where the kubelet looks for one ([`crate::plugins`]).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base::Drain;
use plugin_api::device_plugin::registration_server::{Registration, RegistrationServer};
use plugin_api::device_plugin::{Empty, RegisterRequest};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::checkpoint;
use super::plugin::Plugin;
use crate::context::Shared;
use crate::plugins::grpc;

/// The version of the protocol.
const VERSION: &str = "v1beta1";

/// Lets plugins register until the drain signal.
pub async fn serve(context: Shared, drain: Drain) {
    let dir = context.devices.dir();
    if let Err(err) = clean(dir) {
        tracing::warn!(dir = %dir.display(), err = %err, "old sockets of device plugins cannot be removed");
    }
    let routes = Routes::new(RegistrationServer::new(Registrar(Arc::clone(&context))));
    grpc::serve(&context.env, &dir.join("kubelet.sock"), routes, &drain).await;
}

/// Removes the sockets of before: plugins see by that that the kubelet has started anew, and register again.
fn clean(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != checkpoint::FILE && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

struct Registrar(Shared);

#[tonic::async_trait]
impl Registration for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let socket = self.0.devices.dir().join(&request.endpoint);
        let outcome = register(&self.0, &request.resource_name, &socket, &[request.version]).await;
        outcome.map(|()| Response::new(Empty {})).map_err(Status::unknown)
    }
}

/// Registers the plugin of a resource. An error is a message for the plugin.
pub async fn register(context: &Shared, resource: &str, socket: &Path, versions: &[String]) -> Result<(), String> {
    if !versions.iter().any(|version| version == VERSION) {
        let versions = versions.join(" ");
        return Err(format!(
            "requested API version \"{versions}\" is not supported by kubelet. Supported version is \"{VERSION}\""
        ));
    }
    if !api::validation::is_extended_resource(resource) {
        return Err(format!("the ResourceName \"{resource}\" is invalid"));
    }
    let plugin = Arc::new(Plugin::connect(resource, socket).await?);
    tracing::info!(resource, socket = %socket.display(), "device plugin is registered");
    context.devices.metrics().registered(resource);
    context.devices.put(&plugin);
    let (shared, drain) = (Arc::clone(context), context.drain.clone());
    context.spawner.spawn(format!("device plugin {resource}"), async move {
        tokio::select! {
            () = drain.drained() => {}
            () = follow(&shared, &plugin) => {}
            () = plugin.replaced.notified() => {}
        }
    });
    Ok(())
}

/// Forgets the plugin of a resource, whose socket is gone.
pub fn deregister(context: &Shared, resource: &str) {
    if let Some(plugin) = context.devices.plugin(resource) {
        context.devices.lose(&plugin);
    }
}

/// Takes over what a plugin lists until it goes, or another one comes in its place.
async fn follow(context: &Shared, plugin: &Arc<Plugin>) {
    let devices = &context.devices;
    let reason = match plugin.list_and_watch().await {
        Ok(mut lists) => loop {
            match lists.message().await {
                Ok(Some(list)) => devices.list(plugin, list.devices),
                Ok(None) => break "EOF".to_owned(),
                Err(status) => break grpc::describe(&status),
            }
        },
        Err(err) => err,
    };
    if devices.lose(plugin) {
        tracing::warn!(resource = plugin.resource, err = reason, "device plugin is gone");
    }
}
