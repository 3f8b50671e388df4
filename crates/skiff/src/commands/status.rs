//! `skiff status`: how the cluster is, in a few lines.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use crate::options::user::Status;

/// Prints it.
pub async fn run(options: Status) -> Result<()> {
    let path = options.reach.kubeconfig.display().to_string();
    let client = super::reach(options.reach).await?;
    let version =
        client.apiserver_version().await.with_context(|| format!("the API server of {path} does not answer"))?;
    println!("API server  {}", version.git_version);
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    for node in &nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        println!("node        {name}  {}", if is_ready(node) { "Ready" } else { "NotReady" });
    }
    let pods = Api::<Pod>::all(client).list(&ListParams::default()).await?;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for pod in &pods {
        *counts.entry(phase(pod)).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    println!("pods        {}", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") });
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}
