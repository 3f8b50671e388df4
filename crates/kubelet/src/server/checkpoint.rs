//! Checkpoints of containers: the runtime writes what one needs to go on elsewhere to a file of the node.
//!
//! Upstream: <https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/>.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use cri as v1;
use serde_json::{Value, json};

use super::pods::{Refusal, find};
use crate::context::Shared;
use crate::pods::spec;

/// Where they are, below the kubelet's directory.
const DIRECTORY: &str = "checkpoints";

/// Makes one, and answers with where it is.
pub async fn serve(
    State(context): State<Shared>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Refusal> {
    let refuse = |code, message: String| Refusal(code, message);
    let timeout = query.get("timeout").map_or(Ok(0), |text| text.parse());
    let timeout =
        timeout.map_err(|_| refuse(StatusCode::NOT_FOUND, "cannot parse value of timeout parameter".to_owned()))?;
    let (pod, observed) = find(&context, &namespace, &name).await?;
    if spec::container(&pod, &container).is_none() {
        return Err(refuse(StatusCode::NOT_FOUND, format!("container {container} does not exist")));
    }
    let failed = |err: &str| {
        let text = format!("checkpointing of {namespace}/{name}/{container} failed ({err})");
        refuse(StatusCode::INTERNAL_SERVER_ERROR, text)
    };
    let instance = observed.latest(&container).ok_or_else(|| failed("there is no such container yet"))?;
    let dir = context.config.kubelet_dir().join(DIRECTORY);
    // What is in the memory of a container is for nobody else.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|err| failed(&format!("cannot make {}: {err}", dir.display())))?;
    let time = context.env.now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let location = dir.join(format!("checkpoint-{name}_{namespace}-{container}-{time}.tar")).display().to_string();
    let request =
        v1::CheckpointContainerRequest { container_id: instance.id.clone(), location: location.clone(), timeout };
    context.runtime.clone().checkpoint_container(request).await.map_err(|err| failed(err.message()))?;
    Ok(Json(json!({"items": [location]})))
}
