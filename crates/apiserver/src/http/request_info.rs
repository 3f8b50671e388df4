//! What a request asks for, read off its method and URL.

use api::selector::{FieldSelector, LabelSelector};
use http::Method;

/// What is done to a resource, in the words of authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// The parameters behind `?`, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        // `?&limit=500` has an empty pair, which clients do send.
        Self(pairs.into_owned().filter(|(name, value)| !(name.is_empty() && value.is_empty())).collect())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a boolean parameter is set as upstream reads booleans: present and neither `false` nor `0`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }
}

/// A request to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceRequest {
    pub(crate) verb: Verb,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    /// The plural name.
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows the subresource (`/proxy/...`), with its slashes.
    pub(crate) rest: String,
    /// By what a list, a watch or the deletion of a collection selects, where it does.
    pub(crate) selectors: Option<Box<Selectors>>,
}

/// By what objects are selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selectors {
    pub(crate) fields: Option<FieldSelector>,
    pub(crate) labels: Option<LabelSelector>,
}

impl Selectors {
    /// Those of the parameters. One that cannot be read is refused when the request is handled.
    fn of(query: &Query) -> Option<Box<Self>> {
        let given = |name: &str| query.get(name).filter(|text| !text.is_empty());
        let fields = given("fieldSelector").and_then(|text| FieldSelector::parse(text).ok());
        let labels = given("labelSelector").and_then(|text| LabelSelector::parse(text).ok());
        (fields.is_some() || labels.is_some()).then(|| Box::new(Self { fields, labels }))
    }
}

/// What the URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Objects under `/api/v1` or `/apis/<group>/<version>`.
    Resource(ResourceRequest),
    /// Anything else: discovery, health, version, unknown paths.
    Path,
}

/// A request's target and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    pub(crate) target: Target,
    pub(crate) path: String,
    pub(crate) query: Query,
}

/// Subresources of `namespaces`: behind a namespace they are no resources in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads method and URL.
    pub(crate) fn parse(method: &Method, uri: &http::Uri) -> Self {
        let query = Query::parse(uri.query());
        let path = uri.path().to_owned();
        let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        // What a proxied path looks like is its server's affair.
        let is_clean = !path.split("/proxy/").next().unwrap_or_default().contains("//");
        let target = match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["api", version, rest @ ..] if is_clean && !rest.is_empty() => resource("", version, rest, method, &query),
            ["apis", group, version, rest @ ..] if is_clean && !rest.is_empty() => {
                resource(group, version, rest, method, &query)
            }
            _ => Target::Path,
        };
        Self { target, path, query }
    }
}

