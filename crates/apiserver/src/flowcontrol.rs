//! API priority and fairness: how many requests are served at once, whose, and in which order.
//!
//! Flow schemas sort requests into priority levels; each level has a part of the server's seats, and lends and borrows
//! some. Requests that find no seat wait in queues of which a flow has few, so that a flood waits behind itself; those
//! that have one take turns to begin. The
//! configuration is a snapshot that [`FlowControl::run`] makes anew whenever an object of it changes.

mod allocation;
mod bootstrap;
mod demand;
mod dump;
mod estimate;
mod filter;
mod in_flight;
mod level;
mod maintenance;
mod metrics;
mod queueset;
mod retry;
mod schema;
mod shuffle;
mod snapshot;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{Drain, Env};
use prometheus::proto::MetricFamily;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(crate) use dump::dump;
pub(crate) use filter::filter;
pub(crate) use in_flight::InFlight;
pub(crate) use maintenance::run as maintain;

use crate::access::Identity;
use crate::cache::{Selection, Watcher};
use crate::http::request_info::{RequestInfo, Target, Verb};
use crate::registry::Registry;
use estimate::Estimate;
use level::{Level, Ticket, wake};
use queueset::{Id, Refusal};
use schema::{Digest, Schema};
use snapshot::Snapshot;
use turns::{Turn, Turns};

/// The group of the configuration.
const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// What bounds the requests that are served at once.
pub(crate) enum Limits {
    /// `--enable-priority-and-fairness`, as by default.
    Fair(Arc<FlowControl>),
    /// Two numbers alone.
    InFlight(Arc<InFlight>),
}

impl Limits {
    /// What they count.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        match self {
            Self::Fair(control) => control.metrics(),
            Self::InFlight(_) => Vec::new(),
        }
    }
}

/// The levels at work.
pub(crate) struct FlowControl {
    snapshot: ArcSwap<Snapshot>,
    env: Env,
    /// All seats that there are.
    seats: u32,
    /// Which of the requests with seats are begun.
    turns: Arc<Turns>,
    /// Tells that seats are given back at a time for which somebody waits.
    releases: Notify,
    /// Room for requests that are held before they are turned away.
    held: filter::Held,
}

/// A seat, or several, of a level. They are given back when this is dropped.
pub(crate) struct Seat {
    control: Arc<FlowControl>,
    schema: Arc<Schema>,
    is_watch: bool,
    /// When the request came, or was given its seat.
    since: Instant,
    /// Nothing once a request has left the level without ever having had its seat.
    id: Option<Id>,
}

impl Seat {
    /// The request that waited has it now.
    fn begin(mut self) -> Self {
        let now = self.control.env.instant();
        self.schema.counters.dispatched(Some(now.saturating_duration_since(self.since)));
        self.since = now;
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let now = self.control.env.instant();
        self.schema.counters.executed(now.saturating_duration_since(self.since), self.is_watch);
        let mut set = self.schema.level.set();
        let started = set.finish(now, id);
        wake(&mut set, started);
        if set.next_release().is_some() {
            self.control.releases.notify_one();
        }
    }
}

/// A place in a queue. It is given up when this is dropped.
struct Place {
    seat: Option<Seat>,
}

impl Place {
    /// The seat, if the request has started.
    fn give_up(&mut self, timed_out: bool) -> Option<Seat> {
        let mut seat = self.seat.take()?;
        let id = seat.id?;
        {
            let mut set = seat.schema.level.set();
            if let Some(started) = set.give_up(seat.control.env.instant(), id, timed_out) {
                wake(&mut set, started);
                // There is no seat to be given back.
                seat.id = None;
            }
        }
        seat.id.is_some().then_some(seat)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            seat.schema.counters.rejected(None, seat.control.env.instant().saturating_duration_since(seat.since));
            drop(self.give_up(false));
        }
    }
}

/// A request that is turned away.
struct TurnedAway {
    why: Refusal,
    /// When it may come back, in seconds.
    retry_after: u32,
}

