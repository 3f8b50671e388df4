//! Reads what the runtime has of a pod.

use std::collections::HashMap;

use cri as v1;

use super::names;
use super::observed::{Observed, Sandbox, instance};
use crate::context::Context;

/// The runtime did not answer, or refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} of pod {uid}: {}", source.message())]
pub struct ObserveError {
    action: &'static str,
    uid: String,
    source: v1::Status,
}

/// What the runtime has of a pod, without what containers left as messages.
pub async fn observe(context: &Context, uid: &str) -> Result<Observed, ObserveError> {
    let mut runtime = context.runtime.clone();
    let fail = |action| move |source| ObserveError { action, uid: uid.to_owned(), source };
    let selector = HashMap::from([(names::POD_UID.to_owned(), uid.to_owned())]);
    let filter = v1::PodSandboxFilter { label_selector: selector.clone(), ..v1::PodSandboxFilter::default() };
    let sandboxes = runtime
        .list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) })
        .await
        .map_err(fail("list the sandboxes"))?
        .into_inner()
        .items;
    let mut observed = Observed::default();
    for sandbox in sandboxes {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id, verbose: false };
        match runtime.pod_sandbox_status(request).await {
            Ok(answer) => observed.sandboxes.extend(answer.into_inner().status.iter().map(Sandbox::from)),
            // It was removed since the list was made.
            Err(err) if err.code() == v1::Code::NotFound => {}
            Err(err) => return Err(fail("read a sandbox")(err)),
        }
    }
    let filter = v1::ContainerFilter { label_selector: selector, ..v1::ContainerFilter::default() };
    let containers = runtime
        .list_containers(v1::ListContainersRequest { filter: Some(filter) })
        .await
        .map_err(fail("list the containers"))?
        .into_inner()
        .containers;
    for container in containers {
        let request = v1::ContainerStatusRequest { container_id: container.id, verbose: false };
        match runtime.container_status(request).await {
            Ok(answer) => {
                let status = answer.into_inner().status;
                observed.containers.extend(status.map(|status| instance(&container.pod_sandbox_id, &status)));
            }
            Err(err) if err.code() == v1::Code::NotFound => {}
            Err(err) => return Err(fail("read a container")(err)),
        }
    }
    observed.sort();
    Ok(observed)
}
