//! Directories that live as long as their pod, and many volumes at once.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::{config_map, secret};
use crate::files::{mounting, prints};
use crate::stage::{IMAGE, Stage, script, with};

/// How many volumes a pod has at once, and how many pods.
const VOLUMES: usize = 50;
const PODS: usize = 5;

fn directory(medium: &str) -> Value {
    json!({"name": "v", "emptyDir": {"medium": medium}})
}

/// A file that is made with a mode in a directory on a medium.
fn supports(user: &str, mode: &'static str, on: &str) -> Behaviour {
    let name = format!("EmptyDir volumes should support ({user},0{mode},{on})").leak();
    let (uid, medium) = (if user == "root" { 0 } else { 1001 }, if on == "tmpfs" { "Memory" } else { "" });
    Behaviour::new(name, async move |stage: Stage| {
        let text = format!(
            "id -u; echo content > /v/file && busybox chmod 0{mode} /v/file; busybox stat -c %a /v/file; cat /v/file"
        );
        let main = mounting(&[directory(medium)], &text, json!({"runAsUser": uid}));
        prints(&stage, main, &format!("{uid}\n{mode}\ncontent\n")).await;
    })
}

async fn on_disk(stage: Stage) {
    prints(&stage, mounting(&[directory("")], "busybox stat -c %a /v", json!({})), "777\n").await;
}

async fn in_memory(stage: Stage) {
    let text = "busybox stat -c %a /v; busybox stat -f -c %T /v";
    prints(&stage, mounting(&[directory("Memory")], text, json!({})), "777\ntmpfs\n").await;
}

async fn shared(stage: Stage) {
    let mut main = mounting(&[directory("")], "until cat /v/file 2>/dev/null; do sleep 0.1; done", json!({}));
    let writer = json!({
        "name": "writer", "image": IMAGE, "command": script("echo -n from beside > /v/draft; busybox mv /v/draft /v/file"),
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    });
    main["spec"]["containers"].as_array_mut().expect("containers").push(writer);
    prints(&stage, main, "from beside").await;
}

async fn no_conflict(stage: Stage) {
    stage.create(config_map("settings", json!({"data": "map"}))).await;
    stage.create(secret("settings", json!({"data": "secret"}))).await;
    let volumes = [
        json!({"name": "one", "configMap": {"name": "settings"}}),
        json!({"name": "two", "secret": {"secretName": "settings"}}),
    ];
    prints(&stage, mounting(&volumes, "cat /one/data /two/data", json!({})), "mapsecret").await;
}

async fn no_race(stage: Stage) {
    let maps = (0..VOLUMES).map(|number| config_map(&format!("map-{number}"), json!({"data": format!("{number}\n")})));
    for map in maps {
        stage.create(map).await;
    }
    let volume = |number| json!({"name": format!("v{number}"), "configMap": {"name": format!("map-{number}")}});
    let volumes: Vec<Value> = (0..VOLUMES).map(volume).collect();
    let names = || (0..PODS).map(|number| format!("main-{number}"));
    for name in names() {
        let main = mounting(&volumes, "cat /v*/data", json!({}));
        stage.create(with(main, json!({"metadata": {"name": name}}))).await;
    }
    for name in names() {
        stage.phase(&name, "Succeeded").await;
        let log = stage.log(&name, "main").await;
        let mut read: Vec<usize> = log.lines().map(|line| line.parse().expect("a number")).collect();
        read.sort_unstable();
        assert_eq!(read, (0..VOLUMES).collect::<Vec<_>>());
    }
}

pub fn behaviours() -> Vec<Behaviour> {
    let mut all = vec![
        Behaviour::new("EmptyDir wrapper volumes should not cause race condition when used for configmaps", no_race),
        Behaviour::new("EmptyDir wrapper volumes should not conflict", no_conflict),
        Behaviour::new("EmptyDir volumes pod should support shared volumes between containers", shared),
        Behaviour::new("EmptyDir volumes volume on default medium should have the correct mode", on_disk),
        Behaviour::new("EmptyDir volumes volume on tmpfs should have the correct mode", in_memory),
    ];
    for user in ["root", "non-root"] {
        for mode in ["644", "666", "777"] {
            all.extend(["default", "tmpfs"].map(|on| supports(user, mode, on)));
        }
    }
    all
}
