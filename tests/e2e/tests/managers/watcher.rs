//! Who watches over devices, and is told by the pod resources API whose they are.

use std::path::PathBuf;

use plugin_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use plugin_api::pod_resources::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerResources, GetPodResourcesRequest,
    ListPodResourcesRequest,
};
use tokio::runtime::Runtime;

use crate::SOON;

/// A watcher that is connected.
pub struct Watcher<'a> {
    runtime: &'a Runtime,
    client: PodResourcesListerClient<cri::Channel>,
}

impl<'a> Watcher<'a> {
    /// Waits for the kubelet.
    #[track_caller]
    pub fn connect(runtime: &'a Runtime, socket: PathBuf) -> Self {
        let channel = testkit::until(SOON, "pod resources", || runtime.block_on(testkit::connect(socket.clone())).ok());
        Self { runtime, client: PodResourcesListerClient::new(channel) }
    }

    /// What there is to be given.
    #[track_caller]
    pub fn allocatable(&mut self) -> AllocatableResourcesResponse {
        let answer = self.client.get_allocatable_resources(AllocatableResourcesRequest {});
        self.runtime.block_on(answer).expect("an answer").into_inner()
    }

    /// What the container of a pod has, once the kubelet knows the pod. Both ways to ask say the same.
    #[track_caller]
    pub fn container(&mut self, pod: &str) -> ContainerResources {
        let listed = testkit::until(SOON, &format!("pod {pod} to be listed"), || {
            let list = self.runtime.block_on(self.client.list(ListPodResourcesRequest {})).ok()?.into_inner();
            list.pod_resources.into_iter().find(|listed| listed.name == pod)
        });
        let request = GetPodResourcesRequest { pod_name: pod.to_owned(), pod_namespace: "default".to_owned() };
        let got = self.runtime.block_on(self.client.get(request)).expect("the pod is there").into_inner();
        assert_eq!(got.pod_resources.as_ref(), Some(&listed));
        listed.containers.into_iter().next().expect("it has a container")
    }
}
