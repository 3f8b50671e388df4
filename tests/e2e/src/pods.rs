//! Manifests of pods.

use serde_json::{Value, json};

/// The image that [`build_hello`](crate::build_hello) makes: a web server, and a shell with the usual tools.
pub const IMAGE: &str = "skiff.local/hello:1";

/// A pod with this specification.
pub fn pod(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A pod of the one container `main`, whose shell runs this script. It has a second to end.
pub fn pod_of(name: &str, script: &str) -> Value {
    pod(name, &json!({"terminationGracePeriodSeconds": 1, "containers": [container("main", script)]}))
}

/// A container whose shell runs this script.
pub fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]})
}
