//! Watch: changes as they happen, as a stream of lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use prometheus::IntCounter;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::read::Reached;
use super::{ReadVersion, Registry, Scope};
use crate::cache::{Change, Object, Over, Selection, TooOld, Watcher, event_line, field_selector};
use crate::flowcontrol::Seat;
use crate::http::negotiate::StreamEncoding;
use crate::http::options::ListOptions;

/// How often a watch that allows bookmarks gets one.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// No watch lasts longer, whatever it asks for: time has an end.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What a watch sends for one object: the request's form of it, encoded; nothing if it cannot be encoded.
pub(crate) type Render = Arc<dyn Fn(&Object) -> Option<Bytes> + Send + Sync>;

/// What a watch sends for an object that has nothing but metadata: the same form of it.
pub(crate) type Bookmark = Box<dyn Fn(Value) -> Option<Bytes> + Send + Sync>;

/// The form in which a watch shows objects.
pub(crate) struct Form {
    pub(crate) encoding: StreamEncoding,
    /// Changes an object; without it objects are shown as they are stored, in bytes that all such watches share.
    pub(crate) render: Option<Render>,
    /// Shows bookmarks.
    pub(crate) bookmark: Bookmark,
    /// What is watched.
    pub(crate) resource: Arc<Resource>,
    /// Counts the events that are sent.
    pub(crate) sent: IntCounter,
}

/// How the watch begins.
#[derive(Default)]
struct Begin {
    /// With the objects that are there.
    objects: VecDeque<Change>,
    /// The revision of the bookmark behind them.
    bookmark: Option<i64>,
}

/// Events are sent in pieces of about this size at most, so that a watch that is read slowly holds no more.
const PIECE: usize = 64 * 1024;

impl Registry {
    /// Starts a watch; errors that come before its first event are answers of their own.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        scope: Scope<'_>,
        options: ListOptions,
        form: Form,
        seat: Option<Arc<Seat>>,
    ) -> Result<impl Stream<Item = Bytes> + Send + 'static, Status> {
        let options = ListOptions { fields: field_selector(scope.resource, &options.fields)?, ..options };
        self.ready().await?;
        self.check_readable(scope)?;
        let started = self.begin(scope, &options).await?;
        // Watches without a timeout end at different times, so that their clients do not all come back at once.
        let lasts = options.timeout.unwrap_or_else(|| self.env.random().jitter(self.config.min_request_timeout, 1.0));
        let lasts = lasts.min(LONGEST);
        Ok(events(self.clone(), started, form, seat, options.bookmarks, lasts))
    }

    /// Where the watch begins, or what its first and only event says.
    async fn begin(&self, scope: Scope<'_>, options: &ListOptions) -> Result<Result<(Watcher, Begin), Status>, Status> {
        let selection = Selection {
            namespace: scope.namespace.map(str::to_owned),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        };
        let (cache, resource) = (self.cache.clone(), self.resource_cache(scope.resource)?);
        let wants_initial = options.send_initial_events.unwrap_or(matches!(options.resource_version, None | Some(0)));
        if let Some(revision) = options.resource_version.filter(|revision| !wants_initial && *revision > 0) {
            let watcher = Watcher::after(cache, resource, selection, revision);
            return Ok(watcher.map(|watcher| (watcher, Begin::default())).map_err(|TooOld { oldest }| {
                Status::expired(format!("too old resource version: {revision} ({oldest})"))
            }));
        }
        // Without initial events and without a version it begins now.
        let version = match (options.send_initial_events, options.resource_version) {
            (_, None) => ReadVersion::Latest,
            (Some(true), version) => ReadVersion::from_parameter(version),
            _ => ReadVersion::Any,
        };
        if let Reached::Behind(status) = self.reached(version).await? {
            return Ok(Err(status));
        }
        let (snapshot, watcher) = Watcher::from_now(cache, resource, selection.clone());
        if !wants_initial {
            return Ok(Ok((watcher, Begin::default())));
        }
        let objects = snapshot.range(scope.namespace).filter(|object| selection.matches(object)).cloned();
        let objects: Vec<Change> = objects.map(Change::added).collect();
        let objects = self.changes_in_version(scope.resource, objects).await?.into();
        let ends_with_bookmark = options.send_initial_events == Some(true) && options.bookmarks;
        Ok(Ok((watcher, Begin { objects, bookmark: ends_with_bookmark.then_some(snapshot.revision) })))
    }
}

