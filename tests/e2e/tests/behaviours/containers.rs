//! How containers start, end and are started again, and what is said of it.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::prints;
use crate::stage::{DEADLINE, IMAGE, Stage, condition, container, pod, script, with};

pub fn behaviours() -> Vec<Behaviour> {
    let mut all = messages();
    all.extend(inits());
    all.extend(ends());
    all.extend([
        Behaviour::new("Ephemeral Containers will start an ephemeral container in an existing pod", ephemeral),
        Behaviour::new("Ephemeral Containers should update the ephemeral containers in an existing pod", two_ephemeral),
        Behaviour::new("KubeletManagedEtcHosts should test kubelet managed /etc/hosts file", etc_hosts),
    ]);
    all
}

/// A container comes to its end and leaves this message.
fn leaves(name: &'static str, more: Value, phase: &'static str, message: &'static str) -> Behaviour {
    Behaviour::new(name, async move |stage: Stage| {
        stage.create(pod("main", more)).await;
        let pod = stage.phase("main", phase).await;
        let ended = &container(&pod, "main")["state"]["terminated"];
        assert_eq!(ended["message"].as_str().unwrap_or_default(), message, "{ended}");
    })
}

fn messages() -> Vec<Behaviour> {
    let falls_back = |text: &str| json!({"command": script(text), "terminationMessagePolicy": "FallbackToLogsOnError"});
    vec![
        leaves(
            "Container Runtime blackbox test on terminated container should report termination message as empty when \
             pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set",
            falls_back("echo DONE"),
            "Succeeded",
            "",
        ),
        leaves(
            "Container Runtime blackbox test on terminated container should report termination message from file when \
             pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set",
            falls_back("echo not this; echo -n OK > /dev/termination-log"),
            "Succeeded",
            "OK",
        ),
        leaves(
            "Container Runtime blackbox test on terminated container should report termination message from log \
             output if TerminationMessagePolicy FallbackToLogsOnError is set",
            falls_back("echo -n DONE; exit 1"),
            "Failed",
            "DONE",
        ),
        leaves(
            "Container Runtime blackbox test on terminated container should report termination message if \
             TerminationMessagePath is set as non-root user and at a non-default path",
            json!({
                "command": script("echo -n DONE > /dev/termination-custom-log"),
                "terminationMessagePath": "/dev/termination-custom-log",
                "securityContext": {"runAsUser": 1000},
            }),
            "Succeeded",
            "DONE",
        ),
    ]
}

/// A pod with two init containers before its main one, which goes on.
fn initialised(policy: &str, first: &str, main: &str) -> Value {
    let init = |name: &str, text: &str| json!({"name": name, "image": IMAGE, "command": script(text)});
    with(
        pod("main", json!({"command": script(main)})),
        json!({"spec": {"restartPolicy": policy, "initContainers": [init("one", first), init("two", "true")]}}),
    )
}

/// Whether the main container was seen in any state but waiting.
fn main_began(stage: &Stage) -> bool {
    stage.history("main").iter().any(|pod| {
        let state = &container(pod, "main")["state"];
        state.is_object() && state.get("waiting").is_none()
    })
}

/// Both init containers ended well, one after the other, before the main container began.
fn assert_in_order(pod: &Value) {
    assert_eq!(condition(pod, "Initialized")["status"], "True", "{pod:#}");
    let ended = |name: &str| {
        let ended = &container(pod, name)["state"]["terminated"];
        assert_eq!(ended["exitCode"], 0, "{pod:#}");
        let time = |field: &str| ended[field].as_str().expect("a time").to_owned();
        (time("startedAt"), time("finishedAt"))
    };
    let (one, two, main) = (ended("one"), ended("two"), &container(pod, "main")["state"]);
    let began = main["running"]["startedAt"].as_str().or(main["terminated"]["startedAt"].as_str());
    assert!(one.1 <= two.0 && Some(two.1.as_str()) <= began, "{pod:#}");
}

