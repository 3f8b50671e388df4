//! A device plugin, as the kubelet speaks to it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use plugin_api::device_plugin::device_plugin_client::DevicePluginClient;
use plugin_api::device_plugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse, ContainerPreferredAllocationRequest,
    DevicePluginOptions, Empty, ListAndWatchResponse, PreStartContainerRequest, PreferredAllocationRequest,
};
use tokio::sync::Notify;
use tonic::{Response, Status, Streaming};

use crate::plugins::grpc::{Connection, describe};

/// How long a plugin may take to say something.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to get a device ready for a start.
const PRE_START: Duration = Duration::from_secs(30);
/// How long it may take to hand out devices.
const ALLOCATE: Duration = Duration::from_secs(120);

/// A plugin that offers a resource.
#[derive(Debug)]
pub struct Plugin {
    /// The resource.
    pub resource: String,
    /// What it wants to be asked.
    options: DevicePluginOptions,
    connection: Connection,
    /// Notified when another one comes in its place.
    pub replaced: Notify,
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(describe(&status)),
        Err(_) => Err(describe(&Status::deadline_exceeded("context deadline exceeded"))),
    }
}

impl Plugin {
    /// The plugin behind a socket, which must answer. An error is a message for people, as those of all calls.
    pub async fn connect(resource: &str, socket: &Path) -> Result<Self, String> {
        let connection = Connection::new(socket);
        let mut client = DevicePluginClient::new(connection.channel());
        let options = within(ANSWER, client.get_device_plugin_options(Empty {})).await;
        let options = options.map_err(|err| format!("failed to get device plugin options: {err}"))?;
        Ok(Self { resource: resource.to_owned(), options, connection, replaced: Notify::new() })
    }

    fn client(&self) -> DevicePluginClient<cri::Channel> {
        DevicePluginClient::new(self.connection.channel())
    }

    /// Its devices, each time anew when they change.
    pub async fn list_and_watch(&self) -> Result<Streaming<ListAndWatchResponse>, String> {
        let list = self.client().list_and_watch(Empty {}).await;
        list.map(Response::into_inner).map_err(|status| describe(&status))
    }

    /// Has it hand out devices to a container.
    pub async fn allocate(&self, devices: &BTreeSet<String>) -> Result<ContainerAllocateResponse, String> {
        let one = ContainerAllocateRequest { devices_ids: devices.iter().cloned().collect() };
        let request = AllocateRequest { container_requests: vec![one] };
        let answer = within(ALLOCATE, self.client().allocate(request)).await?;
        let first = answer.container_responses.into_iter().next();
        first.ok_or_else(|| "no containers return in allocation response".to_owned())
    }

    /// The devices among those `available` that it would hand out; `None` if it does not mind.
    pub async fn preferred(
        &self,
        available: BTreeSet<String>,
        included: &BTreeSet<String>,
        size: usize,
    ) -> Result<Option<BTreeSet<String>>, String> {
        if !self.options.get_preferred_allocation_available {
            return Ok(None);
        }
        let one = ContainerPreferredAllocationRequest {
            available_device_i_ds: available.into_iter().collect(),
            must_include_device_i_ds: included.iter().cloned().collect(),
            allocation_size: i32::try_from(size).unwrap_or(i32::MAX),
        };
        let request = PreferredAllocationRequest { container_requests: vec![one] };
        let answer = within(ALLOCATE, self.client().get_preferred_allocation(request)).await;
        let answer =
            answer.map_err(|err| format!("device plugin GetPreferredAllocation rpc failed with err: {err}"))?;
        Ok(answer.container_responses.into_iter().next().map(|one| one.device_i_ds.into_iter().collect()))
    }

    /// Lets it get devices ready for a container's start, if it wants to.
    pub async fn pre_start(&self, devices: Vec<String>) -> Result<(), String> {
        if !self.options.pre_start_required {
            return Ok(());
        }
        let request = PreStartContainerRequest { devices_ids: devices };
        let answer = within(PRE_START, self.client().pre_start_container(request)).await;
        answer.map(|_| ()).map_err(|err| format!("device plugin PreStartContainer rpc failed with err: {err}"))
    }
}
