//! What is documented of a pod's life beside upstream's conformance list.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::prints;
use crate::hooks::{is_asked, listener};
use crate::stage::{IMAGE, Stage, condition, container, pod, script, with};

const USERS: &str = "a pod with users of its own shares none with the machine, and owns its volumes";

pub fn behaviours() -> Vec<Behaviour> {
    // A token of a pod is a file in memory.
    let are_owners_mapped = skiff_e2e::kernel() >= (6, 3);
    if !are_owners_mapped {
        eprintln!("SKIPPED: {USERS}: Linux maps the owners of files in memory since 6.3");
    }
    all().into_iter().filter(|row| are_owners_mapped || row.name != USERS).collect()
}

fn all() -> Vec<Behaviour> {
    vec![
        Behaviour::new("a sidecar starts before the containers that it serves, and ends after them", sidecar),
        Behaviour::new("a container is started again as the rules for its exit codes say", rules),
        Behaviour::new("a resize that has no room waits, and says why", resize_waits),
        Behaviour::new("a readiness gate keeps a pod from being ready", readiness_gate),
        Behaviour::new("a startup probe holds the other probes back", startup_probe),
        prints(
            "containers that share their processes see each other",
            Vec::new(),
            with(
                pod(
                    "main",
                    json!({"command": script("until ps | grep -q '[s]leep 4711'; do sleep 0.1; done; echo seen")}),
                ),
                json!({"spec": {"shareProcessNamespace": true, "initContainers": [{
                    "name": "other", "image": IMAGE, "command": ["sleep", "4711"], "restartPolicy": "Always",
                }]}}),
            ),
            &["seen"],
        ),
        prints(
            USERS,
            Vec::new(),
            with(
                pod(
                    "main",
                    json!({
                        "command": script(
                            "read own first count < /proc/self/uid_map; [ $first -ge 65536 ] && echo $own $count; \
                             echo kept > /volume/file; cat /volume/file; ls -ln /volume | grep -q ' 0 .* 0 .*file' && echo mine; \
                             [ -s /var/run/secrets/kubernetes.io/serviceaccount/token ] && echo token"
                        ),
                        "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
                    }),
                ),
                json!({"spec": {"hostUsers": false, "volumes": [{"name": "volume", "emptyDir": {}}]}}),
            ),
            &["0 65536", "kept", "mine", "token"],
        ),
        prints(
            "a pod has the host name and the domain that it asks for",
            Vec::new(),
            with(
                pod("main", json!({"command": script("hostname; cat /etc/hosts")})),
                json!({"spec": {"hostname": "own", "subdomain": "sub", "setHostnameAsFQDN": true, "hostAliases": [
                    {"ip": "10.1.2.3", "hostnames": ["other.example"]},
                ]}}),
            ),
            &["10.1.2.3\tother.example"],
        ),
        prints(
            "resolver options are merged into those of the policy",
            Vec::new(),
            with(
                pod("main", json!({"command": ["cat", "/etc/resolv.conf"]})),
                json!({"spec": {"dnsPolicy": "None", "dnsConfig": {
                    "nameservers": ["192.0.2.53"], "searches": ["a.example", "b.example"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                }}}),
            ),
            &["nameserver 192.0.2.53", "search a.example b.example", "options ndots:2 edns0"],
        ),
        prints(
            "a variable comes from a file that an init container has left",
            Vec::new(),
            with(
                pod(
                    "main",
                    json!({"command": ["env"], "env": [
                        {"name": "ONE", "valueFrom": {"fileKeyRef": {"volumeName": "work", "path": "vars", "key": "A"}}},
                        {"name": "NONE", "valueFrom": {"fileKeyRef": {
                            "volumeName": "work", "path": "vars", "key": "B", "optional": true,
                        }}},
                    ]}),
                ),
                json!({"spec": {"volumes": [{"name": "work", "emptyDir": {}}], "initContainers": [{
                    "name": "leave", "image": IMAGE, "command": script("echo \"A='from a file'\" > /work/vars"),
                    "volumeMounts": [{"name": "work", "mountPath": "/work"}],
                }]}}),
            ),
            &["ONE=from a file"],
        ),
    ]
}

/// The sidecar is asked for by name while the main container runs; both tell the listener of their ends.
async fn sidecar(stage: Stage) {
    let ip = listener(&stage).await;
    let ends = |name: &str, first: &str| {
        script(&format!("{first}; trap 'wget -q -O- http://{ip}:8080/{name}-ended; exit 0' TERM; sleep 1000 & wait"))
    };
    let side = json!({
        "name": "side", "image": IMAGE, "restartPolicy": "Always", "command": ends("side", "true"),
        "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": script(&format!("wget -q -O- http://{ip}:8080/side-stops || true"))}}},
    });
    let main = pod("main", json!({"command": ends("main", "true")}));
    let spec = json!({"spec": {"initContainers": [side], "terminationGracePeriodSeconds": 60}});
    stage.create(with(main, spec)).await;
    let ready = stage.ready("main").await;
    let began =
        |name: &str| container(&ready, name)["state"]["running"]["startedAt"].as_str().expect("it runs").to_owned();
    assert!(began("side") <= began("main"));
    stage.delete("main").await;
    is_asked(&stage, "side-ended").await;
    let log = stage.log("listener", "main").await;
    let at = |path: &str| log.find(&format!("url:/{path}")).unwrap_or_else(|| panic!("no {path} in {log}"));
    assert!(at("main-ended") < at("side-ended") && at("side-stops") < at("side-ended"), "{log}");
    stage.gone("main").await;
}

