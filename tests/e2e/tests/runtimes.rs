//! Nodes whose pods another container runtime runs: the core of what pods do, over each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use skiff_e2e::{Cluster, Containerd, Docker, Kubectl, Layout, Machines, http};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn containerd_runs_pods() {
    let mut cluster = Cluster::prepare("ctd", Layout::OneProcess);
    let containerd = Containerd::start(cluster.machines().first());
    let options = containerd.options();
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
    cluster.start_prepared(&options);
    pods_run(&mut cluster);

    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    assert_eq!(containerd.containers(), [""; 0]);
    assert_eq!(containerd.mounts(), Vec::<std::path::PathBuf>::new());
    assert!(containerd.network_files().is_empty(), "{:?}", containerd.network_files());
}

#[test]
fn docker_runs_pods() {
    let mut cluster = Cluster::prepare("dkr", Layout::OneProcess);
    let mut docker = Docker::start(cluster.machines().first());
    let options = docker.options();
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
    cluster.start_prepared(&options);
    pods_run(&mut cluster);
    a_killed_adapter_restarts_no_container(&cluster, &mut docker);

    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    assert_eq!(docker.containers(), [""; 0]);
    assert!(docker.network_files().is_empty(), "{:?}", docker.network_files());
}

fn pods_run(cluster: &mut Cluster) {
    let kubectl = cluster.kubectl();
    services_lead_to_pods(cluster, &kubectl);
    containers_start_in_order_and_tell_how_they_end(&kubectl);
    a_port_of_the_node_leads_to_its_pod(cluster, &kubectl);
    a_pod_whose_probe_fails_is_restarted(&kubectl);
    streams_reach_containers(&kubectl);
    a_port_is_forwarded(cluster, &kubectl);
    a_killed_server_restarts_no_container(cluster, &kubectl);
}

fn services_lead_to_pods(cluster: &Cluster, kubectl: &Kubectl) {
    // kubectl waits half a minute for the schema, which the server of a busy machine makes when it is first asked for.
    kubectl.run(&["get", "--raw", "/openapi/v2"]);
    let example = skiff_e2e::workspace().join("examples/hello.yaml");
    kubectl.run(&["apply", "-f", &example.to_string_lossy()]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    let (outside, node_port) = (cluster.machines().second(), cluster.node_port(30080));
    testkit::until(SOON, "the node port", || http::get(outside, node_port, "/version").ok());
    testkit::until(SOON, "the DNS name from a pod", || {
        let wget = ["exec", "deploy/hello", "--", "wget", "-q", "-O-", "http://hello/version"];
        (kubectl.run(&wget).trim() == "1").then_some(())
    });
}

const ENDS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: ends}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: "skiff.local/hello:1", command: [sh, -c, "echo first > /shared/order"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: skiff.local/hello:1
    command: [sh, -c, "cat /shared/order; echo $NODE; exit 3"]
    terminationMessagePolicy: FallbackToLogsOnError
    env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, emptyDir: {}}]
"#;

fn containers_start_in_order_and_tell_how_they_end(kubectl: &Kubectl) {
    kubectl.apply(ENDS);
    kubectl.wait(&["pod", "ends"], "{.status.phase}", SOON, |phase| phase == "Failed");
    let pod = kubectl.json(&["get", "pod", "ends"]);
    let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["exitCode"], &end["reason"]), (&3.into(), &"Error".into()), "{end}");
    assert_eq!(end["message"], "first\nfirst\n", "what init containers wrote, and the name of the node: {end}");
    assert_eq!(kubectl.run(&["logs", "ends"]), "first\nfirst\n");
}

const PORT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: port}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: "skiff.local/hello:1", ports: [{containerPort: 8080, hostPort: 9090}]}]
"#;

fn a_port_of_the_node_leads_to_its_pod(cluster: &Cluster, kubectl: &Kubectl) {
    kubectl.apply(PORT);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/port", "--timeout=60s"]);
    let address: SocketAddr = format!("{}:9090", Machines::FIRST_IP).parse().expect("an address");
    let outside = cluster.machines().second();
    testkit::until(SOON, "the host port", || http::get(outside, address, "/cgi-bin/whoami").ok());
}

const PROBED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: once
    image: skiff.local/hello:1
    command: [sh, -c, "trap 'exit 0' TERM; sleep 600 & wait"]
    livenessProbe: {exec: {command: [sh, -c, "exit 1"]}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1}
