//! `/configz`: the configuration that the kubelet runs with.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::context::Shared;

/// The configuration, complete, under upstream's key.
pub async fn serve(State(context): State<Shared>) -> Json<Value> {
    Json(json!({"kubeletconfig": *context.config.configuration}))
}
