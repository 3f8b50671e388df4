//! Watch: changes as they happen, as a stream of lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use serde_json::json;
use tokio::time::Instant;

use super::lists::check_field_selector;
use super::{ReadVersion, Registry, Scope};
use crate::cache::{Object, Selection, Watcher};
use crate::http::options::ListOptions;

/// How often a watch that allows bookmarks gets one.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// What a watch sends for one object or bookmark: the request's form of the object as JSON.
pub(crate) type Render = Arc<dyn Fn(&Object) -> Option<Bytes> + Send + Sync>;

/// The form in which a watch shows objects.
pub(crate) enum Form {
    /// As they are stored: lines are shared by all such watches.
    Stored,
    /// Changed, with the kind and apiVersion that bookmarks have in this form.
    Rendered { render: Render, kind: api::kinds::Text, api_version: String },
}

/// How the watch begins.
enum Begin {
    /// With the objects that are there.
    Initial {
        objects: VecDeque<Arc<Object>>,
        bookmark: Option<i64>,
    },
    After,
}

/// How many objects are sent in one piece.
const CHUNK: usize = 256;

impl Registry {
    /// Starts a watch; errors that come before its first event are answers of their own.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        scope: Scope<'_>,
        options: ListOptions,
        form: Form,
    ) -> Result<impl Stream<Item = Bytes> + Send + 'static, Status> {
        check_field_selector(scope.resource, &options)?;
        self.wait_for(1).await?;
        let selection = Selection {
            namespace: scope.namespace.map(str::to_owned),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        };
        let resource = self.resource_cache(scope.resource)?.clone();
        let wants_initial = options.send_initial_events.unwrap_or(matches!(options.resource_version, None | Some(0)));
        let started = if wants_initial {
            let version = match (options.send_initial_events, options.resource_version) {
                (Some(true), version) => ReadVersion::from_parameter(version),
                (_, None) => ReadVersion::Latest,
                _ => ReadVersion::Any,
            };
            self.wait_for_version(version).await?;
            let (snapshot, watcher) = Watcher::from_now(self.cache.clone(), resource, selection.clone());
            let objects = snapshot.range(scope.namespace).filter(|object| selection.matches(object)).cloned().collect();
            let bookmark = (options.send_initial_events == Some(true)).then_some(snapshot.revision);
            Ok((watcher, Begin::Initial { objects, bookmark }))
        } else {
            match options.resource_version.filter(|revision| *revision > 0) {
                Some(revision) => {
                    Watcher::after(self.cache.clone(), resource, selection, revision).map(|w| (w, Begin::After))
                }
                // Without initial events and without a version: from now on.
                None => {
                    self.fresh().await?;
                    Ok((Watcher::from_now(self.cache.clone(), resource, selection).1, Begin::After))
                }
            }
        };
        let shown = match form {
            Form::Stored => {
                Shown { render: None, kind: scope.resource.kind.clone(), api_version: scope.resource.api_version() }
            }
            Form::Rendered { render, kind, api_version } => Shown { render: Some(render), kind, api_version },
        };
        // Watches without a timeout end at different times, so that their clients do not all come back at once.
        let lasts = options.timeout.unwrap_or_else(|| self.env.random().jitter(self.config.min_request_timeout, 1.0));
        let requested = options.resource_version.unwrap_or(0);
        Ok(lines(self.clone(), started.map_err(|_| requested), shown, options.bookmarks, lasts))
    }
}

/// How objects and bookmarks are shown.
struct Shown {
    render: Option<Render>,
    kind: api::kinds::Text,
    api_version: String,
}

impl Shown {
    fn changes(&self, changes: &[crate::cache::Change]) -> Bytes {
        match (&self.render, changes) {
            (None, [only]) => only.line(),
            _ => {
                let mut lines = BytesMut::new();
                for change in changes {
                    match &self.render {
                        None => lines.extend_from_slice(&change.line()),
                        Some(render) => {
                            if let Some(object) = render(&change.object) {
                                lines.extend_from_slice(&line(change.kind.as_str(), &object));
                            }
                        }
                    }
                }
                lines.freeze()
            }
        }
    }

    fn bookmark(&self, revision: i64, ends_initial_events: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.kind, "apiVersion": self.api_version, "metadata": metadata});
        line("BOOKMARK", object.to_string().as_bytes())
    }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.extend_from_slice(br#"{"type":""#);
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(br#"","object":"#);
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.freeze()
}

fn error_line(status: &Status) -> Bytes {
    line("ERROR", status.to_json().to_string().as_bytes())
}

struct Running {
    registry: Arc<Registry>,
    watcher: Watcher,
    shown: Shown,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    begin: Begin,
    is_over: bool,
}

/// The lines of a watch. `started` is the revision that was asked for if the window begins after it.
fn lines(
    registry: Arc<Registry>,
    started: Result<(Watcher, Begin), i64>,
    shown: Shown,
    bookmarks: bool,
    lasts: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let now = Instant::now();
    let state = match started {
        Ok((watcher, begin)) => Ok(Running {
            registry,
            watcher,
            shown,
            bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            ends: now + lasts,
            begin,
            is_over: false,
        }),
        Err(requested) => {
            let message = format!("too old resource version: {requested} ({})", registry.cache.applied());
            Err(Some(error_line(&Status::expired(message))))
        }
    };
    futures::stream::unfold(state, |state| async move {
        match state {
            Err(error) => error.map(|line| (line, Err(None))),
            Ok(mut running) => {
                let line = running.next().await?;
                Some((line, Ok(running)))
            }
        }
    })
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if let Begin::Initial { objects, bookmark } = &mut self.begin {
            let chunk = objects.len().min(CHUNK);
            let changes: Vec<_> = objects.drain(..chunk).map(crate::cache::Change::added).collect();
            let mut lines = BytesMut::from(&self.shown.changes(&changes)[..]);
            if objects.is_empty() {
                if let Some(revision) = bookmark {
                    lines.extend_from_slice(&self.shown.bookmark(*revision, true));
                }
                self.begin = Begin::After;
            }
            if !lines.is_empty() {
                return Some(lines.freeze());
            }
        }
        loop {
            let drain = self.registry.drain.clone();
            let bookmark_at = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
            tokio::select! {
                biased;
                changes = self.watcher.changes() => {
                    let Ok(changes) = changes else {
                        self.is_over = true;
                        let message = "too old resource version: the watch fell behind the window of events";
                        return Some(error_line(&Status::expired(message)));
                    };
                    let lines = self.shown.changes(&changes);
                    if !lines.is_empty() {
                        return Some(lines);
                    }
                }
                () = drain.drained() => return None,
                () = tokio::time::sleep_until(bookmark_at) => {
                    self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
                    self.is_over = Instant::now() >= self.ends;
                    if self.bookmarks {
                        return Some(self.shown.bookmark(self.watcher.seen(), false));
                    }
                    if self.is_over {
                        return None;
                    }
                }
            }
        }
    }
}
