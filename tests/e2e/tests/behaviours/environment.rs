//! What containers are told: variables, their expansion, commands and arguments, and the downward API.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::stage::{IMAGE, PRINTER, Stage, pod, refused, with};

pub fn behaviours() -> Vec<Behaviour> {
    let mut all = from_objects();
    all.extend(from_the_pod());
    all.extend(expansion());
    all.extend(commands());
    all.push(Behaviour::new("Pods should contain environment variables for services", services));
    all
}

/// A pod `main` is to come to a good end, and to print lines, after `objects` were made.
pub fn prints(name: &'static str, objects: Vec<Value>, main: Value, lines: &'static [&'static str]) -> Behaviour {
    Behaviour::new(name, async move |stage: Stage| {
        for object in objects {
            stage.create(object).await;
        }
        stage.create(main).await;
        stage.phase("main", "Succeeded").await;
        let log = stage.log("main", "main").await;
        for line in lines {
            assert!(log.lines().any(|printed| printed == *line), "no {line:?} in {log}");
        }
    })
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn secret(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

/// A pod that prints its variables.
fn env(more: Value) -> Value {
    pod("main", with(json!({"command": ["env"]}), more))
}

fn from_objects() -> Vec<Behaviour> {
    let settings = || vec![config_map("settings", json!({"one": "1", "two": "2"}))];
    let secrets = || vec![secret("secrets", json!({"one": "first", "two": "second"}))];
    let key_of = |kind: &str, name: &str| {
        let source = json!({kind: {"name": name, "key": "one"}});
        env(json!({"env": [{"name": "ONE", "valueFrom": source}]}))
    };
    let all_of = |kind: &str, name: &str, prefixes: &[&str]| {
        let sources: Vec<Value> =
            prefixes.iter().map(|prefix| json!({kind: {"name": name}, "prefix": prefix})).collect();
        env(json!({"envFrom": sources}))
    };
    let odd = ["$_-", "1-", "a.b c#", "~!@"];
    vec![
        prints(
            "ConfigMap should be consumable via environment variable",
            settings(),
            key_of("configMapKeyRef", "settings"),
            &["ONE=1"],
        ),
        prints(
            "ConfigMap should be consumable via the environment",
            settings(),
            all_of("configMapRef", "settings", &["", "P_"]),
            &["one=1", "two=2", "P_one=1", "P_two=2"],
        ),
        prints(
            "ConfigMap should be consumable as environment variable names with various prefixes",
            settings(),
            all_of("configMapRef", "settings", &odd),
            &["$_-one=1", "1-two=2", "a.b c#one=1", "~!@two=2"],
        ),
        prints(
            "Secrets should be consumable from pods in env vars",
            secrets(),
            key_of("secretKeyRef", "secrets"),
            &["ONE=first"],
        ),
        prints(
            "Secrets should be consumable via the environment",
            secrets(),
            all_of("secretRef", "secrets", &["", "P_"]),
            &["one=first", "two=second", "P_one=first", "P_two=second"],
        ),
        prints(
            "Secrets should be consumable as environment variable names variable names with various prefixes",
            secrets(),
            all_of("secretRef", "secrets", &odd),
            &["$_-one=first", "1-two=second", "a.b c#one=first", "~!@two=second"],
        ),
        Behaviour::new("ConfigMap should fail to create ConfigMap with empty key", async |stage: Stage| {
            let result = stage.try_create(config_map("empty", json!({"": "value"}))).await;
            assert!(refused(result, 422).contains("a valid config key must consist of"));
        }),
        Behaviour::new("Secrets should fail to create secret due to empty secret key", async |stage: Stage| {
            let result = stage.try_create(secret("empty", json!({"": "value"}))).await;
            assert!(refused(result, 422).contains("a valid config key must consist of"));
        }),
    ]
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

fn amount(name: &str, resource: &str) -> Value {
    json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}})
}

fn amounts() -> Value {
    json!([
        amount("CPU_LIMIT", "limits.cpu"),
        amount("MEMORY_LIMIT", "limits.memory"),
        amount("CPU_REQUEST", "requests.cpu"),
        amount("MEMORY_REQUEST", "requests.memory"),
    ])
}

/// What a variable of a pod's log is.
fn value(log: &str, name: &str) -> String {
    let line = log.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {log}")).to_owned()
}

/// A pod whose variable `FIELD` is to be what its status or metadata says in the end.
fn shows(name: &'static str, path: &'static str, pointer: &'static str) -> Behaviour {
    Behaviour::new(name, async move |stage: Stage| {
        stage.create(env(json!({"env": [field("FIELD", path)]}))).await;
        let pod = stage.phase("main", "Succeeded").await;
        let log = stage.log("main", "main").await;
        let expected = pod.pointer(pointer).and_then(Value::as_str).expect("it is set");
        assert_eq!(value(&log, "FIELD"), expected);
    })
}

fn from_the_pod() -> Vec<Behaviour> {
    let resources =
        json!({"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}});
    vec![
        prints(
            "Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars",
            Vec::new(),
            env(json!({"resources": resources, "env": amounts()})),
            &["CPU_LIMIT=2", "MEMORY_LIMIT=67108864", "CPU_REQUEST=1", "MEMORY_REQUEST=33554432"],
        ),
        Behaviour::new(
            "Downward API should provide default limits.cpu/memory from node allocatable",
            async |stage: Stage| {
                stage.create(env(json!({"env": amounts()}))).await;
                stage.phase("main", "Succeeded").await;
                let log = stage.log("main", "main").await;
                let node = stage.node().await;
                let allocatable = &node["status"]["allocatable"];
                let whole = |name: &str| allocatable[name].as_str().expect("a quantity").to_owned();
                assert_eq!(value(&log, "CPU_LIMIT"), whole("cpu"));
                let memory: u64 = value(&log, "MEMORY_LIMIT").parse().expect("bytes");
                assert_eq!(format!("{}Ki", memory / 1024), whole("memory"));
            },
        ),
        shows("Downward API should provide host IP as an env var", "status.hostIP", "/status/hostIP"),
        shows("Downward API should provide hostIPs as an env var", "status.hostIPs", "/status/hostIPs/0/ip"),
        shows("Downward API should provide pod UID as env vars", "metadata.uid", "/metadata/uid"),
        Behaviour::new(
            "Downward API should provide pod name, namespace and IP address as env vars",
            async |stage: Stage| {
                let fields = [
                    field("NAME", "metadata.name"),
                    field("NAMESPACE", "metadata.namespace"),
                    field("IP", "status.podIP"),
                ];
                stage.create(env(json!({"env": fields}))).await;
                let pod = stage.phase("main", "Succeeded").await;
                let log = stage.log("main", "main").await;
                assert_eq!(value(&log, "NAME"), "main");
                assert_eq!(value(&log, "NAMESPACE"), stage.namespace);
                assert_eq!(value(&log, "IP"), pod["status"]["podIP"].as_str().expect("it is set"));
            },
        ),
    ]
}

fn expansion() -> Vec<Behaviour> {
    let variables = json!([
        {"name": "FIRST", "value": "1"},
        {"name": "SECOND", "value": "two"},
        {"name": "BOTH", "value": "$(FIRST);;$(SECOND) $$(FIRST) $(NONE)"},
    ]);
    vec![
        prints(
            "Variable Expansion should allow composing env vars into new env vars",
            Vec::new(),
            env(json!({"env": variables})),
            &["FIRST=1", "BOTH=1;;two $(FIRST) $(NONE)"],
        ),
        prints(
            "Variable Expansion should allow substituting values in a container's command",
            Vec::new(),
            env(json!({"env": variables, "command": ["echo", "$(BOTH)", "$$(FIRST)"]})),
            &["1;;two $(FIRST) $(NONE) $(FIRST)"],
        ),
        prints(
            "Variable Expansion should allow substituting values in a container's args",
            Vec::new(),
            env(json!({"env": variables, "command": ["echo"], "args": ["$(SECOND)", "$(FIRST)", "$(NONE)"]})),
            &["two 1 $(NONE)"],
        ),
    ]
}

fn commands() -> Vec<Behaviour> {
    let runs = |more: Value| pod("main", with(json!({"image": PRINTER}), more));
    vec![
        prints(
            "Containers should use the image defaults if command and args are blank",
            Vec::new(),
            runs(json!({})),
            &["entrypoint: /bin/serve"],
        ),
        prints(
            "Containers should be able to override the image's default arguments (container cmd)",
            Vec::new(),
            runs(json!({"args": ["other", "words"]})),
            &["entrypoint: other words"],
        ),
        prints(
            "Containers should be able to override the image's default command (container entrypoint)",
            Vec::new(),
            runs(json!({"command": ["echo", "own command"]})),
            &["own command"],
        ),
        prints(
            "Containers should be able to override the image's default command and arguments",
            Vec::new(),
            runs(json!({"command": ["echo", "own command"], "args": ["and arguments"]})),
            &["own command and arguments"],
        ),
    ]
}

/// The node may hear of the service after it has heard of a first pod; it is a later pod that is to know of it.
async fn services(stage: Stage) {
    let spec = json!({"ports": [{"name": "web", "port": 8765, "targetPort": 8080}], "selector": {"app": "none"}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "my-fees"}, "spec": spec});
    let service = stage.create(service).await;
    let ip = service["spec"]["clusterIP"].as_str().expect("services have one");
    let expected = [
        format!("MY_FEES_SERVICE_HOST={ip}"),
        "MY_FEES_SERVICE_PORT=8765".to_owned(),
        "MY_FEES_SERVICE_PORT_WEB=8765".to_owned(),
        format!("MY_FEES_PORT=tcp://{ip}:8765"),
        format!("MY_FEES_PORT_8765_TCP=tcp://{ip}:8765"),
        "MY_FEES_PORT_8765_TCP_PROTO=tcp".to_owned(),
        "MY_FEES_PORT_8765_TCP_PORT=8765".to_owned(),
        format!("MY_FEES_PORT_8765_TCP_ADDR={ip}"),
    ];
    for attempt in 1.. {
        let name = format!("main-{attempt}");
        stage.create(pod(&name, json!({"image": IMAGE, "command": ["env"]}))).await;
        stage.phase(&name, "Succeeded").await;
        let log = stage.log(&name, "main").await;
        let missing: Vec<&String> = expected.iter().filter(|line| !log.lines().any(|l| l == **line)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(attempt < 10, "no {missing:?} in {log}");
    }
}
