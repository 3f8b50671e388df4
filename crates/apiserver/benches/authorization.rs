//! How long a decision takes among many roles: `cargo bench -p skiff-apiserver --bench authorization`.
//!
//! A server over a datastore in memory gets roles with bindings, each to a user of its own, and one user in the middle
//! of them asks. The time is that of the decision alone, without the request around it.

use std::sync::Arc;
use std::time::Instant;

use base::{Env, Tasks};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Config, Identity, InProcess};
use tower::Service;

/// How many roles, with a binding each.
const ROLES: usize = 2000;
/// How many decisions are timed.
const DECISIONS: u32 = 20_000;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = Config::new(dir.path());
    config.bind_address = [127, 0, 0, 1].into();
    config.secure_port = 0;
    let server = ApiServer::build(config, Arc::new(store::Memory::new()), Env::system()).expect("a server");
    let (service, access) = (server.service(Identity::admin()), server.access());
    let (_trigger, drain) = base::drain();
    let mut tasks = Tasks::new();
    tasks.spawn_fallible("API server", server.run(drain));
    while post(&service, &format!("{RBAC}/roles"), role("first")).await != 201 {
        tokio::task::yield_now().await;
    }
    for number in 0..ROLES {
        let name = format!("role-{number}");
        assert_eq!(post(&service, &format!("{RBAC}/roles"), role(&name)).await, 201);
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("user-{number}")}],
        });
        assert_eq!(post(&service, &format!("{RBAC}/rolebindings"), binding).await, 201);
    }
    let user = Identity::new(format!("user-{}", ROLES / 2), &["developers", "staff"]);
    while !access.may_get(&user, "", "configmaps", "default", "settings") {
        tokio::task::yield_now().await;
    }
    measure("authorization.allow", || access.may_get(&user, "", "configmaps", "default", "settings"), true);
    measure("authorization.refuse", || access.may_get(&user, "", "secrets", "default", "settings"), false);
}

fn measure(name: &str, decide: impl Fn() -> bool, expected: bool) {
    let began = Instant::now();
    for _ in 0..DECISIONS {
        assert_eq!(decide(), expected);
    }
    println!("bench: {name} {:.2} us", began.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS));
}

fn role(name: &str) -> Value {
    let rules = json!([
        {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "services"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["settings"]},
    ]);
    json!({"metadata": {"name": name}, "rules": rules})
}

async fn post(service: &InProcess, path: &str, body: Value) -> u16 {
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
    let answer = service.clone().call(request).await.unwrap_or_else(|never| match never {});
    answer.status().as_u16()
}
