//! The CRI services: each call is a file of its family, all of them listed here.

use std::sync::Arc;

use base::Drain;
use cri::image_service_server::ImageService;
use cri::runtime_service_server::RuntimeService;
use cri::{Request, Response, Status};

use crate::engine::Engine;
use crate::{container, events, image, logs, node, sandbox, sessions, stats};

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

    /// Runs a call to its end also where the caller goes away meanwhile, for it must not stop half-way.
    async fn detached<Q, A, F>(
        &self,
        name: &str,
        request: Request<Q>,
        call: impl FnOnce(Arc<Engine>, Q) -> F,
    ) -> Answer<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<A, Status>> + Send + 'static,
    {
        self.engine.detached(name, call(self.engine.clone(), request.into_inner())).await.map(Response::new)
    }
}

/// The kubelet makes its own of the figures of stats.
fn no_metrics() -> Status {
    Status::unimplemented("metrics beside those of stats are not offered by this adapter")
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RuntimeService for Service {
    type GetContainerEventsStream = events::Events;

    async fn version(&self, request: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        node::version(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn run_pod_sandbox(&self, request: Request<cri::RunPodSandboxRequest>) -> Answer<cri::RunPodSandboxResponse> {
        self.detached("run a sandbox", request, |engine, request| async move { sandbox::run(&engine, request).await })
            .await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        self.detached("stop a sandbox", request, |engine, request| async move { sandbox::stop(&engine, request).await })
            .await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        self.detached(
            "remove a sandbox",
            request,
            |engine, request| async move { sandbox::remove(&engine, request).await },
        )
        .await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        sandbox::status(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        sandbox::list(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        self.detached("create a container", request, |engine, request| async move {
            container::create(&engine, request).await
        })
        .await
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        self.detached("start a container", request, |engine, request| async move {
            container::start(&engine, request).await
        })
        .await
    }

    async fn stop_container(&self, request: Request<cri::StopContainerRequest>) -> Answer<cri::StopContainerResponse> {
        container::stop(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        self.detached("remove a container", request, |engine, request| async move {
            container::remove(&engine, request).await
        })
        .await
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        container::list(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        container::status(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        container::update(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        logs::reopen(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        sessions::exec_sync(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        sessions::exec(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        sessions::attach(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn port_forward(&self, request: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        sessions::port_forward(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        stats::container(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        stats::list_containers(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        stats::sandbox(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        stats::list_sandboxes(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        node::update_pod_sandbox_resources(&self.engine, request.into_inner()).await.map(Response::new)
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
        Err(Status::unimplemented("checkpoints are not offered by this adapter"))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Err(no_metrics())
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        Err(no_metrics())
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(&self, request: Request<cri::ListImagesRequest>) -> Answer<cri::ListImagesResponse> {
        image::list(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn image_status(&self, request: Request<cri::ImageStatusRequest>) -> Answer<cri::ImageStatusResponse> {
        image::status(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn pull_image(&self, request: Request<cri::PullImageRequest>) -> Answer<cri::PullImageResponse> {
        self.detached("pull an image", request, |engine, request| async move { image::pull(&engine, request).await })
            .await
    }

    async fn remove_image(&self, request: Request<cri::RemoveImageRequest>) -> Answer<cri::RemoveImageResponse> {
        self.detached(
            "remove an image",
            request,
            |engine, request| async move { image::remove(&engine, request).await },
        )
        .await
    }

    async fn image_fs_info(&self, request: Request<cri::ImageFsInfoRequest>) -> Answer<cri::ImageFsInfoResponse> {
        image::fs_info(&self.engine, request.into_inner()).await.map(Response::new)
    }
}
