//! Stops what a plan says: a container with its hook and grace period, or a whole pod.

use std::time::Duration;

use client::EventType;
use cri as v1;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

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
    let message = match reason {
        Reason::PodStops => format!("Stopping container {}", target.name),
        Reason::FailedPostStart => "FailedPostStartHook".to_owned(),
        Reason::Plan(message) => message.clone(),
    };
    context.event(pod, Some(target.name), EventType::Normal, "Killing", message);
    let began = context.env.instant();
    let definition = spec::container(pod, target.name);
    if let Some(definition) = definition.filter(|_| target.grace > 0)
        && let Some(handler) = definition.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
    {
        let limit = Duration::from_secs(target.grace.unsigned_abs());
        let hook = lifecycle::run(context, pod, &definition, target.id, ip, handler, limit);
        match tokio::time::timeout(limit, hook).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => {
                tracing::info!(namespace = spec::namespace(pod), name = spec::name(pod), err = %err, "preStop hook failed");
                let name = Some(target.name);
                context.event(pod, name, EventType::Warning, "FailedPreStopHook", "PreStopHook failed".to_owned());
            }
            Err(_) => {
                tracing::info!(
                    namespace = spec::namespace(pod),
                    name = spec::name(pod),
                    "preStop hook ran out of time"
                );
            }
        }
    }
    let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    let timeout = target.grace.saturating_sub(used).max(MIN_GRACE);
    let request = v1::StopContainerRequest { container_id: target.id.to_owned(), timeout };
    match context.runtime.clone().stop_container(request).await {
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

/// Stops all containers of a pod, sidecars last, then its sandboxes. True where all of it is done.
pub async fn pod(context: &Context, pod: &Pod, observed: &Observed, grace: i64) -> bool {
    let ip = observed.sandboxes.first().and_then(|sandbox| sandbox.ips.first()).map(String::as_str);
    let began = context.env.instant();
    let mut done = true;
    for together in stop_order(pod, observed) {
        // The grace period is the whole pod's: what the first ones took, the next ones no longer have.
        let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
        let grace = grace.saturating_sub(used).max(0);
        let stops = together.iter().map(|instance| async move {
            let target = Target { id: &instance.id, name: &instance.name, grace };
            container(context, pod, &target, &Reason::PodStops, ip).await
        });
        done &= join_all(stops).await.into_iter().all(|done| done);
    }
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
