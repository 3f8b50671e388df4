//! Pods that take whatever they can get, beside one that only wants to be left alone: the node stays ready, the
//! neighbour is served all the time, and nothing of the others stays.
//!
//! `SKIFF_STORM_SECONDS` of more than a minute, as in `make storm`, lets each take twenty times as much.

mod crowd;
mod guests;

use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_e2e::{Cluster, Kubectl, Layout, http};

const SOON: Duration = Duration::from_secs(120);

/// How long the neighbour may take to answer while others take what they can, on a machine of two cores.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn the_neighbour_is_not_hurt() {
    let mut cluster = Cluster::start("hostile", Layout::OneProcess);
    cluster.build_hello("1");
    let kubectl = cluster.kubectl();
    kubectl.apply(NEIGHBOUR);
    let ready = "{.status.conditions[?(@.type=='Ready')].status}";
    kubectl.wait(&["pod", "neighbour"], ready, SOON, |status| status == "True");
    let node = node_ready(&kubectl);
    let before = kubectl.json(&["get", "pod", "neighbour"]);
    let outside = cluster.machines().second().to_owned();
    let load = http::Load::start(&outside, cluster.node_port(30081), "/version");

    for guest in guests::all() {
        let begun = Instant::now();
        guest.visit(&cluster, &kubectl);
        eprintln!("guest: {}: {:.1} s", guest.name, begun.elapsed().as_secs_f64());
        let answered = load.answered();
        testkit::until(PATIENCE, &format!("an answer of the neighbour of {}", guest.name), || {
            (load.answered() > answered).then_some(())
        });
    }

    let result = load.finish();
    eprintln!("{} requests answered, {} failed", result.answered, result.failures.len());
    assert!(result.failures.len() * 100 <= result.answered, "{:?}", result.failures);
    assert_eq!(node_ready(&kubectl), node, "the node was not ready for a while");
    let after = kubectl.json(&["get", "pod", "neighbour"]);
    assert_eq!(after["status"]["containerStatuses"], before["status"]["containerStatuses"]);
    assert_eq!(after["status"]["conditions"], before["status"]["conditions"]);
    cluster.wait_nothing_left_of_pods();
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

/// Whether the node is ready, and since when.
fn node_ready(kubectl: &Kubectl) -> (Value, Value) {
    let node = kubectl.json(&["get", "node", "first"]);
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|one| one["type"] == "Ready").expect("it is said");
    (ready["status"].clone(), ready["lastTransitionTime"].clone())
}

/// Serves, and is probed. It asks for a share of the machine, which those that ask for nothing cannot take.
const NEIGHBOUR: &str = "
apiVersion: v1
kind: Pod
metadata: {name: neighbour, labels: {app: neighbour}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: skiff.local/hello:1
    resources: {requests: {cpu: 500m, memory: 32Mi}}
    readinessProbe: &probe {httpGet: {path: /version, port: 8080}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3}
    livenessProbe: *probe
---
apiVersion: v1
kind: Service
metadata: {name: neighbour}
spec:
  type: NodePort
  selector: {app: neighbour}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
";
