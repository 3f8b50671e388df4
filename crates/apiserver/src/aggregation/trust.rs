//! What extension API servers need to believe this server: the ConfigMap that upstream's libraries read at their start.

use api::status::Status;
use serde_json::{Value, json};

use super::FRONT_PROXY;
use crate::access::Identity;
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
    let list = |name: &str| json!([name]).to_string();
    json!({
        "client-ca-file": core.certificates.authority.certificate_pem(),
        "requestheader-allowed-names": list(FRONT_PROXY),
        "requestheader-client-ca-file": core.certificates.front_proxy_authority.certificate_pem(),
        "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
        "requestheader-group-headers": list("X-Remote-Group"),
        "requestheader-uid-headers": list("X-Remote-Uid"),
        "requestheader-username-headers": list("X-Remote-User"),
    })
}
