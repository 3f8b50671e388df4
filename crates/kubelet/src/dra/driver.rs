//! Drivers of dynamic resources: their registration, what they are asked, and the devices that they publish.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Env;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use plugin_api::dra::{
    NodePrepareResourcesRequest, NodePrepareResourcesResponse, NodeUnprepareResourcesRequest,
    NodeUnprepareResourcesResponse,
};
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::context::Shared;
use crate::plugins::grpc::{Connection, describe};

/// How long a driver may take.
const ACTION: Duration = Duration::from_secs(45);
/// How long the devices of a driver that has gone are published: it may be one that is replaced.
const GRACE: Duration = Duration::from_secs(30);
/// After slices could not be removed.
const RETRY: Duration = Duration::from_secs(5);

/// The versions of the protocol, the newest one first: what a driver calls them, and the service's name.
const VERSIONS: [(&str, &str); 2] = [
    ("v1.DRAPlugin", "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"),
    ("v1beta1.DRAPlugin", "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin"),
];

/// A driver that is registered. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Driver {
    connection: Connection,
    service: &'static str,
}

impl Driver {
    /// Gets claims ready. An error is a message for the user.
    pub async fn prepare(&self, request: NodePrepareResourcesRequest) -> Result<NodePrepareResourcesResponse, String> {
        self.call("NodePrepareResources", request).await.map_err(|err| format!("NodePrepareResources: {err}"))
    }

    /// Takes claims back. An error is a message for the user.
    pub async fn unprepare(
        &self,
        request: NodeUnprepareResourcesRequest,
    ) -> Result<NodeUnprepareResourcesResponse, String> {
        self.call("NodeUnprepareResources", request).await.map_err(|err| format!("NodeUnprepareResources: {err}"))
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, String>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/{}/{method}", self.service)).map_err(|err| err.to_string())?;
        let call = async {
            let mut grpc = Grpc::new(self.connection.channel());
            grpc.ready().await.map_err(|err| Status::unavailable(base::error_chain(&err)))?;
            grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await
        };
        match tokio::time::timeout(ACTION, call).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(|status| describe(&status)),
            Err(_) => Err(describe(&Status::deadline_exceeded("context deadline exceeded"))),
        }
    }
}

/// The drivers of the node.
#[derive(Default)]
pub struct Drivers(Mutex<BTreeMap<String, Driver>>);

impl Drivers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Driver>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver by its name. An error is a message for the user.
    pub fn get(&self, name: &str) -> Result<Driver, String> {
        self.lock().get(name).cloned().ok_or_else(|| format!("DRA driver {name} is not registered"))
    }

    /// Adds a driver, in place of one of the same name. An error is a message for the driver.
    pub fn register(&self, name: &str, endpoint: &Path, versions: &[String]) -> Result<(), String> {
        let spoken = VERSIONS.iter().find(|(version, _)| versions.iter().any(|other| other == version));
        let known: Vec<&str> = VERSIONS.iter().map(|(version, _)| *version).collect();
        let (_, service) = spoken.ok_or_else(|| {
            format!(
                "none of the DRA gRPC services [{}] of driver {name} is supported by kubelet, which knows [{}]",
                versions.join(" "),
                known.join(" ")
            )
        })?;
        self.lock().insert(name.to_owned(), Driver { connection: Connection::new(endpoint), service });
        Ok(())
    }

    /// Forgets a driver that has gone; what it published follows unless it comes back.
    pub fn deregister(&self, context: &Shared, name: &str) {
        self.lock().remove(name);
        let (shared, drain, name) = (context.clone(), context.drain.clone(), name.to_owned());
        context.spawner.spawn(format!("slices of {name}"), async move {
            drain.until(shared.env.sleep(GRACE)).await;
            let is_gone = || shared.resource_claims.drivers.get(&name).is_err();
            if is_gone() {
                drain
                    .until(withdraw(&shared.env, &slices(&shared), &shared.config.node_name, Some(&name), is_gone))
                    .await;
            }
        });
    }
}

fn slices(context: &Shared) -> Api<ResourceSlice> {
    Api::all(context.client.clone())
}

/// Removes what drivers have published for the node, who have yet to register with a kubelet that starts: pods must not
/// be placed here for devices that nobody can prepare.
pub async fn withdraw_all(context: &Shared) {
    withdraw(&context.env, &slices(context), &context.config.node_name, None, || true).await;
}

async fn withdraw(env: &Env, slices: &Api<ResourceSlice>, node: &str, driver: Option<&str>, is_due: impl Fn() -> bool) {
    let mut fields = format!("spec.nodeName={node}");
    if let Some(driver) = driver {
        fields = format!("{fields},spec.driver={driver}");
    }
    while is_due() {
        match slices.delete_collection(&DeleteParams::default(), &ListParams::default().fields(&fields)).await {
            Ok(_) => return,
            Err(err) => tracing::warn!(node, driver, %err, "what drivers have published cannot be removed yet"),
        }
        env.sleep(RETRY).await;
    }
}
