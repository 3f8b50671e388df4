//! Requests, counted and timed by what they ask for.
//!
//! Labels come from what is served, never from the client: a client that asks for names of its own must not fill the
//! server's memory.

use std::sync::Arc;

use api::kinds::Resource;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::Metrics;
use crate::connect::{self, Backend};
use crate::filters::{Answer, Exchange, Next, is_long_running};
use crate::http::body;
use crate::http::request_info::{RequestInfo, ResourceRequest, Target, Verb};
use crate::kinds::Kinds;

/// The labels of a request, in the order of [`Labels::values`].
pub(super) const LABELS: [&str; 8] =
    ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];

/// Paths outside resources that are named; all others are one.
const PATHS: [&str; 10] =
    ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version", "/"];

/// What a request is counted under.
struct Labels {
    verb: &'static str,
    dry_run: &'static str,
    /// What is asked for, if it is served.
    resource: Option<Arc<Resource>>,
    subresource: String,
    scope: &'static str,
}

impl Labels {
    fn of<B>(kinds: &Kinds, request: &Request<B>, info: &RequestInfo) -> Self {
        let dry_run = if info.query.get("dryRun").is_some_and(|value| !value.is_empty()) { "All" } else { "" };
        let Target::Resource(target) = &info.target else {
            let path = info.path.trim_end_matches('/');
            let known = PATHS.iter().find(|known| known.trim_end_matches('/') == path);
            let verb = if *request.method() == Method::GET { "GET" } else { "OTHER" };
            let subresource = known.copied().unwrap_or_default().to_owned();
            return Self { verb, dry_run, resource: None, subresource, scope: "" };
        };
        let resource = kinds.find(&target.group, &target.version, &target.resource);
        let named = target.subresource.as_deref();
        let subresource = named.filter(|name| resource.is_some_and(|known| known.subresource(name).is_some()));
        Self {
            verb: verb(request, target, resource.zip(subresource)),
            dry_run,
            resource: resource.cloned(),
            subresource: subresource.unwrap_or_default().to_owned(),
            scope: scope(target),
        }
    }

    fn values(&self) -> [&str; 8] {
        let of = |part: fn(&Resource) -> &str| self.resource.as_deref().map_or("", part);
        [
            self.verb,
            self.dry_run,
            of(|resource| &resource.group),
            of(|resource| &resource.version),
            of(|resource| &resource.plural),
            &self.subresource,
            self.scope,
            "apiserver",
        ]
    }
}

fn verb<B>(
    request: &Request<B>,
    target: &ResourceRequest,
    subresource: Option<(&Arc<Resource>, &str)>,
) -> &'static str {
    let backend = subresource.and_then(|(resource, name)| connect::backend(resource, name));
    if backend.is_some_and(|backend| backend != Backend::Log) {
        return "CONNECT";
    }
    let is_apply = || {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        content_type.is_some_and(|content_type| content_type.starts_with("application/apply-patch"))
    };
    match target.verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch if is_apply() => "APPLY",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

fn scope(target: &ResourceRequest) -> &'static str {
    match (&target.name, target.verb, &target.namespace) {
        (Some(_), ..) | (_, Verb::Create, _) => "resource",
        (_, _, Some(_)) => "namespace",
        _ => "cluster",
    }
}

/// The filter that counts and times requests.
pub(crate) fn measure(exchange: Exchange, next: Next) -> Answer {
    let core = exchange.core.clone();
    let labels = Labels::of(&core.registry.kinds(), &exchange.request, &exchange.info);
    let started = Instant::now();
    if is_long_running(&exchange.info) {
        return Box::pin(async move {
            let lasting = Arc::new(LongRunning::new(core.clone(), labels, started));
            let response = CURRENT.scope(lasting.clone(), next.run(exchange)).await;
            core.metrics.answered(&lasting.labels, response.status());
            response.map(|inner| body::guarded(inner, lasting))
        });
    }
    let is_read = match &exchange.info.target {
        Target::Resource(target) => target.verb.is_read(),
        Target::Path => true,
    };
    Box::pin(async move {
        let in_flight = if is_read { &core.metrics.read_only } else { &core.metrics.mutating };
        let counted = InFlight::new(in_flight.clone());
        let response = next.run(exchange).await;
        drop(counted);
        core.metrics.answered(&labels, response.status());
        core.metrics.took(&labels, started);
        response
    })
}

