//! Volumes whose files come from the API: ConfigMaps, Secrets, the downward API, and mixtures of them.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::{config_map, secret};
use crate::stage::{IMAGE, Stage, pod, script, with};

/// A sort of volume whose files are an object's keys.
#[derive(Clone, Copy)]
struct Sort {
    /// As behaviours are named.
    name: &'static str,
    /// Whether the object is a Secret.
    is_secret: bool,
    /// Whether it is one source of a projected volume.
    is_projected: bool,
}

const SORTS: [Sort; 4] = [
    Sort { name: "ConfigMap", is_secret: false, is_projected: false },
    Sort { name: "Projected configMap", is_secret: false, is_projected: true },
    Sort { name: "Secrets", is_secret: true, is_projected: false },
    Sort { name: "Projected secret", is_secret: true, is_projected: true },
];

impl Sort {
    fn kind(self) -> &'static str {
        if self.is_secret { "Secret" } else { "ConfigMap" }
    }

    /// The object, with texts by key.
    fn object(self, name: &str, data: Value) -> Value {
        if self.is_secret { secret(name, data) } else { config_map(name, data) }
    }

    /// A volume `volume` of the object `object`; `source` belongs to the object's part of it, `all` to all of it.
    fn volume(self, volume: &str, object: &str, source: Value, all: Value) -> Value {
        let part = match (self.is_secret, self.is_projected) {
            (false, _) => json!({"name": object}),
            (true, false) => json!({"secretName": object}),
            (true, true) => json!({"name": object}),
        };
        let (field, part) = (if self.is_secret { "secret" } else { "configMap" }, with(part, source));
        match self.is_projected {
            true => json!({"name": volume, "projected": with(json!({"sources": [{field: part}]}), all)}),
            false => json!({"name": volume, field: with(part, all)}),
        }
    }

    fn behaviour<F>(self, rest: &str, run: impl FnOnce(Stage) -> F + Send + 'static) -> Behaviour
    where
        F: Future<Output = ()> + 'static,
    {
        Behaviour::new(format!("{} {rest}", self.name).leak(), run)
    }
}

/// A pod `main` with volumes, each mounted at `/` and its name, that runs a script.
pub fn mounting(volumes: &[Value], text: &str, security: Value) -> Value {
    let mount = |volume: &Value| json!({"name": volume["name"], "mountPath": format!("/{}", volume["name"].as_str().expect("a name"))});
    let mounts: Vec<Value> = volumes.iter().map(mount).collect();
    let main = pod("main", json!({"command": script(text), "volumeMounts": mounts}));
    with(main, json!({"spec": {"volumes": volumes, "securityContext": security}}))
}

/// Waits for the good end of the pod, which is to have printed exactly this.
pub async fn prints(stage: &Stage, pod: Value, expected: &str) {
    stage.create(pod).await;
    stage.phase("main", "Succeeded").await;
    assert_eq!(stage.log("main", "main").await, expected);
}

/// One of a sort's volumes is read: with its file's mode, path and reader.
fn reads(sort: Sort, rest: &str, source: Value, all: Value, security: Value, mode: &'static str) -> Behaviour {
    let path = if source["items"].is_array() { "path/to/data" } else { "data" };
    sort.behaviour(rest, async move |stage: Stage| {
        stage.create(sort.object("settings", json!({"data": "value", "other": "2"}))).await;
        let text = format!("busybox stat -L -c %a /v/{path}; cat /v/{path}");
        let volume = sort.volume("v", "settings", source, all);
        prints(&stage, mounting(&[volume], &text, security), &format!("{mode}\nvalue")).await;
    })
}

