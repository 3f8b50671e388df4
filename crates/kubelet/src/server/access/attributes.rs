//! What a request to the kubelet asks for, in the words of authorization: a verb on subresources of the node, any one
//! of which is enough.

use axum::http::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Empty for methods that the API has no verb for.
    pub(super) verb: &'static str,
    /// The narrowest first.
    pub(super) subresources: &'static [&'static str],
}

/// Paths, with all below them, whose subresource is another than `proxy`.
const PATHS: [(&str, &[&str]); 8] = [
    ("/stats", &["stats"]),
    ("/metrics", &["metrics"]),
    ("/logs", &["log"]),
    ("/checkpoint", &["checkpoint"]),
    ("/healthz", &["healthz", "proxy"]),
    ("/configz", &["configz", "proxy"]),
    ("/pods", &["pods", "proxy"]),
    ("/runningpods", &["pods", "proxy"]),
];

impl Attributes {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let verb = match *method {
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        let is_below =
            |above: &str| path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let found = PATHS.iter().find(|(above, _)| is_below(above));
        Self { verb, subresources: found.map_or(&["proxy"], |(_, subresources)| *subresources) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, path: &str, verb: &str, subresources: &[&str]) {
        let found = Attributes::of(method, path);
        assert_eq!((found.verb, found.subresources), (verb, subresources));
    }

    #[test]
    fn paths_are_subresources_of_the_node() {
        check(&Method::GET, "/stats/summary", "get", &["stats"]);
        check(&Method::GET, "/statsx", "get", &["proxy"]);
        check(&Method::GET, "/metrics", "get", &["metrics"]);
        check(&Method::GET, "/metrics/resource", "get", &["metrics"]);
        check(&Method::GET, "/logs/", "get", &["log"]);
        check(&Method::GET, "/pods", "get", &["pods", "proxy"]);
        check(&Method::GET, "/healthz", "get", &["healthz", "proxy"]);
        check(&Method::POST, "/exec/default/web/a", "create", &["proxy"]);
        check(&Method::HEAD, "/", "", &["proxy"]);
    }
}