impl Metrics {
    fn answered(&self, labels: &Labels, status: StatusCode) {
        let [verb, dry_run, group, version, resource, subresource, scope, component] = labels.values();
        let values = [verb, dry_run, group, version, resource, subresource, scope, component, status.as_str()];
        self.requests.with_label_values(&values).inc();
    }

    fn took(&self, labels: &Labels, started: Instant) {
        self.durations.with_label_values(&labels.values()).observe(started.elapsed().as_secs_f64());
    }
}

/// Counts a request as long as it is handled, also when it is given up.
struct InFlight(IntGauge);

impl InFlight {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

tokio::task_local! {
    /// The request that is being handled, if it may last.
    static CURRENT: Arc<LongRunning>;
}

/// A watch or a connection, counted as open until the last who has this drops it.
pub(crate) struct LongRunning {
    core: Arc<crate::pipeline::Core>,
    labels: Labels,
    started: Instant,
    _open: InFlight,
}

impl LongRunning {
    fn new(core: Arc<crate::pipeline::Core>, labels: Labels, started: Instant) -> Self {
        let [verb, _, group, version, resource, subresource, scope, component] = labels.values();
        let values = [verb, group, version, resource, subresource, scope, component];
        let open = InFlight::new(core.metrics.long_running.with_label_values(&values));
        Self { core, labels, started, _open: open }
    }

    /// The request that is being handled, for what goes on when it has been answered.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.core.metrics.took(&self.labels, self.started);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime_config::RuntimeConfig;

    #[track_caller]
    fn check(method: &str, uri: &str, content_type: &str, expected: &str) {
        let request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, content_type);
        let request = request.body(()).expect("a request");
        let info = RequestInfo::parse(request.method(), request.uri());
        let kinds = Kinds::new(Arc::new(RuntimeConfig::default()), []);
        assert_eq!(Labels::of(&kinds, &request, &info).values()[..7].join(","), expected, "{method} {uri}");
    }

    #[test]
    fn requests_are_named_by_what_is_served() {
        let json = "application/json";
        check("GET", "/api/v1/namespaces/n/pods/p", json, "GET,,,v1,pods,,resource");
        check("GET", "/apis/apps/v1/namespaces/n/deployments", json, "LIST,,apps,v1,deployments,,namespace");
        check("GET", "/api/v1/pods?watch=1", json, "WATCH,,,v1,pods,,cluster");
        check("POST", "/api/v1/namespaces/n/pods?dryRun=All", json, "POST,All,,v1,pods,,resource");
        check("PATCH", "/api/v1/nodes/n/status", json, "PATCH,,,v1,nodes,status,resource");
        check("PATCH", "/api/v1/nodes/n", "application/apply-patch+yaml", "APPLY,,,v1,nodes,,resource");
        check("POST", "/api/v1/namespaces/n/pods/p/exec", json, "CONNECT,,,v1,pods,exec,resource");
        check("GET", "/api/v1/namespaces/n/pods/p/log", json, "GET,,,v1,pods,log,resource");
        check("GET", "/healthz", json, "GET,,,,,/healthz,");
    }

    #[test]
    fn names_that_are_not_served_are_one() {
        check("GET", "/apis/a.b/v1/mine/x/y", "", "GET,,,,,,resource");
        check("GET", "/api/v1/namespaces/n/pods/p/mine", "", "GET,,,v1,pods,,resource");
        check("GET", "/mine", "", "GET,,,,,,");
        check("BREW", "/mine", "", "OTHER,,,,,,");
    }
}