fn inits() -> Vec<Behaviour> {
    vec![
        Behaviour::new("InitContainer should invoke init containers on a RestartAlways pod", async |stage: Stage| {
            stage.create(initialised("Always", "true", "sleep 1000")).await;
            assert_in_order(&stage.ready("main").await);
        }),
        Behaviour::new("InitContainer should invoke init containers on a RestartNever pod", async |stage: Stage| {
            stage.create(initialised("Never", "true", "true")).await;
            assert_in_order(&stage.phase("main", "Succeeded").await);
        }),
        Behaviour::new(
            "InitContainer should not start app containers and fail the pod if init containers fail on a \
             RestartNever pod",
            async |stage: Stage| {
                stage.create(initialised("Never", "false", "sleep 1000")).await;
                let pod = stage.phase("main", "Failed").await;
                let (initialized, main) = (condition(&pod, "Initialized"), &container(&pod, "main")["state"]);
                assert_eq!(initialized["status"], "False");
                assert_eq!(initialized["reason"], "ContainersNotInitialized");
                assert_eq!(initialized["message"], "containers with incomplete status: [one two]");
                assert_eq!(main["waiting"]["reason"], "PodInitializing", "{pod:#}");
                assert!(!main_began(&stage));
            },
        ),
        Behaviour::new(
            "InitContainer should not start app containers if init containers fail on a RestartAlways pod",
            async |stage: Stage| {
                stage.create(initialised("Always", "false", "sleep 1000")).await;
                let retried = |pod: &Value| {
                    let one = container(pod, "one");
                    let loops = one["state"]["waiting"]["reason"] == "CrashLoopBackOff";
                    (loops && one["restartCount"].as_u64() >= Some(2)).then(|| pod.clone())
                };
                let pod = stage.until("main", "init container to be retried", retried).await;
                assert_eq!(pod["status"]["phase"], "Pending");
                assert_eq!(container(&pod, "one")["lastState"]["terminated"]["reason"], "Error");
                assert_eq!(condition(&pod, "Initialized")["reason"], "ContainersNotInitialized");
                assert!(!main_began(&stage));
            },
        ),
    ]
}

/// What is to be seen of a container that ended once with an error, by its pod's restart policy.
async fn after_an_error(stage: &Stage, policy: &str, then: &str) -> Value {
    let name = policy.to_lowercase();
    let command = format!("if [ -e /state/seen ]; then {then}; fi; echo -n > /state/seen; exit 1");
    let volumes = json!([{"name": "state", "emptyDir": {}}]);
    let mounts = json!([{"name": "state", "mountPath": "/state"}]);
    let main = pod(&name, json!({"command": script(&command), "volumeMounts": mounts}));
    stage.create(with(main, json!({"spec": {"restartPolicy": policy, "volumes": volumes}}))).await;
    match policy {
        // The first instance may have been seen running too.
        "Always" => {
            let again = |pod: &Value| {
                let main = container(pod, "main");
                (main["restartCount"].as_u64() > Some(0) && main["ready"] == true).then(|| pod.clone())
            };
            stage.until(&name, "the second instance", again).await
        }
        "OnFailure" => stage.phase(&name, "Succeeded").await,
        _ => stage.phase(&name, "Failed").await,
    }
}