fn read(sort: Sort) -> Vec<Behaviour> {
    let items = |mode: Option<i32>| json!({"items": [{"key": "data", "path": "path/to/data", "mode": mode}]});
    let (plain, user) = (|| json!({}), || json!({"runAsUser": 1000}));
    let [item_mode, twice] = match sort.is_secret {
        true => ["Item Mode set", "should be consumable in multiple volumes in a pod"],
        false => ["Item mode set", "should be consumable in multiple volumes in the same pod"],
    };
    let in_volume = |rest: &str| format!("should be consumable from pods in volume{rest}");
    let mut all = vec![
        reads(sort, &in_volume(""), plain(), plain(), plain(), "644"),
        reads(sort, &in_volume(" with defaultMode set"), plain(), json!({"defaultMode": 0o400}), plain(), "400"),
        reads(sort, &in_volume(" with mappings"), items(None), plain(), plain(), "644"),
        reads(
            sort,
            &in_volume(&format!(" with mappings and {item_mode}")),
            items(Some(0o400)),
            plain(),
            plain(),
            "400",
        ),
        sort.behaviour(twice, async move |stage: Stage| {
            stage.create(sort.object("settings", json!({"data": "value"}))).await;
            let volumes = ["one", "two"].map(|name| sort.volume(name, "settings", json!({}), json!({})));
            prints(&stage, mounting(&volumes, "cat /one/data /two/data", json!({})), "valuevalue").await;
        }),
        sort.behaviour("optional updates should be reflected in volume", async move |stage: Stage| {
            optional_updates(sort, &stage).await;
        }),
    ];
    if sort.is_secret {
        let group = json!({"runAsUser": 1000, "fsGroup": 1001});
        let rest = in_volume(" as non-root with defaultMode and fsGroup set");
        all.push(reads(sort, &rest, plain(), json!({"defaultMode": 0o440}), group, "440"));
    } else {
        all.push(reads(sort, &in_volume(" as non-root"), plain(), plain(), user(), "644"));
        all.push(reads(sort, &in_volume(" with mappings as non-root"), items(None), plain(), user(), "644"));
        all.push(sort.behaviour("updates should be reflected in volume", async move |stage: Stage| {
            updates(sort, &stage).await;
        }));
    }
    all
}

/// A script that prints what an expression is, again and again.
fn again_and_again(expression: &str) -> String {
    format!("while sleep 0.2; do echo \"{expression}\"; done")
}

/// Waits until the last line that the pod `main` printed is this.
async fn says(stage: &Stage, line: &str) {
    stage.printed("main", line, |log| log.lines().last() == Some(line)).await;
}

async fn merge(stage: &Stage, sort: Sort, name: &str, key: &str, text: &str) {
    let patch = match sort.is_secret {
        true => json!({"stringData": {key: text}}),
        false => json!({"data": {key: text}}),
    };
    let objects = stage.objects("v1", sort.kind());
    objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
}

async fn updates(sort: Sort, stage: &Stage) {
    stage.create(sort.object("settings", json!({"data": "value-1"}))).await;
    let volume = sort.volume("v", "settings", json!({}), json!({}));
    stage.create(mounting(&[volume], &again_and_again("$(cat /v/data)"), json!({}))).await;
    says(stage, "value-1").await;
    merge(stage, sort, "settings", "data", "value-2").await;
    says(stage, "value-2").await;
}

async fn optional_updates(sort: Sort, stage: &Stage) {
    for name in ["deleted", "updated"] {
        stage.create(sort.object(name, json!({"one": "1"}))).await;
    }
    let optional = |name: &str| sort.volume(name, name, json!({"optional": true}), json!({}));
    let volumes = ["deleted", "updated", "created"].map(optional);
    let show =
        "$(cat /deleted/one 2>/dev/null) $(cat /updated/one /updated/two 2>/dev/null) $(cat /created/one 2>/dev/null)";
    stage.create(mounting(&volumes, &again_and_again(&format!("[{show}]")), json!({}))).await;
    says(stage, "[1 1 ]").await;
    stage.objects("v1", sort.kind()).delete("deleted", &DeleteParams::default()).await.expect("deleted");
    merge(stage, sort, "updated", "two", "2").await;
    stage.create(sort.object("created", json!({"one": "1"}))).await;
    says(stage, "[ 12 1]").await;
}

