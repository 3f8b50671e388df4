//! A container's log, from its files, and on as it is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::Drain;
use edge::PassedOn;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::log_file::LogOptions;
use super::pods::{Refusal, find};
use super::tail::Tail;
use crate::context::Shared;
use crate::pods::{Instance, State as InstanceState, observe, spec};

/// How often a follower looks whether its container still runs, beside what inotify says.
const LIVENESS_CHECK: Duration = Duration::from_secs(10);

/// Answers with a container's log.
pub async fn serve(
    State(context): State<Shared>,
    UrlPath((namespace, name, container)): UrlPath<(String, String, String)>,
    Query(query): Query<std::collections::HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let options = options(&query, context.env.now()).map_err(|err| Refusal(StatusCode::UNPROCESSABLE_ENTITY, err))?;
    let (pod, observed) = find(&context, &namespace, &name).await?;
    let bad = |message: String| Refusal(StatusCode::BAD_REQUEST, message);
    if spec::container(&pod, &container).is_none() {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("container \"{container}\" not found in pod \"{name}\"")));
    }
    let previous = query.get("previous").is_some_and(|value| is_true(value));
    let instance = if previous { ended(&observed, &container) } else { observed.latest(&container).cloned() };
    let Some(instance) = instance else {
        return Err(bad(if previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            waiting_message(&pod, &container, &name)
        }));
    };
    let (sender, receiver) = mpsc::channel(4);
    let reader = Reader {
        context: Arc::clone(&context),
        path: PathBuf::from(&instance.log_path),
        uid: spec::uid(&pod).to_owned(),
        instance_id: instance.id.clone(),
        options: LogOptions { follow: options.follow && instance.state == InstanceState::Running, ..options },
        sender,
    };
    let drain = context.drain.clone();
    context.spawner.spawn(format!("log of {namespace}/{name}/{container}"), reader.run(drain));
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<Bytes, io::Error>));
    Ok(([(header::CONTENT_TYPE, "text/plain")], Extension(PassedOn), body).into_response())
}

/// The instance that ended last: the one before a running one, or the newest if it has ended.
fn ended(observed: &crate::pods::Observed, container: &str) -> Option<Instance> {
    let newest_ended = observed.latest(container).filter(|i| i.state == InstanceState::Exited && i.restart_count > 0);
    observed.previous(container).or(newest_ended).cloned()
}

fn waiting_message(pod: &k8s_openapi::api::core::v1::Pod, container: &str, name: &str) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let all = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
    let state = all.filter(|status| status.name == container).find_map(|status| status.state);
    let reason = state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason);
    match reason.as_deref() {
        Some("ErrImagePull" | "ImagePullBackOff") => {
            format!("container \"{container}\" in pod \"{name}\" is waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"),
        None => format!("container \"{container}\" in pod \"{name}\" is not available"),
    }
}

fn is_true(value: &str) -> bool {
    matches!(value, "" | "1" | "true")
}

fn options(query: &std::collections::HashMap<String, String>, now: jiff::Timestamp) -> Result<LogOptions, String> {
    let number = |name: &str| -> Result<Option<i64>, String> {
        let text = query.get(name).filter(|text| !text.is_empty());
        text.map(|text| text.parse::<i64>().map_err(|_| format!("invalid {name}: {text}"))).transpose()
    };
    let size = |name: &str| -> Result<Option<usize>, String> {
        number(name)?.map(|n| usize::try_from(n).map_err(|_| format!("invalid {name}: {n}"))).transpose()
    };
    let since = match (number("sinceSeconds")?, query.get("sinceTime")) {
        (Some(seconds), _) => now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok(),
        (None, Some(time)) => Some(time.parse().map_err(|_| format!("invalid sinceTime: {time}"))?),
        (None, None) => None,
    };
    let flag = |name: &str| query.get(name).is_some_and(|value| is_true(value));
    let stream = match query.get("stream").map(String::as_str) {
        Some("Stdout") => Some("stdout"),
        Some("Stderr") => Some("stderr"),
        _ => None,
    };
    Ok(LogOptions {
        follow: flag("follow"),
        timestamps: flag("timestamps"),
        tail_lines: size("tailLines")?,
        since,
        limit_bytes: size("limitBytes")?,
        stream,
    })
}

