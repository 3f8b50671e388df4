//! The filter: a request waits for its seats, holds them while it is answered, and is told by whom it was judged.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use base::Env;
use http::{HeaderName, Response};
use http_body::Body as _;
use tokio::sync::Semaphore;

use super::estimate::{self, Estimate, ONE, Stored};
use super::queueset::Refusal;
use super::schema::{Digest, Schema};
use super::turns::begin;
use super::{FlowControl, InFlight, Limits};
use crate::access::identity::MASTERS;
use crate::filters::{Answer, Exchange, Next, answered, is_long_running};
use crate::http::body::{self, Body};
use crate::http::request_info::{RequestInfo, ResourceRequest, Target, Verb};
use crate::registry::Registry;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// How long a request that finds no place is held before it is told so. Zero tells it at once, as upstream does.
///
/// Clients that go by `Retry-After` come back a second later than upstream's would, and nothing is lost to them. Those
/// that do not come back at once, and what each of them costs (TLS, its head, who it is, which rules count) comes before
/// its flow's turn: some hundred connections of one user would have the processors to themselves.
/// Measured (`cargo bench --bench fairness`, 10,000 requests a second beside 512 connections of one user, two cores): a
/// quiet user's p99 is 8.0 ms and 34,000 requests a second are served; told at once it is 9.9 ms and 25,000.
const PENALTY: Duration = Duration::from_secs(1);

/// So many requests are held at a time, each of which costs its connection and what was read of it; more are told at
/// once.
const MOST_HELD: usize = 1024;

/// Room for the requests that are held.
pub(super) struct Held(Semaphore);

impl Held {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MOST_HELD))
    }

    async fn wait(&self, env: &Env) {
        if let Ok(_room) = self.0.try_acquire() {
            env.sleep(PENALTY).await;
        }
    }
}

/// Answers up to this size are handed to the connection in one piece; larger ones are work until they are sent.
const SMALL: u64 = 64 * 1024;

/// Lets a request wait for seats, or turns it away.
pub(crate) fn filter(exchange: Exchange, next: Next) -> Answer {
    let is_watch = matches!(&exchange.info.target, Target::Resource(target) if target.verb == Verb::Watch);
    match &exchange.core.limits {
        _ if is_long_running(&exchange.info) && !is_watch => next.run(exchange),
        Limits::Fair(control) => {
            let control = control.clone();
            Box::pin(wait(control, exchange, next, is_watch))
        }
        Limits::InFlight(_) if is_watch => next.run(exchange),
        Limits::InFlight(limits) => count(&limits.clone(), exchange, next),
    }
}

async fn wait(control: Arc<FlowControl>, mut exchange: Exchange, next: Next, is_watch: bool) -> Response<Body> {
    let method = exchange.request.method().as_str();
    let schema = control.classify(Digest { identity: &exchange.identity, info: &exchange.info, method });
    let estimate = estimate(&exchange.core.registry, &exchange.info, schema.level.max_seats());
    // The rest of the time is for the request itself.
    let patience = exchange.time_limit / 4;
    let seat = match control.seat(&schema, (&exchange.info, &exchange.identity), estimate, patience).await {
        Ok(seat) => Arc::new(seat),
        Err(turned_away) => {
            tracing::debug!(level = schema.level.name, schema = schema.name, why = ?turned_away.why, "request turned away");
            // One that has waited for a seat has waited enough.
            if turned_away.why != Refusal::TimeOut {
                control.held.wait(&control.env).await;
            }
            return told(exchange.fail(&too_many(turned_away.retry_after)), &schema);
        }
    };
    let turn = control.turn(&schema, &exchange.info, &exchange.identity).await;
    if is_watch {
        // The watch holds its seat until it has sent what was there before.
        exchange.seat = Some(seat);
        return told(begin(turn, next.run(exchange)).await, &schema);
    }
    let response = begin(turn, next.run(exchange)).await;
    let is_small = response.body().size_hint().exact().is_some_and(|size| size <= SMALL);
    let response = if is_small { response } else { response.map(|body| body::guarded(body, seat)) };
    told(response, &schema)
}

/// Tells the client whose rules counted.
fn told(mut response: Response<Body>, schema: &Schema) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(SCHEMA_UID, schema.uid.clone());
    headers.insert(LEVEL_UID, schema.level_uid.clone());
    response
}

fn too_many(retry_after: u32) -> Status {
    Status::too_many_requests("Too many requests, please try again later.", retry_after)
}

fn count(limits: &Arc<InFlight>, exchange: Exchange, next: Next) -> Answer {
    let is_change = match &exchange.info.target {
        Target::Resource(target) => !target.verb.is_read(),
        Target::Path => !matches!(exchange.request.method().as_str(), "GET" | "HEAD"),
    };
    match limits.enter(is_change) {
        Some(counted) => Box::pin(async move {
            let response = next.run(exchange).await;
            drop(counted);
            response
        }),
        // Administrators can still find out what is going on.
        None if exchange.identity.is_in(MASTERS) => next.run(exchange),
        None => answered(exchange.fail(&too_many(1))),
    }
}

/// What a request takes.
fn estimate(registry: &Registry, info: &RequestInfo, max_seats: u32) -> Estimate {
    let Target::Resource(target) = &info.target else { return ONE };
    match target.verb {
        Verb::Get => ONE,
        // One object, however it is asked for.
        Verb::List | Verb::Watch if target.name.is_some() => ONE,
        Verb::Watch if !info.query.flag("sendInitialEvents") => ONE,
        Verb::List | Verb::Watch => {
            let limit = info.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(0);
            let size = with_cache(registry, target, |cache| cache.size());
            size.map_or(ONE, |(count, bytes)| estimate::list(Stored { count, bytes }, limit, max_seats))
        }
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
            with_cache(registry, target, |cache| estimate::change(cache.watch_count(), max_seats)).unwrap_or(ONE)
        }
    }
}

/// Asks the cache of a resource; nothing if this server has none.
fn with_cache<T>(
    registry: &Registry,
    target: &ResourceRequest,
    ask: impl FnOnce(&crate::cache::ResourceCache) -> T,
) -> Option<T> {
    let kinds = registry.kinds();
    let resource = kinds.find(&target.group, &target.version, &target.resource)?;
    let cache = registry.resource_cache(resource).ok()?;
    Some(ask(&cache))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_so_many_requests_are_held() {
        let (held, env) = (Held::new(), Env::system());
        let wait = || held.wait(&env).boxed();
        let mut waiting: Vec<_> = (0..MOST_HELD).map(|_| wait()).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()), "there is room for each");
        assert!(wait().now_or_never().is_some(), "one more is told at once");
        waiting.pop();
        assert!(wait().now_or_never().is_none(), "who has gone makes room");
    }
}
