//! Stops what a plan says: a container with its hook and grace period, or a whole pod.

use std::time::Duration;

use client::EventType;
use cri as v1;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::observed::Observed;
use super::plan::stop_order;
use super::{lifecycle, spec};
use crate::context::Context;
use crate::images::rpc_message;

/// However short the grace period, a container gets this long to end by itself.
const MIN_GRACE: i64 = 2;

/// The container instance to stop.
pub struct Target<'a> {
    /// The runtime's identifier.
    pub id: &'a str,
    /// The container's name.
    pub name: &'a str,
    /// How long it may take, hook included, in seconds.
    pub grace: i64,
}

/// Why a container is stopped: what its event says.
pub enum Reason {
    /// The pod is to stop.
    PodStops,
    /// Its `postStart` hook failed.
    FailedPostStart,
    /// The plan says why.
    Plan(String),
}

/// Stops one container; a container that is gone already is fine. True where the runtime has done it.
pub async fn container(context: &Context, pod: &Pod, target: &Target<'_>, reason: &Reason, ip: Option<&str>) -> bool {
    stop(context, pod, target, reason, ip, std::future::ready(())).await
}

/// Stops one container: its hook runs at once, the signal comes when `turn` does or the grace period is over.
async fn stop(
    context: &Context,
    pod: &Pod,
    target: &Target<'_>,
    reason: &Reason,
    ip: Option<&str>,
    turn: impl Future<Output = ()>,
) -> bool {
    let message = match reason {
        Reason::PodStops => format!("Stopping container {}", target.name),
        Reason::FailedPostStart => "FailedPostStartHook".to_owned(),
        Reason::Plan(message) => message.clone(),
    };
    context.event(pod, Some(target.name), EventType::Normal, "Killing", message);
    let began = context.env.instant();
    let limit = Duration::from_secs(target.grace.unsigned_abs());
    if target.grace > 0 {
        pre_stop(context, pod, target, ip, limit).await;
        // Whose turn does not come in time goes with the others.
        let _ = tokio::time::timeout(limit.saturating_sub(began.elapsed()), turn).await;
    }
    let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    let timeout = target.grace.saturating_sub(used).max(MIN_GRACE);
    let request = v1::StopContainerRequest { container_id: target.id.to_owned(), timeout };
    match context.runtime.clone().stop_container(v1::lasting(request, limit)).await {
        Ok(_) => true,
        Err(status) if status.code() == v1::Code::NotFound => true,
        Err(status) => {
            let err = rpc_message(&status);
            tracing::warn!(
                namespace = spec::namespace(pod),
                name = spec::name(pod),
                err,
                "container cannot be stopped"
            );
            context.event(
                pod,
                Some(target.name),
                EventType::Warning,
                "FailedKillPod",
                format!("error killing container: {err}"),
            );
            false
        }
    }
}

async fn pre_stop(context: &Context, pod: &Pod, target: &Target<'_>, ip: Option<&str>, limit: Duration) {
    let Some(definition) = spec::container(pod, target.name) else { return };
    let Some(handler) = definition.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else { return };
    let (namespace, name) = (spec::namespace(pod), spec::name(pod));
    let hook = lifecycle::run(context, pod, &definition, target.id, ip, handler, limit);
    match tokio::time::timeout(limit, hook).await {
        Ok(Ok(())) => {}
        Ok(Err(err)) => {
            tracing::info!(namespace, name, err = %err, "preStop hook failed");
            let message = "PreStopHook failed".to_owned();
            context.event(pod, Some(target.name), EventType::Warning, "FailedPreStopHook", message);
        }
        Err(_) => tracing::info!(namespace, name, "preStop hook ran out of time"),
    }
}

/// Stops all containers of a pod, then its sandboxes. All hooks run at once; sidecars get their signals after the
/// regular containers have ended, the last one first. True where all of it is done.
pub async fn pod(context: &Context, pod: &Pod, observed: &Observed, grace: i64) -> bool {
    let ip = observed.sandboxes.first().and_then(|sandbox| sandbox.ips.first()).map(String::as_str);
    // How many groups have ended.
    let ended = watch::channel(0).0;
    let groups = stop_order(pod, observed);
    let stops = groups.iter().enumerate().map(|(index, together)| {
        let ended = &ended;
        async move {
            let stops = together.iter().map(|instance| {
                let mut before = ended.subscribe();
                // The sender outlives the receiver: waiting ends only by the condition.
                let turn = async move { drop(before.wait_for(|ended| *ended >= index).await) };
                async move {
                    let target = Target { id: &instance.id, name: &instance.name, grace };
                    stop(context, pod, &target, &Reason::PodStops, ip, turn).await
                }
            });
            let done = join_all(stops).await.into_iter().all(|done| done);
            ended.send_modify(|ended| *ended = index + 1);
            done
        }
    });
    let mut done = join_all(stops).await.into_iter().all(|done| done);
    for sandbox in observed.sandboxes.iter().filter(|sandbox| sandbox.ready) {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        match context.runtime.clone().stop_pod_sandbox(request).await {
            Ok(_) => {}
            Err(status) if status.code() == v1::Code::NotFound => {}
            Err(status) => {
                let err = rpc_message(&status);
                tracing::warn!(
                    namespace = spec::namespace(pod),
                    name = spec::name(pod),
                    err,
                    "sandbox cannot be stopped"
                );
                context.event(pod, None, EventType::Warning, "FailedKillPod", format!("error killing pod: failed to \"KillPodSandbox\" for \"{}\" with KillPodSandboxError: \"{err}\"", spec::uid(pod)));
                done = false;
            }
        }
    }
    done
}
