//! `/stats/summary`: what the node, its pods and their containers use. What nobody measures is absent.
//!
//! Upstream: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

mod node;
mod parts;
mod pods;

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cri as v1;
use serde_json::json;

use super::pods::Refusal;
use crate::context::Shared;

pub use node::swap_usage;
pub use parts::value;

/// Answers with the summary; with `?only_cpu_and_memory=true` with no more than that.
pub async fn serve(
    State(context): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let is_brief = query.get("only_cpu_and_memory").is_some_and(|value| value == "true");
    let refused = |err: v1::Status| Refusal(StatusCode::INTERNAL_SERVER_ERROR, err.message().to_owned());
    let pods = pods::all(&context, is_brief).await.map_err(refused)?;
    let summary = json!({"node": node::node(&context, is_brief).await, "pods": pods});
    Ok(([(header::CONTENT_TYPE, "application/json")], summary.to_string()).into_response())
}