fn decode(segment: &str) -> String {
    // `+` is itself in a path, unlike in a query.
    let escaped = segment.replace('+', "%2B");
    url::form_urlencoded::parse(format!("s={escaped}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn resource(group: &str, version: &str, parts: &[&str], method: &Method, query: &Query) -> Target {
    let (watch_prefix, parts) = match parts {
        // The old form `/api/v1/watch/pods`, which upstream still serves.
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        all => (false, all),
    };
    let (namespace, parts) = match parts {
        ["namespaces", namespace, sub, ..] if !NAMESPACE_SUBRESOURCES.contains(sub) => {
            (Some((*namespace).to_owned()), &parts[2..])
        }
        all => (None, all),
    };
    let (plural, rest) = match parts {
        [plural, rest @ ..] => (*plural, rest),
        [] => return Target::Path,
    };
    let mut name = rest.first().map(|name| (*name).to_owned());
    let subresource = rest.get(1).map(|sub| (*sub).to_owned());
    let remainder: String = rest.iter().skip(2).flat_map(|part| ["/", part]).collect();
    let is_watch = watch_prefix || (query.flag("watch") && name.is_none());
    let verb = match *method {
        Method::GET | Method::HEAD if is_watch => Verb::Watch,
        Method::GET | Method::HEAD if name.is_some() => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if name.is_some() => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        // Other methods are answered 405 before anything is looked up; as reads they can do no harm on the way.
        _ => Verb::Get,
    };
    let selects = name.is_none() && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    let selectors = selects.then(|| Selectors::of(query)).flatten();
    let fields = selectors.as_ref().and_then(|selectors| selectors.fields.as_ref());
    // A list or watch of a single name is authorized like that name, so that access can be given to one object.
    if let Some(single) = fields.and_then(|fields| fields.required_value("metadata.name")) {
        name = Some(single.to_owned());
    }
    Target::Resource(ResourceRequest {
        verb,
        group: group.to_owned(),
        version: version.to_owned(),
        namespace,
        resource: plural.to_owned(),
        name,
        subresource,
        rest: remainder,
        selectors,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        RequestInfo::parse(&method, &uri.parse().expect("a URI"))
    }

    /// `verb group/version namespace resource name subresource rest`, with `-` for what is not there.
    #[track_caller]
    fn check(method: &str, uri: &str, expected: &str) {
        let text = match parse(method, uri).target {
            Target::Path => "path".to_owned(),
            Target::Resource(r) => {
                let or_dash = |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or_else(|| "-".to_owned());
                format!(
                    "{} {}/{} {} {} {} {} {}",
                    r.verb.as_str(),
                    or_dash(Some(r.group)),
                    r.version,
                    or_dash(r.namespace),
                    r.resource,
                    or_dash(r.name),
                    or_dash(r.subresource),
                    or_dash(Some(r.rest))
                )
            }
        };
        assert_eq!(text, expected, "{method} {uri}");
    }

    #[test]
    fn urls_name_resources() {
        check("GET", "/api", "path");
        check("GET", "/api/v1", "path");
        check("GET", "/apis/apps/v1", "path");
        check("GET", "/healthz", "path");
        check("GET", "/api/v1/pods?&limit=500", "list -/v1 - pods - - -");
        check("GET", "/api/v1/pods?watch=true", "watch -/v1 - pods - - -");
        check("GET", "/api/v1/pods?watch=false", "list -/v1 - pods - - -");
        check("GET", "/api/v1/watch/namespaces/ns/pods", "watch -/v1 ns pods - - -");
        check("GET", "/api/v1/namespaces/ns/pods/p?watch=true", "get -/v1 ns pods p - -");
        check("GET", "/api/v1/namespaces", "list -/v1 - namespaces - - -");
        check("GET", "/api/v1/namespaces/ns", "get -/v1 - namespaces ns - -");
        check("PUT", "/api/v1/namespaces/ns/finalize", "update -/v1 - namespaces ns finalize -");
        check("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d/scale", "patch apps/v1 ns deployments d scale -");
        check("DELETE", "/apis/apps/v1/namespaces/ns/deployments", "deletecollection apps/v1 ns deployments - - -");
        check("DELETE", "/api/v1/nodes/n", "delete -/v1 - nodes n - -");
        check("POST", "/api/v1/nodes/n/proxy/a/b", "create -/v1 - nodes n proxy /a/b");
        check("GET", "/api/v1/namespaces/ns/pods?fieldSelector=metadata.name%3Dp", "list -/v1 ns pods p - -");
        check(
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "get rbac.authorization.k8s.io/v1 - clusterroles system:node - -",
        );
    }

    #[test]
    fn queries_take_empty_pairs() {
        let query = parse("GET", "/api/v1/pods?&limit=500&labelSelector=a%3Db,c+in+(d)&").query;
        assert_eq!(query.get("limit"), Some("500"));
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert!(!query.flag("watch"));
    }
    proptest! {
        #[test]
        fn whatever_is_a_url_can_be_read(
            path in "(/(api|apis|v1|apps|namespaces|watch|pods|proxy|a|%2[eEfF]|[.]{1,2}|%[0-9]{0,2}|))+",
            query in "((watch|limit|timeoutSeconds|fieldSelector|labelSelector|resourceVersion|continue|dryRun)=[a-z0-9%=,!()-]{0,12}&?){0,4}",
            method in "(GET|PUT|DELETE|HEAD|[A-Z]{1,8})",
        ) {
            let uri: Result<http::Uri, _> = format!("{path}?{query}").parse();
            let Ok(uri) = uri else { return Ok(()) };
            let method = Method::from_bytes(method.as_bytes()).expect("it has letters");
            let info = RequestInfo::parse(&method, &uri);
            let headers = http::HeaderMap::new();
            for is_watch in [true, false] {
                let _ = crate::http::options::ListOptions::parse(&info.query, is_watch);
            }
            let _ = crate::http::options::DeleteOptions::parse(&info.query, None);
            let _ = crate::http::options::WriteOptions::parse(&info.query, &headers, "CreateOptions");
        }
    }
}