impl Form {
    /// The next changes, as many as make a piece; they are taken from the front.
    fn piece(&self, changes: &mut VecDeque<Change>) -> Bytes {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE
            && let Some(change) = changes.pop_front()
        {
            let event = self.change(&change);
            self.sent.inc();
            // Most often there is one, in bytes that other watches have too.
            if piece.is_empty() && changes.is_empty() {
                return event;
            }
            piece.extend_from_slice(&event);
        }
        piece.freeze()
    }

    /// A change as an event; nothing if it cannot be encoded.
    fn change(&self, change: &Change) -> Bytes {
        match (&self.render, self.encoding) {
            (None, StreamEncoding::Json) => change.line(),
            (None, StreamEncoding::Protobuf) => change.frame(&self.resource),
            (Some(render), _) => {
                render(&change.object).map(|object| self.event(change.kind.as_str(), &object)).unwrap_or_default()
            }
        }
    }

    fn bookmark(&self, revision: i64, ends_initial_events: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = (&self.resource.kind, self.resource.api_version());
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        (self.bookmark)(object).map(|object| self.event("BOOKMARK", &object)).unwrap_or_default()
    }

    fn error(&self, status: &Status) -> Bytes {
        let status = status.to_json();
        match self.encoding {
            StreamEncoding::Json => self.event("ERROR", status.to_string().as_bytes()),
            StreamEncoding::Protobuf => self.event("ERROR", &api::protobuf::body(&status, api::protobuf::STATUS)),
        }
    }

    /// An event with an encoded object.
    fn event(&self, kind: &str, object: &[u8]) -> Bytes {
        match self.encoding {
            StreamEncoding::Json => event_line(kind, object),
            StreamEncoding::Protobuf => api::protobuf::frame(kind, object).into(),
        }
    }
}

struct Running {
    registry: Arc<Registry>,
    watcher: Watcher,
    form: Form,
    /// Held until what was there before is sent.
    seat: Option<Arc<Seat>>,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    /// Changes that were taken from the watcher and not sent yet.
    pending: VecDeque<Change>,
    /// The revision of the bookmark that follows the first of them.
    initial_bookmark: Option<i64>,
    is_over: bool,
}

/// The events of a watch, or what is wrong with it.
fn events(
    registry: Arc<Registry>,
    started: Result<(Watcher, Begin), Status>,
    form: Form,
    seat: Option<Arc<Seat>>,
    bookmarks: bool,
    lasts: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let now = Instant::now();
    let state = match started {
        Ok((watcher, Begin { objects, bookmark })) => Ok(Running {
            registry,
            watcher,
            form,
            seat,
            bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            ends: now + lasts,
            pending: objects,
            initial_bookmark: bookmark,
            is_over: false,
        }),
        Err(status) => Err(Some(form.error(&status))),
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
        let drain = self.registry.drain.clone();
        loop {
            while !self.pending.is_empty() {
                let piece = self.form.piece(&mut self.pending);
                if !piece.is_empty() {
                    return Some(piece);
                }
            }
            if let Some(revision) = self.initial_bookmark.take() {
                return Some(self.form.bookmark(revision, true));
            }
            self.seat = None;
            let wakes = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
            // Changes come last, so that a watch ends in time however many there are.
            tokio::select! {
                biased;
                () = drain.drained() => return None,
                () = tokio::time::sleep_until(wakes) => {
                    self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
                    self.is_over = Instant::now() >= self.ends;
                    if self.bookmarks {
                        return Some(self.form.bookmark(self.watcher.seen(), false));
                    }
                    if self.is_over {
                        return None;
                    }
                }
                changes = self.watcher.changes() => match changes {
                    Ok(changes) => match self.registry.changes_in_version(&self.form.resource, changes).await {
                        Ok(changes) => self.pending.extend(changes),
                        Err(status) => {
                            self.is_over = true;
                            return Some(self.form.error(&status));
                        }
                    },
                    Err(Over::Ended) => return None,
                    Err(Over::TooOld) => {
                        self.is_over = true;
                        let message = "too old resource version: the watch fell behind the window of events";
                        return Some(self.form.error(&Status::expired(message)));
                    }
                },
            }
        }
    }
}
