//! Reads what the runtime has of a pod.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use cri as v1;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::observed::{Instance, Observed, Sandbox, State, instance};
use super::{names, spec};
use crate::context::Context;

/// The longest termination message that is taken from a file.
const MAX_MESSAGE: usize = 4096;
/// What is taken from the end of a log where there is no message.
const MAX_LOG_MESSAGE: usize = 2048;
const MAX_LOG_LINES: usize = 80;

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

/// Where an instance's termination message is written, on the node.
pub fn termination_path(pod_dir: &Path, container: &str, restart_count: u32) -> PathBuf {
    pod_dir.join("containers").join(container).join(format!("{restart_count}.message"))
}

/// Adds what ended containers left as their messages.
pub async fn read_messages(context: &Context, pod: &Pod, observed: &mut Observed) {
    let pod_dir = context.config.pod_dir(spec::uid(pod));
    for instance in observed.containers.iter_mut().filter(|instance| instance.state == State::Exited) {
        let path = termination_path(&pod_dir, &instance.name, instance.restart_count);
        let policy = spec::container(pod, &instance.name).and_then(|container| container.termination_message_policy);
        let mut message = read_end(&path, MAX_MESSAGE).await;
        if message.is_empty() && instance.exit_code != 0 && policy.as_deref() == Some("FallbackToLogsOnError") {
            message = log_end(instance).await;
        }
        if !message.is_empty() {
            instance.message = message;
        }
    }
}

async fn log_end(instance: &Instance) -> String {
    // Each line of the log carries a time and tags before what the container wrote.
    let raw = read_end(Path::new(&instance.log_path), 4 * MAX_LOG_MESSAGE).await;
    let text = written(&raw);
    let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_LOG_MESSAGE));
    text[start..].to_owned()
}

/// What a container wrote, from lines of its log. A line without an end of its own is continued in the next.
fn written(log: &str) -> String {
    let lines: Vec<(&str, &str)> = log
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(4, ' ').skip(2);
            Some((parts.next()?, parts.next()?))
        })
        .collect();
    let last = &lines[lines.len().saturating_sub(MAX_LOG_LINES)..];
    last.iter().flat_map(|(tag, text)| [*text, if *tag == "P" { "" } else { "\n" }]).collect()
}

/// The end of a file as text; empty where there is none.
async fn read_end(path: &Path, limit: usize) -> String {
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let size = file.metadata().await?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(limit as u64))).await?;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    String::from_utf8_lossy(&read.await.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_from_the_log_as_it_was() {
        for (log, expected) in [
            ("", ""),
            ("2026-01-01T00:00:00Z stdout F one two\n2026-01-01T00:00:00Z stderr F three\n", "one two\nthree\n"),
            ("2026-01-01T00:00:00Z stdout P on\n2026-01-01T00:00:00Z stdout F e\n", "one\n"),
            ("2026-01-01T00:00:00Z stdout P no end\n", "no end"),
            // The log is read from its end on, and the first line may be cut.
            ("F cut\n2026-01-01T00:00:00Z stdout F whole\n", "whole\n"),
        ] {
            assert_eq!(written(log), expected, "{log}");
        }
        let many: String = (0..100).map(|n| format!("t stdout F {n}\n")).collect();
        assert_eq!(written(&many).lines().next(), Some("20"));
    }
}
