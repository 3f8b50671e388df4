//! From nothing to a served Deployment and all that people do to it, in both layouts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use skiff_e2e::{Cluster, Kubectl, Layout, Machines, http};

const SOON: Duration = Duration::from_secs(40);

#[test]
fn one_process_serves_a_deployment() {
    scenario("one", Layout::OneProcess);
}

#[test]
fn separate_processes_serve_a_deployment() {
    scenario("sep", Layout::Separate);
}

#[test]
fn a_cluster_of_two_families_serves_on_both() {
    if !testkit::can_test_ipv6() {
        return;
    }
    let mut cluster = Cluster::start_with(
        "fam",
        &[
            ("--cluster-cidr", "10.42.0.0/16,fd42::/56"),
            ("--service-cidr", "10.43.0.0/16,fd43::/112"),
            ("--node-ip", Machines::FIRST_IP),
            ("--node-ip", Machines::FIRST_IPV6),
        ],
    );
    cluster.build_hello("1");
    let kubectl = cluster.kubectl();
    let example = skiff_e2e::workspace().join("examples/hello.yaml");
    kubectl.run(&["apply", "-f", &example.to_string_lossy()]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    kubectl.run(&["patch", "service", "hello", "-p", r#"{"spec": {"ipFamilyPolicy": "RequireDualStack"}}"#]);

    let pod = &kubectl.json(&["get", "pods", "-l", "app=hello"])["items"][0]["status"];
    for (list, v4, v6) in [("podIPs", "10.42.0.", "fd42::"), ("hostIPs", Machines::FIRST_IP, Machines::FIRST_IPV6)] {
        let ips: Vec<&str> = pod[list].as_array().expect("a list").iter().filter_map(|ip| ip["ip"].as_str()).collect();
        assert!(ips.len() == 2 && ips[0].starts_with(v4) && ips[1].starts_with(v6), "{list}: {ips:?}");
    }
    let six = "-l=kubernetes.io/service-name=hello";
    let endpoints = r#"{.items[?(@.addressType=="IPv6")].endpoints[*].addresses[0]}"#;
    kubectl.wait(&["endpointslices", six], endpoints, SOON, |ips| ips.split_whitespace().count() == 3);

    let address = kubectl.run(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIPs[1]}"]);
    let service: SocketAddr = format!("[{address}]:80").parse().expect("an address");
    let (first, outside) = (cluster.machines().first(), cluster.machines().second());
    all_pods_answer(&kubectl, "the cluster IP", || http::get(first, service, "/cgi-bin/whoami").ok());
    let node_port: SocketAddr = format!("[{}]:30080", Machines::FIRST_IPV6).parse().expect("an address");
    all_pods_answer(&kubectl, "the node port", || http::get(outside, node_port, "/cgi-bin/whoami").ok());
    let wget = format!("http://[{address}]/cgi-bin/whoami");
    all_pods_answer(&kubectl, "the cluster IP from a pod", || {
        Some(kubectl.run(&["exec", "deploy/hello", "--", "wget", "-q", "-O-", &wget]).trim().to_owned())
    });
    let lookup = kubectl.run(&["exec", "deploy/hello", "--", "nslookup", "hello.default.svc.cluster.local"]);
    assert!(lookup.contains(&address), "{lookup}");

    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

fn scenario(tag: &str, layout: Layout) {
    let mut cluster = Cluster::start(tag, layout);
    cluster.build_hello("1");
    cluster.build_hello("2");
    let kubectl = cluster.kubectl();

    step("apply and reach", || apply_and_reach(&cluster, &kubectl));
    step("scale", || scale(&kubectl));
    step("rolling update and undo", || update_and_undo(&cluster, &kubectl));
    step("a deleted pod is replaced", || replace_a_deleted_pod(&kubectl));
    step("logs and exec", || logs_and_exec(&kubectl));
    step("static pod", || static_pod(&cluster, &kubectl));
    let talker = follow_a_talker(&kubectl);
    step("failures say why", || failures_say_why(&kubectl));
    step("helm", || helm(&kubectl));
    step("logs over rotation", || logs_over_rotation(&cluster, &kubectl, talker));
    step("second node fails", || second_node(&mut cluster, &kubectl));

    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

fn step(name: &str, run: impl FnOnce()) {
    let start = std::time::Instant::now();
    eprintln!("step: {name}");
    run();
    eprintln!("step: {name}: {:.1} s", start.elapsed().as_secs_f64());
}

fn ready_replicas(kubectl: &Kubectl, count: &str) {
    kubectl.wait(&["deployment", "hello"], "{.status.readyReplicas}", SOON, |ready| ready == count);
}

/// Asks until every ready pod has answered.
#[track_caller]
fn all_pods_answer(kubectl: &Kubectl, what: &str, ask: impl Fn() -> Option<String>) {
    let pods = kubectl.run(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[*].metadata.name}"]);
    let expected: BTreeSet<String> = pods.split_whitespace().map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    testkit::until(SOON, &format!("answers of {expected:?} through {what}"), || {
        seen.extend(ask());
        (seen == expected).then_some(())
    });
}

fn apply_and_reach(cluster: &Cluster, kubectl: &Kubectl) {
    let example = skiff_e2e::workspace().join("examples/hello.yaml");
    kubectl.run(&["apply", "-f", &example.to_string_lossy()]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=60s"]);

    let address = kubectl.run(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}"]);
    let service: SocketAddr = format!("{address}:80").parse().expect("an address");
    let first = cluster.machines().first();
    all_pods_answer(kubectl, "the cluster IP", || http::get(first, service, "/cgi-bin/whoami").ok());
    let outside = cluster.machines().second();
    let node_port = cluster.node_port(30080);
    all_pods_answer(kubectl, "the node port", || http::get(outside, node_port, "/cgi-bin/whoami").ok());
    all_pods_answer(kubectl, "the DNS name", || {
        let wget = ["exec", "deploy/hello", "--", "wget", "-q", "-O-", "http://hello/cgi-bin/whoami"];
        Some(kubectl.run(&wget).trim().to_owned())
    });
    let lookup = kubectl.run(&["exec", "deploy/hello", "--", "nslookup", "hello.default.svc.cluster.local"]);
    assert!(lookup.contains(&address), "{lookup}");

    let table = kubectl.run(&["get", "deployments"]);
    assert!(table.contains("hello") && table.contains("3/3"), "{table}");
    let again = kubectl.run(&["apply", "-f", &example.to_string_lossy()]);
    assert!(again.contains("deployment.apps/hello unchanged"), "{again}");
}

fn scale(kubectl: &Kubectl) {
    kubectl.run(&["scale", "deployment/hello", "--replicas=5"]);
    ready_replicas(kubectl, "5");
    kubectl.run(&["scale", "deployment/hello", "--replicas=0"]);
    kubectl.wait(&["pods", "-l", "app=hello"], "{.items[*].metadata.name}", SOON, str::is_empty);
    kubectl.run(&["scale", "deployment/hello", "--replicas=3"]);
    ready_replicas(kubectl, "3");
}

fn update_and_undo(cluster: &Cluster, kubectl: &Kubectl) {
    let address = cluster.node_port(30080);
    let outside = cluster.machines().second();
    let load = http::Load::start(outside, address, "/version");
    testkit::until(SOON, "the first answers", || (load.answered() > 10).then_some(()));

    kubectl.run(&["set", "image", "deployment/hello", "web=skiff.local/hello:2"]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    testkit::until(SOON, "the new version alone", || {
        (0..10).all(|_| http::get(outside, address, "/version").is_ok_and(|version| version == "2")).then_some(())
    });
    kubectl.run(&["rollout", "undo", "deployment/hello"]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    testkit::until(SOON, "the old version alone", || {
        (0..10).all(|_| http::get(outside, address, "/version").is_ok_and(|version| version == "1")).then_some(())
    });
    let history = kubectl.run(&["rollout", "history", "deployment/hello"]);
    assert!(history.lines().any(|line| line.starts_with('3')), "{history}");

    let result = load.finish();
    assert!(
        result.failures.is_empty(),
        "{} of {} failed: {:?}",
        result.failures.len(),
        result.answered,
        result.failures
    );
}

fn replace_a_deleted_pod(kubectl: &Kubectl) {
    let victim = kubectl.run(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].metadata.name}"]);
    kubectl.run(&["delete", "pod", &victim]);
    let accept = |names: &str| names.split_whitespace().count() == 3 && !names.contains(victim.as_str());
    kubectl.wait(&["pods", "-l", "app=hello"], "{.items[*].metadata.name}", SOON, accept);
    ready_replicas(kubectl, "3");
}

fn logs_and_exec(kubectl: &Kubectl) {
    kubectl.apply(COUNTER);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/counter", "--timeout=40s"]);
    kubectl.stream(&["logs", "-f", "counter"], |line| line == "tick 3");
    let tail = kubectl.run(&["logs", "counter", "--tail=1", "--timestamps"]);
    assert!(tail.contains("Z tick ") && tail.lines().count() == 1, "{tail:?}");
    let printed = kubectl.run(&["exec", "counter", "--", "sh", "-c", "echo $NODE/$ANSWER; cat /config/greeting"]);
    assert_eq!(printed, "first/42\nhello\n");
    let failure = kubectl.fail(&["exec", "counter", "--", "sh", "-c", "exit 7"], "");
    assert!(failure.contains("exit code 7"), "{failure}");
    let echoed = kubectl.run(&["exec", "counter", "--", "id"]);
    assert!(echoed.contains("uid=65534"), "{echoed}");
    kubectl.run(&["delete", "pod/counter", "configmap/settings", "--wait=true"]);
}

const PAGE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: page, labels: {app: page}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: skiff.local/hello:1
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
"#;

/// A file on the node is a pod, which who deletes it in the API does not end.
fn static_pod(cluster: &Cluster, kubectl: &Kubectl) {
    let manifest = cluster.data_dir().join("pod-manifests/page.yaml");
    std::fs::write(&manifest, PAGE).expect("the kubelet has made the directory");
    let ready = ["pod", "page-first"];
    let is_ready = "{.status.containerStatuses[0].ready} {.metadata.uid} {.status.containerStatuses[0].containerID}";
    let look = |accept: &dyn Fn(&str) -> bool| kubectl.wait(&ready, is_ready, SOON, accept);
    let first = look(&|shown| shown.starts_with("true "));
    let address = kubectl.run(&["get", "pod", "page-first", "-o", "jsonpath={.status.podIP}"]);
    let page: SocketAddr = format!("{address}:8080").parse().expect("an address");
    assert_eq!(http::get(cluster.machines().first(), page, "/version").expect("it answers"), "1");
    assert_eq!(kubectl.run(&["exec", "page-first", "--", "hostname"]), "page-first\n");

    // Waiting for it to go, kubectl may first look when the next mirror is there, and wait for that one.
    kubectl.run(&["delete", "pod", "page-first", "--wait=false"]);
    let uid = |shown: &str| shown.split(' ').nth(1).map(str::to_owned);
    let second = look(&|shown| shown.starts_with("true ") && uid(shown) != uid(&first));
    assert_eq!(first.split(' ').nth(2), second.split(' ').nth(2), "the container went on");

    std::fs::remove_file(&manifest).expect("removed");
    kubectl.wait(&["pods", "-l", "app=page"], "{.items[*].metadata.name}", SOON, str::is_empty);
    http::get(cluster.machines().first(), page, "/version").expect_err("nobody is there");
}

/// Starts a pod that writes numbered lines for longer than the kubelet takes to look at logs' sizes twice, and a
/// kubectl that follows it; the thread returns what kubectl printed.
fn follow_a_talker(kubectl: &Kubectl) -> std::thread::JoinHandle<String> {
    kubectl.apply(TALKER);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=40s"]);
    let kubectl = kubectl.clone();
    std::thread::spawn(move || kubectl.run(&["logs", "-f", "talker"]))
}

fn logs_over_rotation(cluster: &Cluster, kubectl: &Kubectl, talker: std::thread::JoinHandle<String>) {
    let printed = talker.join().expect("kubectl logs -f ends with the pod");
    let missing = printed.lines().zip(1..).find(|(line, number)| *line != format!("line {number}"));
    assert_eq!(missing, None, "the first line that is not in its place");
    assert_eq!(printed.lines().count(), TALKER_LINES);
    let files = cluster.log_files("default", "talker");
    assert!((2..=3).contains(&files.len()), "{files:?}");
    kubectl.run(&["delete", "pod", "talker", "--wait=true"]);
}

fn failures_say_why(kubectl: &Kubectl) {
    kubectl.apply(CRASHER);
    kubectl.apply(NO_IMAGE);
    kubectl.apply(TOO_BIG);
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    kubectl.wait(&["pod", "no-image"], waiting, SOON, |why| why == "ErrImagePull" || why == "ImagePullBackOff");
    kubectl.wait(&["pod", "crasher"], waiting, SOON, |why| why == "CrashLoopBackOff");
    kubectl.wait(&["pod", "crasher"], "{.status.containerStatuses[0].restartCount}", SOON, |count| {
        count.parse::<u32>().is_ok_and(|count| count >= 1)
    });
    let previous = kubectl.run(&["logs", "crasher", "--previous"]);
    assert!(previous.contains("about to crash"), "{previous}");
    kubectl.wait(&["pod", "no-image"], waiting, SOON, |why| why == "ImagePullBackOff");

    kubectl.wait(&["pod", "too-big"], "{.status.phase}", SOON, |phase| phase == "Pending");
    let selector = "involvedObject.name=too-big,reason=FailedScheduling";
    let message = "{.items[0].message}";
    let why = kubectl.wait(&["events", "--field-selector", selector], message, SOON, |text| !text.is_empty());
    assert!(why.contains("0/1 nodes are available") && why.contains("Insufficient cpu"), "{why}");
    kubectl.run(&["delete", "pod", "crasher", "no-image", "too-big", "--wait=true"]);
}

fn helm(kubectl: &Kubectl) {
    let chart = skiff_e2e::workspace().join("tests/e2e/chart");
    let chart = chart.to_string_lossy();
    kubectl.helm(&["install", "greeter", &chart, "--wait", "--timeout=60s"]);
    let status = kubectl.helm(&["status", "greeter"]);
    assert!(status.contains("STATUS: deployed"), "{status}");
    kubectl.helm(&[
        "upgrade",
        "greeter",
        &chart,
        "--set",
        "greeting=bonjour",
        "--wait",
        "--timeout=60s",
        "--server-side=false",
    ]);
    let greeting = ["get", "configmap", "greeter", "-o", "jsonpath={.data.greeting}"];
    assert_eq!(kubectl.run(&greeting), "bonjour");
    kubectl.helm(&["rollback", "greeter", "1", "--wait", "--timeout=60s"]);
    assert_eq!(kubectl.run(&greeting), "hello");
    kubectl.helm(&["uninstall", "greeter", "--wait", "--timeout=60s"]);
    kubectl.wait(&["pods", "-l", "app=greeter"], "{.items[*].metadata.name}", SOON, str::is_empty);
}

fn second_node(cluster: &mut Cluster, kubectl: &Kubectl) {
    cluster.join_second();
    kubectl.apply(ROAMER);
    kubectl.run(&["rollout", "status", "deployment/roamer", "--timeout=60s"]);
    let nodes = &["pods", "-l", "app=roamer", "--field-selector=status.phase=Running"];
    let names = "{.items[*].spec.nodeName}";
    kubectl.wait(nodes, names, SOON, |names| names.contains("first") && names.contains("second"));
    // The machines would find each other's pods without it too: they have no other neighbour.
    let range = kubectl.run(&["get", "node", "second", "-o", "jsonpath={.spec.podCIDR}"]);
    testkit::until(SOON, "the route to the second node's pods", || {
        cluster.machines().route_of_first(&range).contains(Machines::SECOND_IP).then_some(())
    });
    let address = kubectl.run(&["get", "pods", "-l", "app=roamer", "-o", "jsonpath={.items[*].status.podIP}"]);
    for pod in address.split_whitespace() {
        let url = format!("http://{pod}:8080/version");
        let answer = kubectl.run(&["exec", "deploy/hello", "--", "wget", "-q", "-O-", &url]);
        assert_eq!(answer.trim(), "1", "{pod}");
    }

    cluster.fail_second();
    let ready = "{.status.conditions[?(@.type=='Ready')].status}";
    kubectl.wait(&["node", "second"], ready, SOON, |status| status == "Unknown");
    testkit::until(SOON, "both pods to be ready on the first node", || {
        let pods = kubectl.try_json(&["get", "pods", "-l", "app=roamer"])?;
        let ready = pods["items"].as_array()?.iter().filter(|pod| is_ready(pod));
        let nodes: Vec<_> = ready.map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default()).collect();
        (nodes == ["first", "first"]).then_some(())
    });
    kubectl.run(&["delete", "deployment", "roamer"]);
}

fn is_ready(pod: &serde_json::Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

const COUNTER: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: "hello\n", answer: "42"}
---
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 65534}
  containers:
    - name: main
      image: skiff.local/hello:1
      command: [sh, -c, 'i=0; while true; do i=$((i+1)); echo "tick $i"; sleep 1; done']
      env:
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: ANSWER, valueFrom: {configMapKeyRef: {name: settings, key: answer}}}
      volumeMounts: [{name: config, mountPath: /config}]
  volumes: [{name: config, configMap: {name: settings}}]
"#;

/// As many lines as [`TALKER`] writes.
const TALKER_LINES: usize = 6900;

const TALKER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: skiff.local/hello:1
      command: [sh, -c, 'i=0; for s in $(busybox seq 23); do sleep 1; for n in $(busybox seq 300); do i=$((i+1)); echo "line $i"; done; done']
"#;

const CRASHER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: crasher}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "skiff.local/hello:1", command: [sh, -c, "echo about to crash; exit 3"]}]
"#;

const NO_IMAGE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: no-image}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "127.0.0.1:1/nothing:1"}]
"#;

const TOO_BIG: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: too-big}
spec:
  containers: [{name: main, image: "skiff.local/hello:1", resources: {requests: {cpu: "1000"}}}]
"#;

const ROAMER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: roamer}
spec:
  replicas: 2
  selector: {matchLabels: {app: roamer}}
  template:
    metadata: {labels: {app: roamer}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      containers:
        - name: web
          image: skiff.local/hello:1
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: 100m}}
"#;
