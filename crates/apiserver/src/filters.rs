//! What every request passes on its way to the handlers: one list, in upstream's order.
//!
//! A filter gets the request and what is left of the way; it answers itself, or looks at what comes back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use jiff::SignedDuration;

use crate::access::attributes::Attributes;
use crate::access::authentication::Remarks;
use crate::access::authorization::Decision;
use crate::access::{Identity, Peer, impersonation};
use crate::audit::{self, Trail};
use crate::flowcontrol::{self, Seat};
use crate::http::body::Body;
use crate::http::negotiate::{self, Encoding};
use crate::http::output;
use crate::http::request_info::{Query, RequestInfo, Target, Verb};
use crate::metrics;
use crate::pipeline::{self, Core};

/// The filters, the outermost first.
const FILTERS: [Filter; 10] = [
    recover,
    add_headers,
    limit_time,
    compress,
    authenticate,
    audit::filter,
    impersonate,
    flowcontrol::filter,
    authorize,
    metrics::measure,
];

/// One filter.
type Filter = fn(Exchange, Next) -> Answer;

/// What a request is answered.
pub(crate) type Answer = BoxFuture<'static, Response<Body>>;

/// A request on its way, and what the filters have found out about it.
pub(crate) struct Exchange {
    pub(crate) core: Arc<Core>,
    pub(crate) request: Request<Body>,
    pub(crate) info: Arc<RequestInfo>,
    /// Who makes it; nobody before it is authenticated.
    pub(crate) identity: Arc<Identity>,
    /// What the audit log is to know of how that was found out.
    pub(crate) remarks: Remarks,
    /// How long it may take.
    pub(crate) time_limit: Duration,
    /// The seat of a watch, which it gives back once it has sent what was there before.
    pub(crate) seat: Option<Arc<Seat>>,
    /// What is kept of it in the audit log, if anything is.
    pub(crate) audit: Option<Arc<Trail>>,
    /// How failures are told to the client.
    pub(crate) error_encoding: Encoding,
}

impl Exchange {
    pub(crate) fn new(core: Arc<Core>, request: Request<Body>) -> Self {
        Self {
            info: Arc::new(RequestInfo::parse(request.method(), request.uri())),
            identity: Arc::default(),
            remarks: Remarks::default(),
            time_limit: core.config.request_timeout,
            seat: None,
            audit: None,
            error_encoding: negotiate::error_encoding(request.headers(), request.uri()),
            core,
            request,
        }
    }

    /// Answers that it failed, in the form in which the client wants it.
    pub(crate) fn fail(&self, status: &Status) -> Response<Body> {
        output::failure(self.error_encoding, status)
    }

    /// Answers that the user may not do it. The message has names in it that came from outside.
    fn refuse(&self, status: &Status) -> Response<Body> {
        output::as_declared(self.fail(status))
    }
}

/// The rest of the way.
#[derive(Clone, Copy)]
pub(crate) struct Next(&'static [Filter]);

impl Next {
    /// Sends the request on.
    pub(crate) fn run(self, exchange: Exchange) -> Answer {
        match self.0 {
            [filter, rest @ ..] => filter(exchange, Self(rest)),
            [] => Box::pin(pipeline::answer(exchange)),
        }
    }
}

/// Sends a request through all filters.
pub(crate) fn run(core: Arc<Core>, request: Request<Body>) -> Answer {
    Next(&FILTERS).run(Exchange::new(core, request))
}

/// Answers for whatever panics further in; the server goes on.
fn recover(exchange: Exchange, next: Next) -> Answer {
    let path = exchange.info.path.clone();
    Box::pin(or_failure(path, async move { next.run(exchange).await }))
}

async fn or_failure(path: String, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(path, "a handler panicked");
        let why = "This request caused apiserver to panic. Look in the logs for details.\n";
        output::text_response(StatusCode::INTERNAL_SERVER_ERROR, why)
    })
}

