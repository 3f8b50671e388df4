//! What containers leave as their last words: in a file of theirs, or at the end of their log.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::observed::{Instance, Observed, State};
use super::spec;
use crate::context::Context;

/// The longest message that is taken from a file.
const MAX_MESSAGE: usize = 4096;
/// What is taken from the end of a log where there is no message.
const MAX_LOG_MESSAGE: usize = 2048;
const MAX_LOG_LINES: usize = 80;
/// What the containers of a pod have together, each the same part of it.
const MAX_OF_POD: usize = 12 * 1024;

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

/// Shortens messages so that those of all containers of a pod fit into its status.
pub fn share(pod: &Pod, statuses: &mut [ContainerStatus]) {
    let ephemeral = spec::spec(pod).ephemeral_containers.as_ref().map_or(0, Vec::len);
    let containers = spec::init_containers(pod).len() + spec::containers(pod).len() + ephemeral;
    let Some(limit) = MAX_OF_POD.checked_div(containers) else { return };
    let states = statuses.iter_mut().flat_map(|status| [&mut status.state, &mut status.last_state]);
    for message in states.flatten().filter_map(|state| state.terminated.as_mut()?.message.as_mut()) {
        message.truncate(message.floor_char_boundary(limit));
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

    /// The lengths of the messages of so many containers that left 5,000 bytes each.
    #[track_caller]
    fn check_shares(containers: usize, expected: usize) {
        let mut maker = testkit::pod("web");
        for number in 0..containers {
            maker = maker.container(&format!("c{number}"), "image");
        }
        // A letter of two bytes is not cut into two.
        let ended = serde_json::json!({"terminated": {"exitCode": 1, "message": "é".repeat(5000)}});
        let status = serde_json::json!({
            "name": "c0", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
            "state": ended, "lastState": ended,
        });
        let mut statuses = vec![serde_json::from_value::<ContainerStatus>(status).expect("a status")];
        share(&maker.build(), &mut statuses);
        let length = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().and_then(|state| state.terminated.as_ref()?.message.as_ref()).map(String::len)
        };
        assert_eq!(length(&statuses[0].state), Some(expected), "{containers}");
        assert_eq!(length(&statuses[0].last_state), Some(expected), "{containers}");
    }

    #[test]
    fn the_containers_of_a_pod_share_what_is_for_their_messages() {
        check_shares(2, 6144);
        check_shares(5, 2456);
        check_shares(13, 944);
    }
}