async fn rules(stage: Stage) {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    for (name, code, phase, restarts) in [("main", 42, "Succeeded", 1), ("other", 43, "Failed", 0)] {
        let command = format!("if [ -e /state/seen ]; then exit 0; fi; echo -n > /state/seen; exit {code}");
        let main = json!({
            "command": script(&command), "volumeMounts": [{"name": "state", "mountPath": "/state"}],
            "restartPolicy": "Never", "restartPolicyRules": rules,
        });
        let volumes = json!({"spec": {"volumes": [{"name": "state", "emptyDir": {}}]}});
        stage.create(with(pod(name, main), volumes)).await;
        let pod = stage.phase(name, phase).await;
        assert_eq!(container(&pod, "main")["restartCount"], restarts, "{name}");
    }
}

async fn resize_waits(stage: Stage) {
    let small = || json!({"resources": {"requests": {"cpu": "10m"}}, "command": ["sleep", "1000"]});
    for name in ["other", "main"] {
        stage.create(pod(name, small())).await;
        stage.ready(name).await;
    }
    let cpu = stage.node().await["status"]["allocatable"]["cpu"].as_str().expect("a quantity").to_owned();
    let cases = [
        ("100000", "Infeasible", "Node didn't have enough capacity: cpu, requested: 100000000, capacity: "),
        (cpu.as_str(), "Deferred", "Node didn't have enough resource: cpu, requested: "),
    ];
    for (wanted, reason, message) in cases {
        resize(&stage, wanted).await;
        let waits = |pod: &Value| {
            let pending = condition(pod, "PodResizePending");
            (pending["status"] == "True" && pending["reason"] == reason).then(|| pod.clone())
        };
        let pod = stage.until("main", reason, waits).await;
        let pending = condition(&pod, "PodResizePending");
        assert!(pending["message"].as_str().is_some_and(|text| text.starts_with(message)), "{pending}");
        assert_eq!(container(&pod, "main")["resources"], json!({"requests": {"cpu": "10m"}}));
    }
    resize(&stage, "20m").await;
    let done = |pod: &Value| {
        let has = container(pod, "main")["resources"] == json!({"requests": {"cpu": "20m"}});
        (has && condition(pod, "PodResizePending").is_null() && condition(pod, "PodResizeInProgress").is_null())
            .then_some(())
    };
    stage.until("main", "the resize", done).await;
}

async fn resize(stage: &Stage, cpu: &str) {
    let resources = json!({"requests": {"cpu": cpu}});
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}});
    stage.patch("main", Some("resize"), patch).await;
}

async fn readiness_gate(stage: Stage) {
    let gate = json!({"spec": {"readinessGates": [{"conditionType": "example.com/gate"}]}});
    stage.create(with(pod("main", json!({})), gate)).await;
    let held = |pod: &Value| {
        let (all, ready) = (condition(pod, "ContainersReady"), condition(pod, "Ready"));
        (all["status"] == "True" && ready["reason"] == "ReadinessGatesNotReady").then_some(())
    };
    stage.until("main", "its gate", held).await;
    let open = json!({"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}});
    stage.patch("main", Some("status"), open).await;
    stage.ready("main").await;
}

/// A liveness probe that always fails does nothing before the startup probe has succeeded, which here it never does.
async fn startup_probe(stage: Stage) {
    let fails = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    let startup = json!({
        "exec": {"command": script("echo asked > /proc/1/fd/1; false")}, "periodSeconds": 1, "failureThreshold": 100,
    });
    let probes =
        json!({"livenessProbe": fails, "readinessProbe": {"exec": {"command": ["true"]}}, "startupProbe": startup});
    stage.create(pod("main", with(json!({"command": script("exec sleep 1000")}), probes))).await;
    stage.printed("main", "asked", |log| log.matches("asked").count() >= 4).await;
    for pod in stage.history("main") {
        let main = container(&pod, "main");
        assert!(main["restartCount"].as_u64().unwrap_or(0) == 0 && main["started"] != true && main["ready"] != true);
    }
}