/// The header with the name of a request in the audit log.
pub(crate) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// What answers say of keeping them, unless they may be kept.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Gives the request the name under which the audit log has it, unless the client has named it, and tells it; and says
/// that the answer is for nobody else.
fn add_headers(mut exchange: Exchange, next: Next) -> Answer {
    let given = exchange.request.headers().get(&AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    let id = given.unwrap_or_else(|| audit::new_id(exchange.core.registry.env.random()));
    exchange.request.headers_mut().insert(AUDIT_ID, id.clone());
    Box::pin(async move {
        let mut response = next.run(exchange).await;
        let headers = response.headers_mut();
        headers.entry(AUDIT_ID).or_insert(id);
        headers.entry(CACHE_CONTROL).or_insert(NOT_KEPT);
        response
    })
}

/// Ends requests that take too long, unless they are meant to be long.
fn limit_time(mut exchange: Exchange, next: Next) -> Answer {
    if is_long_running(&exchange.info) {
        return next.run(exchange);
    }
    let limit = match wanted_timeout(&exchange.info.query) {
        Ok(wanted) => {
            wanted.map_or(exchange.core.config.request_timeout, |w| w.min(exchange.core.config.request_timeout))
        }
        Err(status) => return answered(exchange.fail(&status)),
    };
    let encoding = exchange.error_encoding;
    exchange.time_limit = limit;
    Box::pin(async move {
        tokio::time::timeout(limit, next.run(exchange)).await.unwrap_or_else(|_| {
            output::failure(encoding, &Status::timeout("request did not complete within the allotted timeout", 0))
        })
    })
}

/// The time that a client gives its request; no time is none.
fn wanted_timeout(query: &Query) -> Result<Option<Duration>, Status> {
    let Some(text) = query.get("timeout").filter(|text| !text.is_empty()) else { return Ok(None) };
    let timeout = duration(text)
        .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - time: {why}")))?;
    // What is below counts as none, too.
    Ok(Duration::try_from(timeout).ok().filter(|timeout| !timeout.is_zero()))
}

/// A duration as upstream's language writes it: numbers with units, `1h30m` or `1.5s`.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let quoted = || api::field::quote(text);
    let invalid = || format!("invalid duration {}", quoted());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    let mut rest = if unsigned == "0" { "" } else { unsigned };
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" => return Err(format!("missing unit in duration {}", quoted())),
                _ => return Err(format!("unknown unit {} in duration {}", api::field::quote(unit), quoted())),
            };
        rest = after;
    }
    let seconds = if text.starts_with('-') { -seconds } else { seconds };
    SignedDuration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// Subresources whose requests last as long as their users want.
const LONG_SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Whether a request may last: a watch, or a connection to something behind the server.
pub(crate) fn is_long_running(info: &RequestInfo) -> bool {
    match &info.target {
        Target::Resource(target) => {
            target.verb == Verb::Watch
                || target.subresource.as_deref().is_some_and(|name| LONG_SUBRESOURCES.contains(&name))
        }
        Target::Path => false,
    }
}

/// Compresses large answers for clients that can read them.
fn compress(exchange: Exchange, next: Next) -> Answer {
    if !crate::http::gzip::is_accepted(exchange.request.headers()) {
        return next.run(exchange);
    }
    Box::pin(async move { crate::http::gzip::compress(next.run(exchange).await) })
}

/// Finds out who makes the request.
fn authenticate(mut exchange: Exchange, next: Next) -> Answer {
    Box::pin(async move {
        let core = exchange.core.clone();
        let peer = exchange.request.extensions().get::<Peer>().cloned();
        let asked = (exchange.info.path.as_str(), exchange.request.headers_mut());
        let mut remarks = Remarks::default();
        let found = core.authenticator.authenticate(peer.as_ref(), asked, &core.registry, &mut remarks).await;
        let warnings = std::mem::take(&mut remarks.warnings);
        exchange.remarks = remarks;
        match found {
            Ok(identity) => {
                exchange.identity = Arc::new(identity);
                output::with_warnings(next.run(exchange).await, warnings)
            }
            Err(status) => {
                audit::refused(&exchange, &status);
                exchange.fail(&status)
            }
        }
    })
}