impl FlowControl {
    /// The levels of every cluster over so many seats; [`FlowControl::run`] follows the configuration.
    pub(crate) fn new(seats: u32, env: Env) -> Arc<Self> {
        let (schemas, levels) = (bootstrap::suggested_schemas(), bootstrap::suggested_levels());
        let snapshot = Snapshot::default().next(&schemas, &levels, seats, env.instant());
        // Two for each processor: one runs, the other is there when it ends.
        let turns = Turns::new(2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        let (snapshot, releases) = (ArcSwap::from_pointee(snapshot), Notify::new());
        Arc::new(Self { snapshot, env, seats, turns, releases, held: filter::Held::new() })
    }

    fn levels(&self) -> Vec<Arc<Level>> {
        self.snapshot.load().levels.values().cloned().collect()
    }

    /// The schema of a request.
    fn classify(&self, digest: Digest<'_>) -> Arc<Schema> {
        self.snapshot.load().classify(digest)
    }

    /// Waits for seats, at most for `patience`.
    async fn seat(
        self: &Arc<Self>,
        schema: &Arc<Schema>,
        (info, identity): (&Arc<RequestInfo>, &Arc<Identity>),
        estimate: Estimate,
        patience: Duration,
    ) -> Result<Seat, TurnedAway> {
        let level = &schema.level;
        let now = self.env.instant();
        schema.counters.arrived(estimate);
        let (mut place, woken) = {
            let (sender, woken) = oneshot::channel();
            let ticket =
                Ticket { schema: schema.clone(), info: info.clone(), identity: identity.clone(), wake: Some(sender) };
            let hash = || shuffle::hash_flow(&schema.name, schema.distinguisher(identity, info));
            let mut set = level.set();
            let started = set.tick(now);
            wake(&mut set, started);
            let arrival = match set.arrive(now, hash, estimate, ticket) {
                Ok(arrival) => arrival,
                Err(why) => {
                    drop(set);
                    return Err(self.turn_away(schema, why, now));
                }
            };
            wake(&mut set, arrival.others);
            let is_watch = matches!(&info.target, Target::Resource(target) if target.verb == Verb::Watch);
            let id = Some(arrival.id);
            let seat = Seat { control: self.clone(), schema: schema.clone(), is_watch, since: now, id };
            if arrival.starts {
                schema.counters.dispatched((!level.is_exempt).then_some(Duration::ZERO));
                return Ok(seat);
            }
            if set.next_release().is_some() {
                self.releases.notify_one();
            }
            (Place { seat: Some(seat) }, woken)
        };
        // An error means that the level is gone, which it cannot while it is held here.
        let is_late = tokio::time::timeout(patience, woken).await.is_err();
        let seat = if is_late { place.give_up(true) } else { place.seat.take() };
        seat.map(Seat::begin).ok_or_else(|| self.turn_away(schema, Refusal::TimeOut, now))
    }

    /// Waits until a request with its seat may begin.
    async fn turn(&self, schema: &Schema, info: &RequestInfo, identity: &Identity) -> Turn {
        self.turns.take(shuffle::hash_flow(&schema.name, schema.distinguisher(identity, info))).await
    }

    /// Turns a request away that came at a time.
    fn turn_away(&self, schema: &Schema, why: Refusal, came: Instant) -> TurnedAway {
        let now = self.env.instant();
        schema.counters.rejected(Some(why), now.saturating_duration_since(came));
        TurnedAway { why, retry_after: schema.level.retry_after.dropped(now) }
    }

    /// Follows the configuration and the demand until `drain`.
    pub(crate) async fn run(self: Arc<Self>, registry: Arc<Registry>, drain: Drain) {
        while drain.until(self.follow(&registry)).await.is_some() {
            // The watch fell behind: start again from what is there.
        }
    }

    async fn follow(&self, registry: &Registry) {
        let _ = registry.wait_for(1).await;
        let watcher = |plural| {
            let resource = api::kinds::find(GROUP, "v1", plural)?;
            let cache = registry.resource_cache(resource).ok()?;
            Some(Watcher::from_now(registry.cache.clone(), cache, Selection::everything()).1)
        };
        let Some((mut schemas, mut levels)) = watcher("flowschemas").zip(watcher("prioritylevelconfigurations")) else {
            return;
        };
        self.configure(registry);
        let mut adjusts = self.env.instant() + demand::ADJUSTMENT_PERIOD;
        loop {
            let wakes = self.levels().iter().filter_map(|level| level.set().next_release()).min();
            tokio::select! {
                changes = schemas.changes() => if changes.is_err() { return } else { self.configure(registry) },
                changes = levels.changes() => if changes.is_err() { return } else { self.configure(registry) },
                () = self.releases.notified() => {}
                () = tokio::time::sleep_until(wakes.unwrap_or(adjusts).min(adjusts)) => {
                    let now = self.env.instant();
                    if now >= adjusts {
                        adjusts = now + demand::ADJUSTMENT_PERIOD;
                        self.adjust();
                    }
                    for level in self.levels() {
                        let mut set = level.set();
                        let started = set.tick(now);
                        wake(&mut set, started);
                    }
                }
            }
        }
    }

    /// Takes the configuration that the cache has.
    fn configure(&self, registry: &Registry) {
        let objects = |plural| {
            let cache = api::kinds::find(GROUP, "v1", plural).and_then(|row| registry.resource_cache(row).ok());
            let snapshot = cache.map(|cache| cache.snapshot(0));
            snapshot.iter().flat_map(|snapshot| snapshot.range(None)).map(|object| object.value()).collect::<Vec<_>>()
        };
        let schemas = completed(objects("flowschemas"), bootstrap::suggested_schemas());
        let levels = completed(objects("prioritylevelconfigurations"), bootstrap::suggested_levels());
        let next = self.snapshot.load().next(&schemas, &levels, self.seats, self.env.instant());
        self.snapshot.store(Arc::new(next));
    }

    /// Gives seats of those who want few to those who want many.
    fn adjust(&self) {
        let (levels, now) = (self.levels(), self.env.instant());
        let wanted: Vec<_> = levels.iter().map(|level| level.wanted(now)).collect();
        for (level, limit) in levels.iter().zip(allocation::allocate(&wanted)) {
            level.limit(now, limit);
        }
    }
}

/// The objects, and those suggested ones that are not among them yet: they are made anew when they are missing, and while
/// they are being made one by one, the cluster's own parts must not be taken for anybody.
fn completed(mut found: Vec<Value>, suggested: Vec<Value>) -> Vec<Value> {
    let is_there = |name: &str| found.iter().any(|object| api::meta::name(object) == name);
    let missing: Vec<_> = suggested.into_iter().filter(|object| !is_there(api::meta::name(object))).collect();
    found.extend(missing);
    found
}

#[cfg(test)]
mod tests;
