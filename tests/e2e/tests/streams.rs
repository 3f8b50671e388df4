//! What people do inside of running pods: commands, terminals, files, ports, logs, proxies, debugging. By WebSocket, as
//! kubectl does today, and by SPDY alone, as older kubectl and most programs on client-go do.

use std::net::SocketAddr;
use std::time::Duration;

use skiff_e2e::{Cluster, Kubectl, Layout, Running, http};

const SOON: Duration = Duration::from_secs(40);

#[test]
fn people_work_inside_of_pods() {
    let mut cluster = Cluster::start("strm", Layout::OneProcess);
    cluster.build_hello("1");
    let kubectl = cluster.kubectl();
    kubectl.apply(PODS);
    for pod in ["web", "reader", "ticker"] {
        let ready = "{.status.conditions[?(@.type=='Ready')].status}";
        kubectl.wait(&["pod", pod], ready, SOON, |status| status == "True");
    }
    let waits = "{.status.containerStatuses[0].state.waiting.reason}";
    kubectl.wait(&["pod", "unmade"], waits, SOON, |reason| reason == "ErrImageNeverPull");
    // Something large that is text, so that it can be compared.
    kubectl.run(&["exec", "web", "--", "sh", "-c", "head -c 3000000 /dev/urandom | base64 > /www/big"]);
    let big = kubectl.run(&["exec", "web", "--", "cat", "/www/big"]);
    assert!(big.len() > 4_000_000, "{}", big.len());

    step("no way back to SPDY is taken", || web_socket_alone(&kubectl));
    for (name, kubectl) in [("WebSocket", kubectl.clone()), ("SPDY", kubectl.old())] {
        step(&format!("commands over {name}"), || commands(&kubectl, &big));
        step(&format!("attach over {name}"), || attach(&kubectl));
        step(&format!("cp over {name}"), || copy(&kubectl, &big));
        step(&format!("port-forward over {name}"), || port_forward(&cluster, &kubectl, &big));
    }
    step("proxy", || proxy(&cluster, &kubectl, &big));
    step("logs", || logs(&kubectl));
    step("resize", || resize(&kubectl));
    step("debug", || debug(&kubectl));

    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

fn step(name: &str, run: impl FnOnce()) {
    let start = std::time::Instant::now();
    eprintln!("step: {name}");
    run();
    eprintln!("step: {name}: {:.1} s", start.elapsed().as_secs_f64());
}

/// kubectl asks by WebSocket first, and would hide that it had to fall back.
fn web_socket_alone(kubectl: &Kubectl) {
    let tool = skiff_e2e::workspace().join("target/tools/kubectl");
    for command in ["exec -v=5 web -- true", "port-forward -v=5 pod/web :8080"] {
        // A forwarding kubectl has connected by then, and would go on for ever.
        let line = format!("timeout 2 {} {command} 2>&1; true", tool.display());
        let told = kubectl.program("sh", &["-c", &line], "");
        assert!(!told.to_lowercase().contains("fallback"), "{told}");
        let is_forwarding = command.starts_with("port-forward");
        assert!(!is_forwarding || told.contains("negotiated protocol: portforward.k8s.io"), "{told}");
    }
    // What is refused is told on the WebSocket as well.
    let refused = kubectl.fail(&["exec", "-v=5", "unmade", "--", "true"], "");
    let expected = "error: Internal error occurred: unable to upgrade connection: container not found (\"main\")";
    assert!(refused.lines().any(|line| line == expected) && !refused.contains("fallback"), "{refused}");
}

fn commands(kubectl: &Kubectl, big: &str) {
    let echoed = kubectl.run_with(&["exec", "-i", "web", "--", "cat"], big);
    assert!(echoed == *big, "{} of {} bytes", echoed.len(), big.len());
    let streams = ["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"];
    let errors = kubectl.fail(&streams, "");
    assert!(errors.contains("err\n") && errors.contains("exit code 7") && !errors.contains("out"), "{errors}");
    let missing = kubectl.fail(&["exec", "web", "--", "/no/such"], "");
    assert!(missing.contains("no such file or directory"), "{missing}");
    let stopped = kubectl.fail(&["exec", "unmade", "--", "true"], "");
    assert!(stopped.contains("unable to upgrade connection: container not found (\"main\")"), "{stopped}");
    let shown = kubectl.in_terminal("exec -it web -- sh", "stty size; echo a'b'c\nexit\n");
    assert!(shown.contains("33 101") && shown.contains("abc"), "{shown:?}");
}

fn attach(kubectl: &Kubectl) {
    let mut attached = kubectl.start(&["attach", "-i", "reader"]);
    attached.say("hello");
    attached.line(|line| line == "got hello");
    drop(attached);
    // Whoever leaves does not end what was attached to.
    let mut again = kubectl.start(&["attach", "-i", "reader"]);
    again.say("once more");
    again.line(|line| line == "got once more");
}

fn copy(kubectl: &Kubectl, big: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let (sent, received) = (dir.path().join("sent"), dir.path().join("received"));
    std::fs::write(&sent, big).expect("written");
    kubectl.run(&["cp", &sent.to_string_lossy(), "web:/tmp/copy"]);
    kubectl.run(&["cp", "web:/tmp/copy", &received.to_string_lossy()]);
    assert!(std::fs::read_to_string(&received).is_ok_and(|text| text == *big));
}

/// The address that a kubectl says it forwards or serves.
fn address(running: &mut Running, before: &str) -> SocketAddr {
    let line = running.line(|line| line.contains(before) && line.contains("127.0.0.1:"));
    let (_, rest) = line.split_once("127.0.0.1:").expect("it has one");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("127.0.0.1:{port}").parse().expect("an address")
}

fn port_forward(cluster: &Cluster, kubectl: &Kubectl, big: &str) {
    let machine = cluster.machines().first();
    for (target, port) in [("pod/web", ":8080"), ("service/web", ":80")] {
        let mut forwarding = kubectl.start(&["port-forward", target, port]);
        let address = address(&mut forwarding, "Forwarding from");
        std::thread::scope(|scope| {
            let get = || http::get(machine, address, "/big").expect("an answer");
            let all: Vec<_> = (0..6).map(|_| scope.spawn(get)).collect();
            for one in all {
                let received = one.join().expect("it does not panic");
                assert!(received == big.trim(), "{target}: {} of {} bytes", received.len(), big.len());
            }
        });
        for _ in 0..20 {
            assert_eq!(http::get(machine, address, "/version").expect("an answer"), "1");
        }
    }
    let mut forwarding = kubectl.start(&["port-forward", "pod/web", ":9"]);
    let nobody = address(&mut forwarding, "Forwarding from");
    assert!(http::get(machine, nobody, "/").is_err());
}

fn proxy(cluster: &Cluster, kubectl: &Kubectl, big: &str) {
    let pods = "/api/v1/namespaces/default/pods";
    let services = "/api/v1/namespaces/default/services";
    for path in [format!("{pods}/web/proxy"), format!("{pods}/web:8080/proxy"), format!("{services}/web:http/proxy")] {
        assert_eq!(kubectl.run(&["get", "--raw", &format!("{path}/version")]).trim(), "1");
        let page = kubectl.run(&["get", "--raw", &format!("{path}/")]);
        assert!(page.contains(&format!("<a href=\"{path}/cgi-bin/whoami\">")), "{page}");
    }
    assert_eq!(kubectl.run(&["get", "--raw", "/api/v1/nodes/first/proxy/healthz"]), "ok");
    let list = kubectl.run(&["get", "--raw", "/api/v1/nodes/first/proxy/pods"]);
    assert!(list.contains("\"PodList\"") && list.contains("ticker"), "{list}");
    let missing = kubectl.fail(&["get", "--raw", &format!("{services}/web:81/proxy/")], "");
    assert!(missing.contains("no service port 81 found for service \"web\""), "{missing}");

    let mut proxying = kubectl.start(&["proxy", "--port=0"]);
    let address = address(&mut proxying, "Starting to serve on");
    let machine = cluster.machines().first();
    let received = http::get(machine, address, &format!("{services}/web:80/proxy/big")).expect("an answer");
    assert!(received == big.trim(), "{} of {} bytes", received.len(), big.len());
}

fn logs(kubectl: &Kubectl) {
    let waiting = "{.status.containerStatuses[0].restartCount}";
    kubectl.wait(&["pod", "crasher"], waiting, SOON, |count| count.parse::<u32>().is_ok_and(|count| count >= 1));
    let previous = kubectl.run(&["logs", "crasher", "--previous"]);
    assert!(previous.contains("about to crash"), "{previous}");
    let none = kubectl.fail(&["logs", "web", "--previous"], "");
    assert!(none.contains("previous terminated container \"main\" in pod \"web\" not found"), "{none}");
    let stuck = kubectl.fail(&["logs", "stuck"], "");
    assert!(stuck.contains("container \"main\" in pod \"stuck\" is waiting to start: "), "{stuck}");

    let mut following = kubectl.start(&["logs", "-f", "ticker", "--tail=2"]);
    let first = following.line(|line| line.starts_with("out "));
    let number: u32 = first.trim_start_matches("out ").parse().expect("a number");
    following.line(|line| line == format!("out {}", number + 3));
    drop(following);
    let all = kubectl.run(&["logs", "ticker"]);
    let recent = kubectl.run(&["logs", "ticker", "--since=2s"]);
    assert!(recent.lines().count() < all.lines().count() && recent.contains("out "), "{recent}\n--\n{all}");
    let limited = kubectl.run(&["logs", "ticker", "--limit-bytes=9", "--timestamps"]);
    assert_eq!(limited.len(), 9, "{limited}");
    let path = "/api/v1/namespaces/default/pods/ticker/log";
    let errors = kubectl.run(&["get", "--raw", &format!("{path}?stream=Stderr")]);
    assert!(errors.contains("err 1\n") && !errors.contains("out"), "{errors}");
    let bad = kubectl.fail(&["get", "--raw", &format!("{path}?tailLines=-1")], "");
    assert!(bad.contains("tailLines: Invalid value: -1: must be greater than or equal to 0"), "{bad}");
}

fn resize(kubectl: &Kubectl) {
    let resources = r#"{"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"cpu": "500m", "memory": "96Mi"}}"#;
    let patch = format!(r#"{{"spec": {{"containers": [{{"name": "main", "resources": {resources}}}]}}}}"#);
    kubectl.run(&["patch", "pod", "ticker", "--subresource=resize", "-p", &patch]);
    // The status says what the runtime has.
    let limits = "{.status.containerStatuses[0].resources.limits}";
    kubectl.wait(&["pod", "ticker"], limits, SOON, |limits| limits.contains("500m") && limits.contains("96Mi"));
    let reason = ["events", "--field-selector", "involvedObject.name=ticker,reason=ResizeCompleted"];
    kubectl.wait(&reason, "{.items[*].reason}", SOON, |reason| reason == "ResizeCompleted");
    let restarts = kubectl.json(&["get", "pod", "ticker"])["status"]["containerStatuses"][0]["restartCount"].clone();
    assert_eq!(restarts, 0);
}

fn debug(kubectl: &Kubectl) {
    let image = "--image=skiff.local/hello:1";
    kubectl.run(&["debug", "web", image, "--target=main", "-c", "probe", "--", "sleep", "1000"]);
    let running = "{.status.ephemeralContainerStatuses[?(@.name=='probe')].state.running.startedAt}";
    kubectl.wait(&["pod", "web"], running, SOON, |time| !time.is_empty());
    // It sees the processes of the container that it was made for.
    let processes = kubectl.run(&["exec", "web", "-c", "probe", "--", "ps"]);
    assert!(processes.contains("httpd"), "{processes}");
    let shown = kubectl.in_terminal(&format!("debug -it web {image} -c shell -- sh"), "echo in'side'\nexit\n");
    assert!(shown.contains("inside"), "{shown:?}");
}

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "skiff.local/hello:1", ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "skiff.local/hello:1", stdin: true, command: [sh, -c, 'while read line; do echo got $line; done']}
---
apiVersion: v1
kind: Pod
metadata: {name: unmade}
spec:
  containers: [{name: main, image: "skiff.local/none:1", imagePullPolicy: Never}]
---
apiVersion: v1
kind: Pod
metadata: {name: ticker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: skiff.local/hello:1
      command: [sh, -c, 'i=0; while true; do i=$((i+1)); echo "out $i"; echo "err $i" >&2; sleep 1; done']
      resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {cpu: 300m, memory: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: crasher}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "skiff.local/hello:1", command: [sh, -c, "echo about to crash; exit 3"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "127.0.0.1:1/nothing:1"}]
"#;
