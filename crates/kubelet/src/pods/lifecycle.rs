//! The hooks of a container's life: what is run after its start and before its end.

use std::time::Duration;

use cri as v1;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use super::spec;
use crate::context::Context;
use crate::images::rpc_message;
use crate::probes::{HttpCheck, http_get, resolve_port};

/// A hook that failed. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Its command could not be run.
    #[error("Exec lifecycle hook ({command:?}) for Container \"{container}\" in Pod \"{pod}\" failed - error: {cause}")]
    Exec {
        /// The command.
        command: Vec<String>,
        /// The container.
        container: String,
        /// The pod.
        pod: String,
        /// What went wrong.
        cause: String,
    },
    /// Its request failed.
    #[error("HTTP lifecycle hook ({path}) for Container \"{container}\" in Pod \"{pod}\" failed - error: {cause}")]
    Http {
        /// The request's path.
        path: String,
        /// The container.
        container: String,
        /// The pod.
        pod: String,
        /// What went wrong.
        cause: String,
    },
}

/// Runs a hook to its end. `limit` is how long it may take.
pub async fn run(
    context: &Context,
    pod: &Pod,
    container: &Container,
    container_id: &str,
    pod_ip: Option<&str>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), HookError> {
    let pod_name = || format!("{}_{}", spec::name(pod), spec::namespace(pod));
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let request = v1::ExecSyncRequest {
            container_id: container_id.to_owned(),
            cmd: command.clone(),
            timeout: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        };
        let cause =
            match context.runtime.clone().exec_sync(v1::lasting(request, limit)).await.map(v1::Response::into_inner) {
                Ok(answer) if answer.exit_code == 0 => return Ok(()),
                Ok(answer) => format!(
                    "command '{}' exited with {}: {}",
                    command.join(" "),
                    answer.exit_code,
                    String::from_utf8_lossy(&answer.stderr)
                ),
                Err(status) => rpc_message(&status),
            };
        return Err(HookError::Exec { command, container: container.name.clone(), pod: pod_name(), cause });
    }
    if let Some(http) = &handler.http_get {
        let path = http.path.clone().unwrap_or_default();
        let fail =
            |cause| HookError::Http { path: path.clone(), container: container.name.clone(), pod: pod_name(), cause };
        let port = resolve_port(&http.port, container).map_err(|err| fail(err.to_string()))?;
        let check = HttpCheck::new(http, pod_ip.unwrap_or("127.0.0.1"), port, "kube-lifecycle/1.35", limit);
        // Any answer will do: a hook is told, not asked.
        return http_get(&check).await.map(|_| ()).map_err(|err| fail(err.to_string()));
    }
    if let Some(sleep) = &handler.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        context.env.sleep(wanted.min(limit)).await;
    }
    Ok(())
}
