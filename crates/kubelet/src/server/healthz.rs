//! Whether the kubelet is well: `/healthz`, on its own server and on one that only the machine itself reaches.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base::Drain;
use tokio::net::TcpListener;

use crate::context::Shared;

/// Between attempts to take the health server's port, which another kubelet of the machine may have.
const RETRY: Duration = Duration::from_secs(5);
/// The checks, in the order in which they are told.
const CHECKS: [&str; 3] = ["ping", "log", "syncloop"];
/// How long the loop over pods may take to answer.
const LOOP_LIMIT: Duration = Duration::from_secs(5);

/// All that there is below `/healthz`.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(all))
        .route("/healthz/ping", get(async || "ok"))
        .route("/healthz/log", get(async || "ok"))
        .route("/healthz/syncloop", get(sync_loop))
}

/// Every check, and with `?verbose` what each says.
async fn all(State(context): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let is_well = loop_is_well(&context).await;
    for check in CHECKS {
        context.metrics.health.checked(check, is_well || check != "syncloop");
    }
    if is_well && !query.contains_key("verbose") {
        return "ok".into_response();
    }
    let line = |check: &str| match is_well || check != "syncloop" {
        true => format!("[+]{check} ok\n"),
        false => format!("[-]{check} failed: reason withheld\n"),
    };
    let lines: String = CHECKS.into_iter().map(line).collect();
    match is_well {
        true => format!("{lines}healthz check passed\n").into_response(),
        false => (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}healthz check failed\n")).into_response(),
    }
}

async fn sync_loop(State(context): State<Shared>) -> Response {
    match loop_is_well(&context).await {
        true => "ok".into_response(),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "internal server error: the loop over pods does not answer\n")
            .into_response(),
    }
}

/// Whether the loop over the node's pods answers.
async fn loop_is_well(context: &Shared) -> bool {
    tokio::time::timeout(LOOP_LIMIT, context.pulse.beat()).await.unwrap_or(false)
}

/// Serves `/healthz` without TLS until the drain signal, if an address is set for that.
pub async fn run(context: Shared, drain: Drain) {
    let Some(address) = context.config.healthz else { return };
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(err) if !said => {
                said = true;
                tracing::warn!(%address, err = %err, "the health server cannot have its port and tries again");
            }
            Err(_) => {}
        }
        if drain.until(context.env.sleep(RETRY)).await.is_none() {
            return;
        }
    };
    serve(listener, context, drain).await;
}

async fn serve(listener: TcpListener, context: Shared, drain: Drain) {
    let address = listener.local_addr().ok();
    tracing::debug!(address = address.map(|address: SocketAddr| address.to_string()), "the health server answers");
    let router = routes().with_state(context);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { drain.drained().await });
    if let Err(err) = served.await {
        tracing::warn!(err = %err, "the health server ended");
    }
}
