//! The runtime's figures of what pods use.

use std::collections::HashMap;

use cri as v1;

use crate::context::Context;
use crate::pods::names;

/// The figures of all pods that run.
pub async fn of_pods(context: &Context) -> Result<Vec<v1::PodSandboxStats>, v1::Status> {
    let mut runtime = context.runtime.clone();
    match runtime.list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest { filter: None }).await {
        Ok(answer) => Ok(answer.into_inner().stats),
        Err(err) if err.code() == v1::Code::Unimplemented => Err(err),
        // One pod that is on its way out makes containerd 1.6 refuse them all.
        Err(_) => of_ready(&mut runtime).await,
    }
}

/// The figures of each pod that is ready, asked one by one: one that ends meanwhile is left out.
async fn of_ready(runtime: &mut v1::RuntimeClient) -> Result<Vec<v1::PodSandboxStats>, v1::Status> {
    let state = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
    let filter = v1::PodSandboxFilter { state: Some(state), ..Default::default() };
    let ready = runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) }).await?.into_inner().items;
    let mut all = Vec::new();
    for sandbox in ready {
        let asked = v1::PodSandboxStatsRequest { pod_sandbox_id: sandbox.id };
        all.extend(runtime.pod_sandbox_stats(asked).await.ok().and_then(|answer| answer.into_inner().stats));
    }
    Ok(all)
}

/// The figures of one pod; nothing where it does not run.
pub async fn of_pod(context: &Context, uid: &str) -> Result<Option<v1::PodSandboxStats>, v1::Status> {
    let label_selector = HashMap::from([(names::POD_UID.to_owned(), uid.to_owned())]);
    let filter = v1::PodSandboxStatsFilter { label_selector, ..v1::PodSandboxStatsFilter::default() };
    let request = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
    let answer = context.runtime.clone().list_pod_sandbox_stats(request).await?;
    Ok(answer.into_inner().stats.into_iter().next())
}

/// The pod that figures are about.
pub fn uid(stats: &v1::PodSandboxStats) -> Option<&str> {
    stats.attributes.as_ref()?.labels.get(names::POD_UID).map(String::as_str)
}
