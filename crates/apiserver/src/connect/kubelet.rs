//! `pods/exec`, `pods/attach`, `pods/portforward`: the client's connection is switched to a protocol that the node's
//! runtime speaks, and passes through unread.

use api::status::Status;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use super::dial::Security;
use super::forward::{Destination, exchange, is_upgrade, outgoing, switched};
use super::{Call, location, refusal, tunnel};
use crate::http::body::Body;

/// What a kubelet calls the streams of a command.
const STREAM_NAMES: [(&str, &str); 4] = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

pub(super) async fn handle(call: &Call<'_>, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let pod = location::object(call.core, "pods", call.target.namespace.as_deref(), call.name).await?;
    let path = path(call, &pod)?;
    let node =
        node_of(&pod).ok_or_else(|| Status::bad_request(format!("pod {} does not have a host assigned", call.name)))?;
    if !is_upgrade(request.headers()) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let address = location::kubelet(call.core, node)?;
    let destination = Destination { address, security: Security::Kubelet { insecure: false }, path };
    let tunneled = match call.subresource {
        "portforward" => tunnel::wanted(request.headers()),
        _ => None,
    };
    let listener = match call.subresource {
        "portforward" => None,
        _ => refusal::listener(request.headers()),
    };
    let client = hyper::upgrade::on(&mut request);
    let request = match &tunneled {
        Some(tunneled) => tunneled.unwrapped(request),
        None => request,
    };
    let request = outgoing(request, &destination.path, &address.to_string())?;
    let answer = exchange(call.core, &destination, request).await;
    let answer = answer.map_err(|err| Status::unclassified(format!("error dialing backend: {err}")))?;
    // A runtime that does not speak the protocol refuses the request (400, 403), and its client asks again by SPDY.
    if let Some(listener) = listener
        && (answer.status().is_server_error() || answer.status() == StatusCode::NOT_FOUND)
    {
        return listener.tell(call.core, client, answer).await;
    }
    Ok(match tunneled {
        Some(tunneled) => tunneled.switched(call.core, client, answer).await,
        None => switched(call.core, client, answer).await,
    })
}

/// The kubelet's path and query.
fn path(call: &Call<'_>, pod: &Value) -> Result<String, Status> {
    let (query, name) = (&call.info.query, call.name);
    let namespace = api::meta::namespace(pod).unwrap_or_default();
    let mut parameters = ::url::form_urlencoded::Serializer::new(String::new());
    let place = if call.subresource == "portforward" {
        for port in query.all("ports") {
            parameters.append_pair("port", port);
        }
        format!("/portForward/{namespace}/{name}")
    } else {
        let container = container(pod, query.get("container").unwrap_or_default())?;
        for (_, theirs) in STREAM_NAMES.into_iter().filter(|(ours, _)| query.flag(ours)) {
            parameters.append_pair(theirs, "1");
        }
        for word in query.all("command") {
            parameters.append_pair("command", word);
        }
        format!("/{}/{namespace}/{name}/{container}", call.subresource)
    };
    let parameters = parameters.finish();
    Ok(if parameters.is_empty() { place } else { format!("{place}?{parameters}") })
}

/// The node that a pod runs on.
pub(super) fn node_of(pod: &Value) -> Option<&str> {
    pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|node| !node.is_empty())
}

/// The query without some parameters, with its question mark.
pub(super) fn query_without(raw: Option<&str>, without: &[&str]) -> String {
    let kept: Vec<&str> = raw
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| !without.contains(&pair.split('=').next().unwrap_or_default()))
        .collect();
    if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) }
}

/// The container that is meant: the one named, or the only one.
pub(super) fn container(pod: &Value, named: &str) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
    };
    let containers = names("containers");
    let all = [names("initContainers"), containers.clone(), names("ephemeralContainers")].concat();
    let pod_name = api::meta::name(pod);
    if named.is_empty() {
        if let [only] = containers.as_slice() {
            return Ok(only.clone());
        }
        let choice = all.join(" ");
        let why = format!("a container name must be specified for pod {pod_name}, choose one of: [{choice}]");
        return Err(Status::bad_request(why));
    }
    if all.iter().any(|each| each == named) {
        return Ok(named.to_owned());
    }
    Err(Status::bad_request(format!("container {named} is not valid for pod {pod_name}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(pod: &Value, named: &str, expected: Result<&str, &str>) {
        let found = container(pod, named).map_err(|status| status.message.clone());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn a_container_is_named_or_the_only_one() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        check(&one, "", Ok("a"));
        check(&one, "x", Err("container x is not valid for pod p"));
        let more = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}],
            "ephemeralContainers": [{"name": "e"}],
        }});
        check(&more, "e", Ok("e"));
        check(&more, "", Err("a container name must be specified for pod p, choose one of: [i a b e]"));
    }
}