"#;

fn a_pod_whose_probe_fails_is_restarted(kubectl: &Kubectl) {
    kubectl.apply(PROBED);
    let restarts = "{.status.containerStatuses[0].restartCount}";
    kubectl.wait(&["pod", "probed"], restarts, SOON, |count| count.parse::<u32>().is_ok_and(|count| count >= 1));
    kubectl.run(&["delete", "pod/probed", "--wait=true"]);
}

fn streams_reach_containers(kubectl: &Kubectl) {
    let failure = kubectl.fail(&["exec", "port", "--", "sh", "-c", "exit 7"], "");
    assert!(failure.contains("exit code 7"), "{failure}");
    assert_eq!(kubectl.old().run(&["exec", "port", "--", "hostname"]).trim(), "port", "over SPDY");
    let summary = kubectl.run(&["get", "--raw", "/api/v1/nodes/first/proxy/stats/summary"]);
    assert!(summary.contains(r#""name":"port""#), "{summary}");
}

const READER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "skiff.local/hello:1", stdin: true, command: [sh, -c, "while read line; do echo got $line; done; sleep 600"]}
"#;

fn a_port_is_forwarded(cluster: &Cluster, kubectl: &Kubectl) {
    let mut forwarding = kubectl.start(&["port-forward", "pod/port", ":8080"]);
    let line = forwarding.line(|line| line.contains("Forwarding from") && line.contains("127.0.0.1:"));
    let (_, rest) = line.split_once("127.0.0.1:").expect("it has one");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    assert_eq!(http::get(cluster.machines().first(), address, "/version").expect("an answer"), "1");
    drop(forwarding);

    kubectl.apply(READER);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/reader", "--timeout=60s"]);
    let mut attached = kubectl.start(&["attach", "-i", "reader"]);
    attached.say("hello");
    attached.line(|line| line == "got hello");
    drop(attached);
    assert_eq!(kubectl.run(&["logs", "reader"]), "got hello\n");
    assert_eq!(kubectl.run_with(&["exec", "-i", "reader", "--", "cat"], "in and out"), "in and out");
}

/// The ids of the containers of all pods that run.
fn running(kubectl: &Kubectl) -> BTreeMap<String, String> {
    let path = r#"jsonpath={range .items[?(@.status.phase=="Running")]}{.metadata.name} {.status.containerStatuses[0].containerID}{"\n"}{end}"#;
    let text = kubectl.run(&["get", "pods", "-o", path]);
    text.lines().filter_map(|line| line.split_once(' ')).map(|(pod, id)| (pod.to_owned(), id.to_owned())).collect()
}

fn a_killed_server_restarts_no_container(cluster: &mut Cluster, kubectl: &Kubectl) {
    let before = running(kubectl);
    assert!(before.len() >= 4, "{before:?}");
    cluster.kill();
    let (outside, node_port) = (cluster.machines().second().to_owned(), cluster.node_port(30080));
    testkit::until(SOON, "an answer while no server runs", || http::get(&outside, node_port, "/version").ok());
    cluster.start_processes();
    kubectl.wait(&["node", "first"], "{.metadata.name}", SOON, |name| name == "first");
    kubectl.run(&["rollout", "restart", "deployment/hello"]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    let after = running(kubectl);
    assert_eq!(after.get("port"), before.get("port"), "the one pod that nobody replaced");
}

fn a_killed_adapter_restarts_no_container(cluster: &Cluster, docker: &mut Docker) {
    let kubectl = cluster.kubectl();
    // Pods that were replaced a moment ago may still be on their way out.
    let ids = |pods: &BTreeMap<String, String>| ["port", "reader"].map(|pod| pods.get(pod).cloned());
    let before = ids(&running(&kubectl));
    assert!(before.iter().all(Option::is_some), "{before:?}");
    docker.restart_adapter();
    let mut attached = kubectl.start(&["attach", "-i", "reader"]);
    attached.say("once more");
    attached.line(|line| line == "got once more");
    let logs = || (kubectl.run(&["logs", "reader"]) == "got hello\ngot once more\n").then_some(());
    testkit::until(SOON, "the line that came after", logs);
    assert_eq!(ids(&running(&kubectl)), before);
}
