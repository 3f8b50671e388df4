//! The pod resources API, version 1: what containers have of the node, for those who watch over its devices.
//!
//! Served on `pod-resources/kubelet.sock`, to as many calls as upstream lets in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Drain, Env};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use plugin_api::pod_resources::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
use plugin_api::pod_resources::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, CdiDevice, ClaimResource, ContainerDevices,
    ContainerMemory, ContainerResources, DynamicResource, GetPodResourcesRequest, GetPodResourcesResponse,
    ListPodResourcesRequest, ListPodResourcesResponse, NumaNode, PodResources, TopologyInfo,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::context::Shared;
use crate::devices::NumaNodes;
use crate::dra::{Device, Prepared};
use crate::managers::{CpuSet, MemoryBlock};
use crate::metrics::PodResourcesCall;
use crate::plugins::grpc;
use crate::pods::spec;

/// So many calls are let in at once, and so many a second.
const BURST: f64 = 10.0;
const PER_SECOND: f64 = 100.0;

/// Serves the API until the drain signal.
pub async fn serve(context: Shared, drain: Drain) {
    let limiter = Limiter::new(context.env.clone());
    let limit = move |request: Request<()>| match limiter.take() {
        true => Ok(request),
        false => Err(Status::resource_exhausted("rejected by rate limit")),
    };
    let service = PodResourcesListerServer::with_interceptor(Lister(Arc::clone(&context)), limit);
    let socket = context.config.kubelet_dir().join("pod-resources/kubelet.sock");
    grpc::serve(&context.env, &socket, Routes::new(service), &drain).await;
}

/// Lets in so many calls, and no more.
#[derive(Clone)]
struct Limiter {
    env: Env,
    /// How many may come at once, and at what time that was so.
    state: Arc<Mutex<(f64, Timestamp)>>,
}

impl Limiter {
    fn new(env: Env) -> Self {
        let state = Arc::new(Mutex::new((BURST, env.now())));
        Self { env, state }
    }

    fn take(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.env.now();
        let passed = now.duration_since(state.1).as_secs_f64().max(0.0);
        *state = ((state.0 + passed * PER_SECOND).min(BURST), now);
        let is_in = state.0 >= 1.0;
        if is_in {
            state.0 -= 1.0;
        }
        is_in
    }
}

struct Lister(Shared);

/// What something is near to; `None` where that does not matter.
fn near(nodes: impl Iterator<Item = i64>) -> Option<TopologyInfo> {
    let nodes: Vec<NumaNode> = nodes.map(|id| NumaNode { id }).collect();
    Some(TopologyInfo { nodes }).filter(|topology| !topology.nodes.is_empty())
}

/// One device of a resource, and what it is near to.
fn device(resource: &str, id: &str, nodes: &NumaNodes) -> ContainerDevices {
    let topology = near(nodes.iter().copied());
    ContainerDevices { resource_name: resource.to_owned(), device_ids: vec![id.to_owned()], topology }
}

/// Memory or huge pages, and the nodes of which they are.
fn memory(block: MemoryBlock) -> ContainerMemory {
    let topology = near(block.nodes.iter().map(|node| i64::from(*node)));
    ContainerMemory { memory_type: block.resource, size: block.size, topology }
}

fn cpu_ids(cpus: &CpuSet) -> Vec<i64> {
    cpus.iter().map(i64::from).collect()
}

/// A claim, with the devices that its drivers have prepared.
fn dynamic_resource(claim: Prepared) -> DynamicResource {
    let resource = |(driver, device): (&str, &Device)| ClaimResource {
        cdi_devices: device.cdi_device_ids.iter().map(|name| CdiDevice { name: name.clone() }).collect(),
        driver_name: driver.to_owned(),
        pool_name: device.pool_name.clone(),
        device_name: device.device_name.clone(),
    };
    let claim_resources = claim.devices("").map(resource).collect();
    DynamicResource { claim_name: claim.claim_name, claim_namespace: claim.namespace, claim_resources }
}

impl Lister {
    /// An answer, which is counted.
    fn answer<T>(&self, call: PodResourcesCall, answer: Result<T, Status>) -> Result<Response<T>, Status> {
        self.0.metrics.pod_resources.answered(call, answer.is_ok());
        answer.map(Response::new)
    }

    fn pod(&self, pod: &Pod) -> PodResources {
        // What init containers had is the others' by now, or free.
        let sidecars = spec::init_containers(pod).iter().filter(|container| spec::is_sidecar(container));
        let containers = sidecars.chain(spec::containers(pod));
        PodResources {
            name: spec::name(pod).to_owned(),
            namespace: spec::namespace(pod).to_owned(),
            containers: containers.map(|container| self.container(pod, container)).collect(),
        }
    }

    fn container(&self, pod: &Pod, container: &Container) -> ContainerResources {
        let held = self.0.devices.held(spec::uid(pod), &container.name);
        let devices = held.iter().flat_map(|(name, held)| held.iter().map(|(id, nodes)| device(name, id, nodes)));
        let claims = self.0.resource_claims.of_container(pod, container);
        let (uid, managers) = (spec::uid(pod), &self.0.managers);
        let cpus = managers.own_cpus(uid, &container.name).unwrap_or_default();
        ContainerResources {
            name: container.name.clone(),
            devices: devices.collect(),
            cpu_ids: cpu_ids(&cpus),
            memory: managers.memory_blocks(uid, &container.name).into_iter().map(memory).collect(),
            dynamic_resources: claims.into_iter().map(dynamic_resource).collect(),
        }
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Lister {
    async fn list(&self, _: Request<ListPodResourcesRequest>) -> Result<Response<ListPodResourcesResponse>, Status> {
        let pods = self.0.pods.list();
        let pod_resources = pods.iter().filter(|pod| !spec::is_terminal(pod)).map(|pod| self.pod(pod)).collect();
        self.answer(PodResourcesCall::List, Ok(ListPodResourcesResponse { pod_resources }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        let all: BTreeMap<_, _> = self.0.devices.all();
        let devices = all.iter().flat_map(|(resource, devices)| {
            let healthy = devices.iter().filter(|(_, known)| known.healthy);
            healthy.map(|(id, known)| device(resource, id, &known.nodes))
        });
        let (cpus, blocks) = self.0.managers.allocatable();
        let answer = AllocatableResourcesResponse {
            devices: devices.collect(),
            cpu_ids: cpu_ids(&cpus),
            memory: blocks.into_iter().map(memory).collect(),
        };
        self.answer(PodResourcesCall::GetAllocatable, Ok(answer))
    }

    async fn get(&self, request: Request<GetPodResourcesRequest>) -> Result<Response<GetPodResourcesResponse>, Status> {
        let GetPodResourcesRequest { pod_name, pod_namespace } = request.into_inner();
        let found = self.0.pods.get(&pod_namespace, &pod_name).filter(|pod| !spec::is_terminal(pod));
        let missing = || Status::unknown(format!("pod {pod_name} in namespace {pod_namespace} not found"));
        let answer = found.map(|pod| GetPodResourcesResponse { pod_resources: Some(self.pod(&pod)) });
        self.answer(PodResourcesCall::Get, answer.ok_or_else(missing))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_let_in_at_upstreams_rate() {
        let env = Env::simulated(testkit::epoch(), 1);
        let limiter = Limiter::new(env.clone());
        let let_in = || (0..20).filter(|_| limiter.take()).count();
        assert_eq!(let_in(), 10);
        env.sleep(Duration::from_millis(50)).await;
        assert_eq!(let_in(), 5);
        env.sleep(Duration::from_secs(10)).await;
        assert_eq!(let_in(), 10);
    }
}