fn ends() -> Vec<Behaviour> {
    let fails = || json!({"command": ["false"]});
    vec![
        Behaviour::new(
            "Container Runtime blackbox test when starting a container that exits should run with the expected status",
            async |stage: Stage| {
                let cases = [
                    ("Always", "exec sleep 1000", 1, "Running", true, "running"),
                    ("OnFailure", "exit 0", 1, "Succeeded", false, "terminated"),
                    ("Never", "exit 0", 0, "Failed", false, "terminated"),
                ];
                for (policy, then, restarts, phase, ready, state) in cases {
                    let pod = after_an_error(&stage, policy, then).await;
                    let main = container(&pod, "main");
                    assert_eq!(main["restartCount"], restarts, "{policy}");
                    assert_eq!(pod["status"]["phase"], phase, "{policy}");
                    assert_eq!((&main["ready"], main["state"].get(state).is_some()), (&json!(ready), true), "{policy}");
                }
            },
        ),
        prints(
            "Kubelet when scheduling a busybox command in a pod should print the output to logs",
            Vec::new(),
            pod("main", json!({"command": ["echo", "Hello World"]})),
            &["Hello World"],
        ),
        Behaviour::new(
            "Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason",
            async move |stage: Stage| {
                stage.create(pod("main", fails())).await;
                let pod = stage.phase("main", "Failed").await;
                let ended = &container(&pod, "main")["state"]["terminated"];
                assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("Error"), &json!(1)));
            },
        ),
        Behaviour::new(
            "Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete",
            async move |stage: Stage| {
                stage.create(with(pod("main", fails()), json!({"spec": {"restartPolicy": "Always"}}))).await;
                stage
                    .until("main", "a crash", |pod| container(pod, "main")["restartCount"].as_u64().filter(|n| *n > 0))
                    .await;
                stage.delete("main").await;
                stage.gone("main").await;
            },
        ),
        prints(
            "Kubelet when scheduling a read only busybox container should not write to root filesystem",
            Vec::new(),
            pod(
                "main",
                json!({
                    "command": script("echo test > /file || echo cannot write"),
                    "securityContext": {"readOnlyRootFilesystem": true},
                }),
            ),
            &["cannot write"],
        ),
        prints(
            "Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts",
            Vec::new(),
            with(
                pod("main", json!({"command": ["cat", "/etc/hosts"]})),
                json!({"spec": {"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]}}),
            ),
            &["# Entries added by HostAliases.", "123.45.67.89\tfoo\tbar"],
        ),
    ]
}

fn debugger(name: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": script("echo polo; exec sleep 1000")})
}

fn runs(name: &'static str) -> impl Fn(&Value) -> Option<Value> {
    move |pod| container(pod, name)["state"].get("running").is_some().then(|| pod.clone())
}

async fn ephemeral(stage: Stage) {
    stage.create(pod("main", json!({}))).await;
    stage.ready("main").await;
    let patch = json!({"spec": {"ephemeralContainers": [debugger("debugger")]}});
    stage.patch("main", Some("ephemeralcontainers"), patch).await;
    stage.until("main", "debugger to run", runs("debugger")).await;
    let printed = async || (stage.log("main", "debugger").await == "polo\n").then_some(());
    testkit::poll_async(DEADLINE, printed).await.expect("it prints");
}

async fn two_ephemeral(stage: Stage) {
    stage.create(pod("main", json!({}))).await;
    stage.ready("main").await;
    for names in [vec!["one"], vec!["one", "two"]] {
        let all: Vec<Value> = names.iter().map(|name| debugger(name)).collect();
        stage.patch("main", Some("ephemeralcontainers"), json!({"spec": {"ephemeralContainers": all}})).await;
        for name in names {
            stage.until("main", name, runs(name)).await;
        }
    }
    let pod = stage.until("main", "both", runs("one")).await;
    let listed = pod["spec"]["ephemeralContainers"].as_array().expect("a list");
    assert_eq!(listed.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(container(&pod, "main")["restartCount"], 0);
}

async fn etc_hosts(stage: Stage) {
    const MARK: &str = "# Kubernetes-managed hosts file.";
    let mounts = json!([{"name": "own", "mountPath": "/etc/hosts", "subPath": "hosts"}]);
    let command = script("cat /etc/hosts");
    let own = json!({"name": "own", "image": IMAGE, "command": command, "volumeMounts": mounts});
    let make = json!({
        "name": "make", "image": IMAGE, "command": script("echo my own > /own/hosts"),
        "volumeMounts": [{"name": "own", "mountPath": "/own"}],
    });
    let managed = json!({"name": "main", "image": IMAGE, "command": command});
    let spec = json!({
        "containers": [managed, own], "initContainers": [make], "volumes": [{"name": "own", "emptyDir": {}}],
    });
    stage.create(with(pod("main", json!({})), json!({"spec": spec}))).await;
    let host = with(pod("host", json!({"command": command})), json!({"spec": {"hostNetwork": true}}));
    stage.create(host).await;
    let done = stage.phase("main", "Succeeded").await;
    let (log, ip) = (stage.log("main", "main").await, done["status"]["podIP"].as_str().expect("it has one"));
    assert!(log.starts_with(MARK) && log.contains(&format!("{ip}\tmain\n")), "{log}");
    assert_eq!(stage.log("main", "own").await, "my own\n");
    stage.phase("host", "Succeeded").await;
    let log = stage.log("host", "main").await;
    assert!(!log.contains(MARK), "{log}");
}
