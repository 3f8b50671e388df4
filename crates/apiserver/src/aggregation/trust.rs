//! What extension API servers need to believe this server: the ConfigMap that upstream's libraries read at their start.

use api::status::Status;
use serde_json::{Value, json};

use super::FRONT_PROXY;
use crate::access::{Identity, RequestHeaders};
use crate::bootstrap;
use crate::pipeline::Core;
use crate::registry::{Caller, Part, Scope};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Makes the ConfigMap, or brings it up to date.
pub(super) async fn publish(core: &Core) -> Result<(), Status> {
    let registry = &core.registry;
    let Some(resource) = api::kinds::find("", "v1", "configmaps") else { return Ok(()) };
    let scope = Scope { resource, namespace: Some(NAMESPACE) };
    let data = data(core);
    let found = registry.cached(resource, &scope.key(NAME));
    if found.as_ref().is_some_and(|found| found.value()["data"] == data) {
        return Ok(());
    }
    if found.is_none() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data});
        return bootstrap::create(registry, scope, value).await;
    }
    let identity = Identity::server();
    let caller = Caller::server(&identity);
    let change = |current: &Value| {
        let mut changed = current.clone();
        changed["data"] = data.clone();
        Ok(changed)
    };
    registry.update(scope, NAME, Part::Main, caller, &change).await.map(drop)
}

fn data(core: &Core) -> Value {
    let list = |names: &[String]| json!(names).to_string();
    let headers = &core.config.request_headers;
    // Where names count, this server's own is one of them.
    let mut names = headers.allowed_names.clone();
    if !names.is_empty() && !names.iter().any(|name| name == FRONT_PROXY) {
        names.push(FRONT_PROXY.to_owned());
    }
    // It tells extension API servers who asks in its own headers, whichever it believes itself.
    let own = RequestHeaders::default();
    let with_own = |given: &[String], own: &[String]| {
        let is_given = |name: &&String| given.iter().any(|given| given.eq_ignore_ascii_case(name));
        let mut all = given.to_vec();
        all.extend(own.iter().filter(|name| !is_given(name)).cloned());
        list(&all)
    };
    json!({
        "client-ca-file": core.authorities.clients_pem(),
        "requestheader-allowed-names": list(&names),
        "requestheader-client-ca-file": core.authorities.front_proxies_pem(),
        "requestheader-extra-headers-prefix": with_own(&headers.extra_headers_prefixes, &own.extra_headers_prefixes),
        "requestheader-group-headers": with_own(&headers.group_headers, &own.group_headers),
        "requestheader-uid-headers": with_own(&headers.uid_headers, &own.uid_headers),
        "requestheader-username-headers": with_own(&headers.username_headers, &own.username_headers),
    })
}
