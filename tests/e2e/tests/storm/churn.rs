//! Pods that come and go.

use std::cell::Cell;
use std::time::Duration;

use base::{Env, Random};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_e2e::container;

use crate::witness::Witness;

/// With what the names of these pods begin.
pub const PREFIX: &str = "churn-";

/// How many pods there are at most, steady ones included.
pub const PODS: usize = 50;

/// How many of them may be on their way in or out: more would only wait in line.
const MOVING: usize = 16;

const FIRST_HOST_PORT: usize = 20000;

/// Makes and deletes pods until it is over; how many were made.
pub async fn churn(client: &Client, witness: &Witness, random: Random, over: &Cell<bool>) -> usize {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let (env, mut made, mut there) = (Env::system(), 0, Vec::new());
    while !over.get() {
        env.sleep(Duration::from_millis(30 + random.below(120))).await;
        if witness.moving() >= MOVING {
            continue;
        }
        let full = there.len() + crate::logs::PODS >= PODS;
        if full || (there.len() > PODS / 2 && random.below(2) == 0) {
            let name: String = there.swap_remove(random.below(there.len() as u64) as usize);
            let grace = [None, Some(0), Some(1)][random.below(3) as usize];
            let params = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
            pods.delete(&name, &params).await.expect("deleted");
            continue;
        }
        let name = format!("{PREFIX}{made}");
        let pod = serde_json::from_value(pod(&name, made, random.below(KINDS))).expect("a pod");
        pods.create(&PostParams::default(), &pod).await.expect("created");
        there.push(name);
        made += 1;
    }
    made
}

/// How many kinds of pods there are.
const KINDS: u64 = 8;

fn pod(name: &str, number: usize, kind: u64) -> Value {
    let stays = "trap 'exit 0' TERM; echo up; while true; do sleep 1000 & wait $!; done";
    let mut spec = json!({"terminationGracePeriodSeconds": 2, "containers": [container("main", stays)]});
    match kind {
        0 => {}
        1 => {
            spec["containers"] = json!([container("main", stays), container("other", stays)]);
            spec["volumes"] = json!([{"name": "memory", "emptyDir": {"medium": "Memory"}}]);
            spec["containers"][0]["volumeMounts"] = json!([{"name": "memory", "mountPath": "/memory"}]);
        }
        2 => spec["initContainers"] = json!([container("first", "echo first"), container("second", "sleep 0.2")]),
        3 => {
            spec["restartPolicy"] = json!("Never");
            spec["containers"] = json!([container("main", "sleep 0.3; exit 0")]);
        }
        4 => {
            // No two pods that may be there at once have the same.
            let port = FIRST_HOST_PORT + number % (4 * PODS);
            spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": port}]);
        }
        5 => spec["shareProcessNamespace"] = json!(true),
        6 => spec["hostUsers"] = json!(false),
        // One that has to be killed.
        _ => spec["containers"] = json!([container("main", "trap '' TERM; while true; do sleep 1000 & wait $!; done")]),
    }
    skiff_e2e::pod(name, &spec)
}