/// Takes on another identity, where the request asks for it and its sender may.
fn impersonate(mut exchange: Exchange, next: Next) -> Answer {
    if !impersonation::is_asked_for(exchange.request.headers()) {
        return next.run(exchange);
    }
    Box::pin(async move {
        let sender = Arc::unwrap_or_clone(std::mem::take(&mut exchange.identity));
        let headers = exchange.request.headers_mut();
        match impersonation::impersonate(&exchange.core.registry, sender, headers).await {
            Ok(identity) => {
                if let Some(trail) = &exchange.audit {
                    trail.impersonates(&identity);
                }
                exchange.identity = Arc::new(identity);
                next.run(exchange).await
            }
            Err(status) => exchange.refuse(&status),
        }
    })
}

/// Refuses what the user may not do.
fn authorize(exchange: Exchange, next: Next) -> Answer {
    Box::pin(async move {
        let method = exchange.request.method().as_str().to_ascii_lowercase();
        let attributes = Attributes::of_request(&exchange.identity, &exchange.info, &method);
        let refusal = match exchange.core.registry.decide_request(&attributes).await {
            Ok(decision) => {
                if let Some(trail) = &exchange.audit {
                    trail.annotations().decided(&decision);
                }
                match decision {
                    Decision::Allow(_) => None,
                    Decision::Deny(refused) | Decision::NoOpinion(refused) => match refused.error {
                        None => Some(exchange.refuse(&attributes.forbidden(&refused.reason))),
                        Some(error) => Some(unauthorizable(exchange.request.uri(), &error)),
                    },
                }
            }
            Err(status) => Some(exchange.refuse(&status)),
        };
        match refusal {
            None => next.run(exchange).await,
            Some(answer) => answer,
        }
    })
}

/// What is answered where an authorizer could not be asked.
fn unauthorizable(uri: &http::Uri, error: &str) -> Response<Body> {
    let why = format!("Internal Server Error: {}: {error}\n", api::field::quote(&uri.to_string()));
    output::text_response(StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// An answer that is there.
pub(crate) fn answered(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_timeout(query: &str, expected: Result<Option<u64>, &str>) {
        let found = wanted_timeout(&Query::parse(Some(query)));
        match expected {
            Ok(seconds) => assert_eq!(found.expect("a timeout"), seconds.map(Duration::from_secs), "{query}"),
            Err(part) => assert!(found.expect_err(query).message.contains(part), "{query}"),
        }
    }

    #[test]
    fn clients_may_ask_for_less_time() {
        check_timeout("", Ok(None));
        check_timeout("timeout=0s", Ok(None));
        check_timeout("timeout=1m5s", Ok(Some(65)));
        check_timeout("timeout=1.5h", Ok(Some(5400)));
        check_timeout("timeout=-3s", Ok(None));
        let invalid = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
        check_timeout("timeout=soon", Err(invalid));
        check_timeout("timeout=5", Err("time: missing unit in duration \"5\""));
        check_timeout("timeout=5d", Err("time: unknown unit \"d\" in duration \"5d\""));
        check_timeout("timeout=1s.", Err("time: invalid duration \"1s.\""));
    }

    #[tokio::test]
    async fn what_panics_is_answered_all_the_same() {
        let answer = or_failure("/api".to_owned(), async { panic!("a fault") }).await;
        assert_eq!(answer.status(), 500);
    }

    #[test]
    fn watches_and_connections_may_last() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/pods?watch=1", true),
            ("GET", "/api/v1/namespaces/n/pods/p/log", true),
            ("POST", "/api/v1/namespaces/n/pods/p/exec", true),
            ("GET", "/api/v1/nodes/n/proxy/metrics", true),
            ("GET", "/api/v1/pods", false),
            ("GET", "/healthz", false),
        ] {
            let method = http::Method::from_bytes(method.as_bytes()).expect("a method");
            let info = RequestInfo::parse(&method, &uri.parse().expect("a URI"));
            assert_eq!(is_long_running(&info), expected, "{uri}");
        }
    }
}
