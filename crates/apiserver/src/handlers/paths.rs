//! Requests outside resources: discovery, version, health, OpenAPI, the CA and the token issuer's keys.

use std::sync::Arc;

use api::status::Status;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::documents;
use super::resources::{no_such_path, unknown};
use crate::discovery;
use crate::flowcontrol::{self, Limits};
use crate::http::body::Body;
use crate::http::negotiate::{self, Encoding};
use crate::http::output;
use crate::kinds::{Group, Kinds};
use crate::metrics;
use crate::pipeline::{Admitted, Core};

/// The version that this server is compatible with.
const GIT_VERSION: &str = "v1.35.0+skiff";

pub(crate) async fn handle(core: Arc<Core>, admitted: Admitted) -> Result<Response<Body>, Status> {
    let Admitted { info, request, .. } = admitted;
    let (request, _) = request.into_parts();
    let path = info.path.trim_end_matches('/');
    if path.contains("//") {
        return Ok(no_such_path());
    }
    let headers = &request.headers;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let encoded = |encoding: Encoding, document: &Value, type_name: &str| {
        let bytes = output::encode(encoding, document, type_name)?;
        Ok(output::response(StatusCode::OK, encoding, crate::http::body::full(bytes)))
    };
    // Documents that only JSON has.
    let ok = |document: &Value| encoded(negotiate::json(headers, &request.uri), document, "");
    // Upstream's router looks at the method of what it leads to. The other paths serve any.
    let check_method = || match request.method {
        Method::GET => Ok(()),
        _ => Err(Status::method_not_allowed()),
    };
    // Documents of discovery, in the form that is asked for.
    let told = |document: &Value, kind: &str| {
        check_method()?;
        let accepted = negotiate::accepted(headers, &request.uri)?;
        encoded(accepted.encoding, document, &format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
    };
    let kinds = core.registry.kinds();
    match segments.as_slice() {
        [] | ["index.html"] => ok(&root_paths(&kinds)),
        ["api" | "apis"] => {
            check_method()?;
            if let Some(version) = negotiate::wants_aggregated_discovery(headers) {
                return Ok(discovery::aggregated_response(&kinds, segments[0] == "api", version, headers));
            }
            match segments[0] {
                "api" => told(&discovery::core_versions(&core), "APIVersions"),
                _ => told(&discovery::groups(&kinds), "APIGroupList"),
            }
        }
        ["api", version] => {
            told(&discovery::resources(&kinds, "", version).ok_or_else(Status::no_such_resource)?, "APIResourceList")
        }
        ["apis", group] => match discovery::group(&kinds, group) {
            Some(group) => told(&group, "APIGroup"),
            None if !core.registry.is_loaded() => Err(Status::not_installed()),
            None => Ok(no_such_path()),
        },
        ["apis", group, version] => match discovery::resources(&kinds, group, version) {
            Some(resources) => told(&resources, "APIResourceList"),
            None => unknown(&core, group),
        },
        // Always indented, whoever asks.
        ["version"] => {
            check_method()?;
            negotiate::check_json(headers)?;
            encoded(Encoding::PrettyJson, &version(), "")
        }
        ["metrics"] => metrics::answer(&core).await,
        ["cacerts"] => Ok(output::text_response(StatusCode::OK, core.certificates.server_authorities.borrow().clone())),
        ["cacerts", "client"] => Ok(output::text_response(StatusCode::OK, core.authorities.clients_pem())),
        ["livez" | "readyz" | "healthz", rest @ ..] => health(&core, segments[0], rest, &info.query).await,
        ["openapi", "v2"] => documents::v2(core.documents.clone(), kinds, headers).await,
        ["openapi", "v3"] => documents::v3_index(core.documents.clone(), kinds, headers).await,
        ["openapi", "v3", ..] => {
            let key = path.trim_start_matches("/openapi/v3/");
            documents::v3(&core, kinds, key, &info.query, headers).await
        }
        ["debug", "encryption"] => {
            let report = core.registry.storage.report().await.map_err(Status::internal)?;
            ok(&serde_json::to_value(report).map_err(Status::internal)?)
        }
        ["debug", "api_priority_and_fairness", what] => {
            let with_details = info.query.get("includeRequestDetails").is_some_and(|value| !value.is_empty());
            let text = match &core.limits {
                Limits::Fair(control) => flowcontrol::dump(control, what, with_details),
                Limits::InFlight(_) => None,
            };
            Ok(text.map_or_else(no_such_path, |text| output::text_response(StatusCode::OK, text)))
        }
        ["openid", "v1", "jwks"] => {
            check_method()?;
            let mut response = ok(&core.keys.json_web_keys())?;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
            Ok(response)
        }
        [".well-known", "openid-configuration"] => {
            check_method()?;
            ok(&openid_configuration(&core))
        }
        _ => Ok(no_such_path()),
    }
}

fn root_paths(kinds: &Kinds) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
    for Group { name: group, versions } in kinds.groups() {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/cacerts",
            "/cacerts/client",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({"paths": paths})
}

/// `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "35", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": "35", "minCompatibilityMajor": "1", "minCompatibilityMinor": "34",
    })
}

fn openid_configuration(core: &Core) -> Value {
    let issuer = core.config.service_account_issuer();
    let keys = core.config.service_account_jwks_uri.clone();
    let algorithms: Vec<String> = core.keys.algorithms().iter().map(ToString::to_string).collect();
    json!({
        "issuer": issuer, "jwks_uri": keys.unwrap_or_else(|| format!("{issuer}/openid/v1/jwks")),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}

/// The checks of a health endpoint, by name.
async fn check(core: &Core, name: &str) -> bool {
    match name {
        "ping" => true,
        "etcd" | "datastore" => core.registry.storage.status().await.is_ok(),
        "watch-cache" => core.registry.cache.applied() > 0,
        // Load balancers take a server that is about to end out of their lists.
        "shutdown" => !core.registry.drain.is_draining(),
        _ => core.registry.storage.check(name).await,
    }
}

async fn health(
    core: &Core,
    endpoint: &str,
    rest: &[&str],
    query: &crate::http::request_info::Query,
) -> Result<Response<Body>, Status> {
    let own: &[&str] = match endpoint {
        "livez" => &["ping", "datastore"],
        "readyz" => &["ping", "datastore", "watch-cache", "shutdown"],
        _ => &["ping", "datastore", "watch-cache"],
    };
    let encryption = core.registry.storage.checks();
    // A restart heals no plugin.
    let encryption = encryption.iter().filter(|_| endpoint != "livez").map(String::as_str);
    let checks: Vec<&str> = own.iter().copied().chain(encryption).collect();
    if let [single] = rest {
        if !checks.contains(single) && *single != "etcd" {
            return Ok(no_such_path());
        }
        let (status, text) = match check(core, single).await {
            true => (StatusCode::OK, "ok".to_owned()),
            false => (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {single}")),
        };
        return Ok(output::text_response(status, text));
    }
    if !rest.is_empty() {
        return Ok(no_such_path());
    }
    let excluded = query.all("exclude");
    let mut report = String::new();
    let mut is_good = true;
    for name in &checks {
        if excluded.contains(name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if check(core, name).await {
            report.push_str(&format!("[+]{name} ok\n"));
        } else {
            is_good = false;
            report.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    Ok(match (is_good, query.get("verbose").is_some()) {
        (true, false) => output::text_response(StatusCode::OK, "ok"),
        (true, true) => output::text_response(StatusCode::OK, format!("{report}{endpoint} check passed\n")),
        (false, _) => {
            output::text_response(StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{endpoint} check failed\n"))
        }
    })
}