/// Reads one log and hands it to the response.
struct Reader {
    context: Shared,
    path: PathBuf,
    uid: String,
    instance_id: String,
    options: LogOptions,
    sender: mpsc::Sender<Bytes>,
}

impl Reader {
    async fn run(self, drain: Drain) {
        if let Some(Err(err)) = drain.until(self.read()).await {
            tracing::debug!(path = %self.path.display(), err = %err, "log cannot be read");
            let text = format!("failed to try resolving symlinks in path \"{}\": {err}\n", self.path.display());
            // The client may have gone.
            let _ = self.sender.send(Bytes::from(text)).await;
        }
    }

    async fn read(&self) -> io::Result<()> {
        // Watched before the first read, so that nothing between the two is missed.
        let mut changes = if self.options.follow { Some(Changes::of(&self.path)?) } else { None };
        let mut tail = Tail::open(self.path.clone(), self.options.clone()).await?;
        loop {
            loop {
                let (chunk, back) = tail.next().await?;
                tail = back;
                if chunk.is_empty() {
                    break;
                }
                if self.sender.send(Bytes::from(chunk)).await.is_err() {
                    return Ok(());
                }
            }
            let Some(changes) = changes.as_mut().filter(|_| !tail.is_done()) else { return Ok(()) };
            tokio::select! {
                changed = changes.wait() => changed?,
                () = self.context.env.sleep(LIVENESS_CHECK) => {}
                () = self.sender.closed() => return Ok(()),
            }
            if tail.is_at_end() && !self.is_running().await {
                // One last look: it may have written before it ended.
                let (chunk, _) = tail.next().await?;
                if !chunk.is_empty() {
                    let _ = self.sender.send(Bytes::from(chunk)).await;
                }
                return Ok(());
            }
        }
    }

    async fn is_running(&self) -> bool {
        match observe(&self.context, &self.uid).await {
            Ok(observed) => {
                observed.containers.iter().any(|i| i.id == self.instance_id && i.state == InstanceState::Running)
            }
            // The runtime may be restarting; its containers run on.
            Err(_) => true,
        }
    }
}

/// Changes of a log file and of its directory, as the kernel tells them.
struct Changes(AsyncFd<std::os::fd::OwnedFd>);

impl Changes {
    fn of(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        // The directory is watched, since rotation puts a new file under the name.
        let dir = path.parent().unwrap_or(path);
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&fd, dir, events)?;
        Ok(Self(base::watch_descriptor(fd)?))
    }

    /// Waits for a change. Cancel safe.
    async fn wait(&mut self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(guard.get_inner(), &mut buffer);
        // What the events say does not matter: the file is read to its end.
        while reader.next().is_ok() {}
        guard.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a query asks for at a time.
    #[track_caller]
    fn check(query: &[(&str, &str)], expected: Result<LogOptions, &str>) {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let now = "2024-01-01T00:01:00Z".parse().expect("a time");
        assert_eq!(options(&query, now), expected.map_err(str::to_owned), "{query:?}");
    }

    #[test]
    fn queries_are_understood() {
        let none = LogOptions::default();
        let at = |time: &str| Some(time.parse().expect("a time"));
        check(&[], Ok(none.clone()));
        check(
            &[("follow", "true"), ("timestamps", "1"), ("tailLines", "3"), ("limitBytes", "9")],
            Ok(LogOptions {
                follow: true,
                timestamps: true,
                tail_lines: Some(3),
                limit_bytes: Some(9),
                ..LogOptions::default()
            }),
        );
        check(&[("sinceSeconds", "5")], Ok(LogOptions { since: at("2024-01-01T00:00:55Z"), ..none.clone() }));
        let time = "2023-12-31T23:00:00+01:00";
        check(&[("sinceTime", time)], Ok(LogOptions { since: at("2023-12-31T22:00:00Z"), ..none.clone() }));
        check(&[("stream", "Stderr")], Ok(LogOptions { stream: Some("stderr"), ..none.clone() }));
        check(&[("stream", "All"), ("tailLines", "")], Ok(none));
        check(&[("tailLines", "-1")], Err("invalid tailLines: -1"));
        check(&[("limitBytes", "many")], Err("invalid limitBytes: many"));
        check(&[("sinceTime", "today")], Err("invalid sinceTime: today"));
        check(&[("sinceSeconds", "x")], Err("invalid sinceSeconds: x"));
    }
}
