//! The CRI services: one family of calls a file, all of them listed here.

mod archives;
mod container;
mod errors;
mod events;
mod exec;
mod image;
mod metrics;
mod node;
mod sandbox;
mod sense;
mod stats;

use std::sync::Arc;

use base::Drain;
use cri::image_service_server::ImageService;
use cri::runtime_service_server::RuntimeService;
use cri::{Request, Response, Status};

pub use archives::{ImageInfo, RegistryRequest, Removed};
pub(crate) use archives::{PREFIX as IMAGES_PREFIX, routes as archive_routes};

use crate::engine::Engine;

/// Both services.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    engine: Arc<Engine>,
    drain: Drain,
}

impl Service {
    /// Services over `engine`, whose streams end when `drain` fires.
    pub(crate) fn new(engine: Arc<Engine>, drain: Drain) -> Self {
        Self { engine, drain }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RuntimeService for Service {
    type GetContainerEventsStream = events::Events;

    async fn version(&self, request: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        node::version(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn run_pod_sandbox(&self, request: Request<cri::RunPodSandboxRequest>) -> Answer<cri::RunPodSandboxResponse> {
        sandbox::run_pod_sandbox(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        sandbox::stop_pod_sandbox(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        sandbox::remove_pod_sandbox(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        sandbox::pod_sandbox_status(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        sandbox::list_pod_sandbox(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        container::create_container(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        container::start_container(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn stop_container(&self, request: Request<cri::StopContainerRequest>) -> Answer<cri::StopContainerResponse> {
        container::stop_container(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        container::remove_container(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        container::list_containers(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        container::container_status_call(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        container::update_container_resources(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        container::reopen_container_log(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        exec::exec_sync(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        exec::exec(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        exec::attach(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn port_forward(&self, request: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        exec::port_forward(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        stats::container_stats(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        stats::list_container_stats(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        stats::pod_sandbox_stats(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        stats::list_pod_sandbox_stats(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        sandbox::update_pod_sandbox_resources(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn update_runtime_config(
        &self,
        request: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        node::update_runtime_config(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn status(&self, request: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        node::status(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn runtime_config(&self, request: Request<cri::RuntimeConfigRequest>) -> Answer<cri::RuntimeConfigResponse> {
        node::runtime_config(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn get_container_events(&self, _: Request<cri::GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        Ok(Response::new(events::stream(&self.engine, self.drain.clone())))
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(Status::unimplemented("checkpoints are not offered by this runtime"))
    }

    async fn list_metric_descriptors(
        &self,
        request: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        metrics::list_metric_descriptors(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_pod_sandbox_metrics(
        &self,
        request: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        metrics::list_pod_sandbox_metrics(&self.engine, request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(&self, request: Request<cri::ListImagesRequest>) -> Answer<cri::ListImagesResponse> {
        image::list_images(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn image_status(&self, request: Request<cri::ImageStatusRequest>) -> Answer<cri::ImageStatusResponse> {
        image::image_status(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn pull_image(&self, request: Request<cri::PullImageRequest>) -> Answer<cri::PullImageResponse> {
        image::pull_image(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn remove_image(&self, request: Request<cri::RemoveImageRequest>) -> Answer<cri::RemoveImageResponse> {
        image::remove_image(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn image_fs_info(&self, request: Request<cri::ImageFsInfoRequest>) -> Answer<cri::ImageFsInfoResponse> {
        image::image_fs_info(&self.engine, request.into_inner()).await.map(Response::new)
    }
}
