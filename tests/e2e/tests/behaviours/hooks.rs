//! What containers are told when they have started and when they are to end.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::stage::{Stage, pod, script, with};

/// A pod that prints what it is asked for; its address.
pub async fn listener(stage: &Stage) -> String {
    let main = pod("listener", json!({"command": ["httpd", "-f", "-vv", "-p", "8080", "-h", "/www"]}));
    stage.create(main).await;
    let pod = stage.ready("listener").await;
    pod["status"]["podIP"].as_str().expect("it has one").to_owned()
}

/// A request to the listener, as a command or by the kubelet.
fn handler(by: &str, ip: &str, path: &str) -> Value {
    match by {
        "exec" => json!({"exec": {"command": ["sh", "-c", format!("wget -q -O- http://{ip}:8080/{path} || true")]}}),
        _ => json!({"httpGet": {"host": ip, "port": 8080, "path": format!("/{path}")}}),
    }
}

/// Waits until the listener was asked for a path.
pub async fn is_asked(stage: &Stage, path: &str) {
    let line = format!("url:/{path}");
    stage.printed("listener", &line, |log| log.contains(&line)).await;
}

async fn post_start(stage: Stage, by: &'static str) {
    let ip = listener(&stage).await;
    stage.create(pod("main", json!({"lifecycle": {"postStart": handler(by, &ip, "started")}}))).await;
    is_asked(&stage, "started").await;
    stage.ready("main").await;
}

/// The hook comes first: who ends by a signal says so too, later.
async fn pre_stop(stage: Stage, by: &'static str) {
    let ip = listener(&stage).await;
    let main = format!("trap 'wget -q -O- http://{ip}:8080/ended; exit 0' TERM; sleep 1000 & wait");
    let lifecycle = json!({"preStop": handler(by, &ip, "stopping")});
    let main = pod("main", json!({"command": script(&main), "lifecycle": lifecycle}));
    stage.create(with(main, json!({"spec": {"terminationGracePeriodSeconds": 30}}))).await;
    stage.ready("main").await;
    stage.delete("main").await;
    is_asked(&stage, "ended").await;
    let log = stage.log("listener", "main").await;
    let at = |path: &str| log.find(&format!("url:/{path}"));
    assert!(at("stopping").is_some() && at("stopping") < at("ended"), "{log}");
    stage.gone("main").await;
}

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new(
            "Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook \
             properly",
            |stage| post_start(stage, "exec"),
        ),
        Behaviour::new(
            "Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook \
             properly",
            |stage| post_start(stage, "http"),
        ),
        Behaviour::new(
            "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly",
            |stage| pre_stop(stage, "exec"),
        ),
        Behaviour::new(
            "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly",
            |stage| pre_stop(stage, "http"),
        ),
        Behaviour::new("PreStop should call prestop when killing a pod", |stage| pre_stop(stage, "exec")),
    ]
}
