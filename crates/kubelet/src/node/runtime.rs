//! What the node asks of its container runtime and tells it.

use cri as v1;
use k8s_openapi::api::core::v1::{ContainerImage, NodeRuntimeHandler, NodeRuntimeHandlerFeatures};

use crate::context::Context;

/// How many names of one image the status has.
const MAX_NAMES: usize = 5;

/// Whether pods can run.
pub struct Readiness {
    /// Why not; `None` if they can.
    pub problem: Option<String>,
    /// What the runtime offers.
    pub handlers: Vec<NodeRuntimeHandler>,
}

/// Asks the runtime whether pods can run.
pub async fn readiness(context: &Context) -> Readiness {
    let answer = match context.runtime.clone().status(v1::StatusRequest { verbose: false }).await {
        Ok(answer) => answer.into_inner(),
        Err(err) => {
            return Readiness {
                problem: Some(format!("container runtime is down: {}", err.message())),
                handlers: Vec::new(),
            };
        }
    };
    let conditions = answer.status.unwrap_or_default().conditions;
    let problem = |type_: &str, what: &str| {
        let condition = conditions.iter().find(|condition| condition.r#type == type_);
        match condition {
            Some(condition) if condition.status => None,
            Some(condition) => Some(format!(
                "{what} not ready: {type_}=false reason:{} message:{}",
                condition.reason, condition.message
            )),
            None => Some(format!("{what} not ready: {type_} is not reported")),
        }
    };
    let problems: Vec<String> =
        [problem("RuntimeReady", "container runtime"), problem("NetworkReady", "container runtime network")]
            .into_iter()
            .flatten()
            .collect();
    let handlers = answer.runtime_handlers.into_iter().map(|handler| {
        let features = handler.features.map(|features| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        });
        NodeRuntimeHandler { name: Some(handler.name), features }
    });
    Readiness { problem: Some(problems.join("; ")).filter(|text| !text.is_empty()), handlers: handlers.collect() }
}

/// Tells the runtime from which addresses pods get theirs.
pub async fn set_pod_cidr(context: &Context, cidr: &str) -> Result<(), v1::Status> {
    let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.to_owned() });
    let request = v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
    context.runtime.clone().update_runtime_config(request).await?;
    Ok(())
}

/// The images that are here, the largest first.
pub async fn images(context: &Context) -> Result<Vec<ContainerImage>, v1::Status> {
    let answer = context.images.clone().list_images(v1::ListImagesRequest { filter: None }).await?;
    let mut images = answer.into_inner().images;
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images.truncate(context.config.status_max_images.unwrap_or(usize::MAX));
    let one = |image: v1::Image| {
        let mut names: Vec<String> = image.repo_digests.into_iter().chain(image.repo_tags).collect();
        names.truncate(MAX_NAMES);
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
    };
    Ok(images.into_iter().map(one).collect())
}
