//! Admission of connections: what is asked about is the options of the subresource, as the query gives them.

use api::kinds::Resource;
use api::status::Status;
use serde_json::{Map, Value};

use super::Call;
use crate::access::Identity;
use crate::admission::{self, Attributes, Operation};
use crate::audit::Annotations;
use crate::http::request_info::Query;
use crate::registry::{Caller, Scope};

/// Asks admission whether somebody may connect.
pub(super) async fn admit(
    call: &Call<'_>,
    resource: &Resource,
    identity: &Identity,
    annotations: Option<&Annotations>,
) -> Result<(), Status> {
    let caller = Caller { subresource: call.subresource, annotations, ..Caller::of(identity) };
    let scope = Scope { resource, namespace: call.target.namespace.as_deref() };
    let attributes = Attributes::new(&call.core.registry, scope, caller, Operation::Connect);
    let attributes = Attributes { path_name: Some(call.name), ..attributes };
    let mut options = options(resource, call.subresource, &call.target.rest, &call.info.query);
    admission::admit(&attributes, &mut options).await?;
    admission::validate(&attributes, &mut options).await
}

/// The options of a connection as an object.
fn options(resource: &Resource, subresource: &str, path: &str, query: &Query) -> Value {
    let kind = resource.subresource(subresource).map(|row| row.kind.to_string()).unwrap_or_default();
    let mut options = Map::new();
    let mut set = |field: &str, value: Value| drop(options.insert(field.to_owned(), value));
    for field in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|field| query.flag(field)) {
        set(field, true.into());
    }
    if let Some(container) = query.get("container").filter(|container| !container.is_empty()) {
        set("container", container.into());
    }
    let (commands, ports) = (query.all("command"), query.all("ports"));
    if !commands.is_empty() && subresource == "exec" {
        set("command", commands.into());
    }
    let ports: Vec<Value> = ports.iter().filter_map(|port| Some(port.parse::<i32>().ok()?.into())).collect();
    if !ports.is_empty() && subresource == "portforward" {
        set("ports", ports.into());
    }
    if !path.is_empty() && subresource == "proxy" {
        set("path", path.into());
    }
    set("kind", kind.into());
    set("apiVersion", "v1".into());
    Value::Object(options)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(plural: &str, subresource: &str, path: &str, query: &str, expected: Value) {
        let resource = api::kinds::find("", "v1", plural).expect(plural);
        assert_eq!(options(resource, subresource, path, &Query::parse(Some(query))), expected);
    }

    #[test]
    fn options_are_objects_of_their_own_kinds() {
        let expected = json!({
            "kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "container": "a", "stdin": true,
        });
        check("pods", "exec", "", "command=sh&command=-c&container=a&stdin=true&tty=false", expected);
        let expected = json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80]});
        check("pods", "portforward", "", "ports=80", expected);
        let expected = json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/healthz"});
        check("services", "proxy", "/healthz", "", expected);
    }
}