async fn binary(stage: Stage) {
    let mut map = config_map("settings", json!({"text": "text"}));
    map["binaryData"] = json!({"bytes": "3sr+ug0="});
    stage.create(map).await;
    let volume = json!({"name": "v", "configMap": {"name": "settings"}});
    prints(&stage, mounting(&[volume], "cat /v/text; base64 /v/bytes", json!({})), "text3sr+ug0=\n").await;
}

/// The namespace's own Secret counts, whatever others have.
async fn of_another_namespace(stage: Stage) {
    stage.create(secret("shared", json!({"data": "own"}))).await;
    let other = stage.beside();
    other.open().await;
    other.create(secret("shared", json!({"data": "foreign"}))).await;
    let volume = json!({"name": "v", "secret": {"secretName": "shared"}});
    prints(&stage, mounting(&[volume], "cat /v/data", json!({})), "own").await;
    other.close().await;
}

/// A volume `v` with items of the downward API.
fn downward(is_projected: bool, items: Value, all: Value) -> Value {
    match is_projected {
        true => json!({"name": "v", "projected": with(json!({"sources": [{"downwardAPI": {"items": items}}]}), all)}),
        false => json!({"name": "v", "downwardAPI": with(json!({"items": items}), all)}),
    }
}

fn from_the_pod(name: &'static str, is_projected: bool) -> Vec<Behaviour> {
    let behaviour = |rest: &str| -> &'static str { format!("{name} {rest}").leak() };
    let amount = |resource: &str| json!([{"path": "file", "resourceFieldRef": {"containerName": "main", "resource": resource, "divisor": "1"}}]);
    let name_file =
        |mode: Option<i32>| json!([{"path": "file", "fieldRef": {"fieldPath": "metadata.name"}, "mode": mode}]);
    let shows = |rest: &str, items: Value, all: Value, text: &'static str, expected: &'static str| {
        let volume = downward(is_projected, items, all);
        Behaviour::new(behaviour(rest), async move |stage: Stage| {
            let limits =
                json!({"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}});
            let mut main = mounting(&[volume], text, json!({}));
            main["spec"]["containers"][0]["resources"] = limits;
            prints(&stage, main, expected).await;
        })
    };
    let mode = "busybox stat -L -c %a /v/file";
    let mut all = vec![
        shows("should provide container's cpu limit", amount("limits.cpu"), json!({}), "cat /v/file", "2"),
        shows("should provide container's cpu request", amount("requests.cpu"), json!({}), "cat /v/file", "1"),
        shows("should provide container's memory limit", amount("limits.memory"), json!({}), "cat /v/file", "67108864"),
        shows(
            "should provide container's memory request",
            amount("requests.memory"),
            json!({}),
            "cat /v/file",
            "33554432",
        ),
        shows("should provide podname only", name_file(None), json!({}), "cat /v/file", "main"),
        shows("should set DefaultMode on files", name_file(None), json!({"defaultMode": 0o400}), mode, "400\n"),
        shows("should set mode on item file", name_file(Some(0o400)), json!({}), mode, "400\n"),
    ];
    for (resource, unit) in [("cpu", ""), ("memory", "Ki")] {
        let rest =
            format!("should provide node allocatable ({resource}) as default {resource} limit if the limit is not set");
        let volume = downward(is_projected, amount(&format!("limits.{resource}")), json!({}));
        all.push(Behaviour::new(behaviour(&rest), async move |stage: Stage| {
            stage.create(mounting(&[volume], "cat /v/file", json!({}))).await;
            stage.phase("main", "Succeeded").await;
            let number: u64 = stage.log("main", "main").await.parse().expect("a number");
            let number = if unit.is_empty() { number } else { number / 1024 };
            assert_eq!(stage.node().await["status"]["allocatable"][resource], format!("{number}{unit}"));
        }));
    }
    for field in ["labels", "annotations"] {
        let rest = format!("should update {field} on modification");
        let items = json!([{"path": "file", "fieldRef": {"fieldPath": format!("metadata.{field}")}}]);
        let volume = downward(is_projected, items, json!({}));
        all.push(Behaviour::new(behaviour(&rest), async move |stage: Stage| {
            let mut main = mounting(&[volume], &again_and_again("$(grep key= /v/file)"), json!({}));
            main["metadata"][field] = json!({"key": "before"});
            stage.create(main).await;
            says(&stage, "key=\"before\"").await;
            stage.patch("main", None, json!({"metadata": {field: {"key": "after"}}})).await;
            says(&stage, "key=\"after\"").await;
        }));
    }
    all
}

async fn combined(stage: Stage) {
    stage.create(config_map("settings", json!({"data": "map"}))).await;
    stage.create(secret("secrets", json!({"data": "secret"}))).await;
    let one = |path: &str| json!([{"key": "data", "path": path}]);
    let name = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let sources = json!([
        {"configMap": {"name": "settings", "items": one("map")}},
        {"secret": {"name": "secrets", "items": one("deep/secret")}},
        {"downwardAPI": {"items": name}},
    ]);
    let volume = json!({"name": "v", "projected": {"sources": sources}});
    let text = "cat /v/map /v/deep/secret /v/name";
    prints(&stage, mounting(&[volume], text, json!({})), "mapsecretmain").await;
}

/// A file of a volume is mounted by itself, and read on while the volume's other files change.
fn sub_path(name: &'static str, source: Value, mount_path: &'static str) -> Behaviour {
    Behaviour::new(name, async move |stage: Stage| {
        stage.create(config_map("settings", json!({"file": "main"}))).await;
        stage.create(secret("settings", json!({"file": "main"}))).await;
        let main = json!({
            "name": "main", "image": IMAGE, "command": ["cat", mount_path],
            "volumeMounts": [{"name": "v", "mountPath": mount_path, "subPath": "file"}],
        });
        let mut main = pod("main", main);
        main["spec"]["volumes"] = json!([with(json!({"name": "v"}), source)]);
        prints(&stage, main, "main").await;
    })
}

fn sub_paths() -> Vec<Behaviour> {
    let name = json!([{"path": "file", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let map = || json!({"configMap": {"name": "settings"}});
    vec![
        sub_path("Subpath Atomic writer volumes should support subpaths with configmap pod", map(), "/mounted"),
        sub_path(
            "Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file",
            map(),
            "/etc/resolv.conf",
        ),
        sub_path(
            "Subpath Atomic writer volumes should support subpaths with secret pod",
            json!({"secret": {"secretName": "settings"}}),
            "/mounted",
        ),
        sub_path(
            "Subpath Atomic writer volumes should support subpaths with downward pod",
            json!({"downwardAPI": {"items": name}}),
            "/mounted",
        ),
        sub_path(
            "Subpath Atomic writer volumes should support subpaths with projected pod",
            json!({"projected": {"sources": [{"downwardAPI": {"items": name}}]}}),
            "/mounted",
        ),
    ]
}

pub fn behaviours() -> Vec<Behaviour> {
    let mut all: Vec<Behaviour> = SORTS.into_iter().flat_map(read).collect();
    all.extend(from_the_pod("Downward API volume", false));
    all.extend(from_the_pod("Projected downwardAPI", true));
    all.extend(sub_paths());
    all.extend([
        Behaviour::new("ConfigMap binary data should be reflected in volume", binary),
        Behaviour::new(
            "Secrets should be able to mount in a volume regardless of a different secret existing with same name in \
             different namespace",
            of_another_namespace,
        ),
        Behaviour::new("Projected combined should project all components that make up the projection API", combined),
    ]);
    all
}
