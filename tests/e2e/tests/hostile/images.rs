//! Images that are not what they say, that do not come, or that the disk has changed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skiff_e2e::{Cluster, Kubectl};

use crate::registry::{Layer, Manner, Registry};
use crate::{SOON, events, is_storm, phase};

/// The image of a registry that sends a byte a second, and of one that sends nothing.
const SLOW: &str = "slow";
const SILENT: &str = "silent-registry";

/// Images of which the disk changes something unpacked, and that and the archive.
const FLIPPED: [&str; 2] = ["flipped-file", "flipped-both"];

/// A pod of an image of the registry, whose own program runs.
fn pod(registry: &Registry, name: &str, image: &str) -> Value {
    let container = json!({"name": "main", "image": format!("{}/{image}", registry.address)});
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    skiff_e2e::pod(name, &spec)
}

fn delete(kubectl: &Kubectl, pod: &str) {
    kubectl.run(&["delete", "pod", pod, "--timeout=120s"]);
}

fn waiting_reason(kubectl: &Kubectl, pod: &str) -> String {
    let pod = kubectl.json(&["get", "pod", pod]);
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Begins to pull from a registry that does not come to an end, and from one that does not even begin.
pub fn begin_slow(registry: &Registry, kubectl: &Kubectl) {
    for (name, manner) in [(SLOW, Manner::Drip), (SILENT, Manner::Silent)] {
        registry.put(name, &Layer::greeter(name));
        registry.send(name, manner);
        kubectl.apply(&pod(registry, name, &format!("{name}:1")).to_string());
        events(kubectl, name, |text| text.contains("Pulling image"));
    }
}

/// What does not come is given up, and said so; once the slow one is quicker, its pod runs. That one waits hurts nobody's
/// deletion.
pub fn end_slow(registry: &Registry, kubectl: &Kubectl) {
    is_given_up(kubectl, SLOW, &["the registry is too slow: "]);
    if is_storm() {
        // It is waited for twice, a minute each.
        is_given_up(kubectl, SILENT, &["the registry is silent: "]);
    }
    registry.send(SLOW, Manner::Whole);
    phase(kubectl, SLOW, "Running");
    delete(kubectl, SLOW);
    delete(kubectl, SILENT);
}

#[track_caller]
fn is_given_up(kubectl: &Kubectl, name: &str, parts: &[&str]) {
    let is_it = |text: &str| text.contains("Failed to pull image") && parts.iter().all(|part| text.contains(part));
    events(kubectl, name, is_it);
    assert!(matches!(&*waiting_reason(kubectl, name), "ErrImagePull" | "ImagePullBackOff"), "{name}");
}

/// What the store of images has under these names.
fn store(cluster: &Cluster, dirs: &[&str]) -> BTreeSet<PathBuf> {
    let list = |dir| fs::read_dir(cluster.data_dir().join("runtime").join(dir)).expect("listed").flatten();
    dirs.iter().flat_map(list).map(|entry| entry.path()).collect()
}

/// What has another digest than it should have, and what would fill the disk, is refused by its name and not kept.
pub fn wrong(registry: &Registry, cluster: &Cluster, kubectl: &Kubectl) {
    let put = |name| registry.put(name, &Layer::greeter(name));
    let (manifest, config, layer) = (put("wrong-manifest"), put("wrong-config"), put("wrong-layer"));
    registry.spoil_manifest("wrong-manifest", &manifest.manifest);
    registry.spoil_blob("wrong-config", &config.config);
    registry.spoil_blob("wrong-layer", &layer.layer);
    let inside = Layer { diff_id: manifest.config.clone(), ..Layer::greeter("wrong-inside") };
    let inside = registry.put("wrong-inside", &inside);
    let by_digest = format!("wrong-manifest@{}", manifest.manifest);
    let expected = [
        ("wrong-manifest", &*by_digest, [&*manifest.manifest, "expected"]),
        ("wrong-config", "wrong-config:1", [&*config.config, "expected"]),
        ("wrong-layer", "wrong-layer:1", [&*layer.layer, "expected"]),
        ("wrong-inside", "wrong-inside:1", [&*inside.layer, "expected"]),
    ];
    let before = store(cluster, &["images", "layers"]);
    for (name, image, _) in &expected {
        kubectl.apply(&pod(registry, name, image).to_string());
    }
    for (name, _, parts) in &expected {
        is_refused(kubectl, name, parts);
    }
    assert_eq!(store(cluster, &["images", "layers"]), before);
    let blobs = store(cluster, &["content/sha256", "content/incoming"]);
    for digest in [&manifest.manifest, &config.config, &layer.layer] {
        assert!(!blobs.iter().any(|blob| blob.to_string_lossy().contains(hex(digest))), "{digest} was kept");
    }
}

/// What would fill the disk is refused, and not kept.
pub fn bomb(registry: &Registry, cluster: &Cluster, kubectl: &Kubectl) {
    let bomb = registry.put("bomb", &Layer::bomb(400));
    let (disk, before) = (cluster.disk("runtime"), store(cluster, &["images", "layers"]));
    disk.fill(12 << 20);
    kubectl.apply(&pod(registry, "bomb", "bomb:1").to_string());
    is_refused(kubectl, "bomb", &[&bomb.layer, "No space left on device"]);
    assert_eq!(store(cluster, &["images", "layers"]), before);
    disk.clear();
}

#[track_caller]
fn is_refused(kubectl: &Kubectl, name: &str, parts: &[&str]) {
    is_given_up(kubectl, name, parts);
    delete(kubectl, name);
}

/// A bit of an unpacked file turns, and in another image one of the archive that it came from, too: containers that ran
/// do not notice, and new ones come to run.
pub fn flipped(registry: &Registry, cluster: &Cluster, kubectl: &Kubectl) {
    for name in FLIPPED {
        let stored = registry.put(name, &Layer::greeter(name));
        let image = format!("{name}:1");
        let before = format!("before-{name}");
        kubectl.apply(&pod(registry, &before, &image).to_string());
        phase(kubectl, &before, "Running");
        let runtime = cluster.data_dir().join("runtime");
        flip(&unpacked(&runtime, name), 0);
        if name == FLIPPED[1] {
            flip(&runtime.join("content/sha256").join(hex(&stored.layer)), 5000);
        }
        kubectl.apply(&pod(registry, name, &image).to_string());
    }
    for name in FLIPPED {
        kubectl.wait(&["pod", name], "{.status.containerStatuses[0].ready}", SOON, |ready| ready == "true");
        let before = format!("before-{name}");
        let status = kubectl.json(&["get", "pod", &before])["status"].clone();
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{status:#}");
        assert_eq!(kubectl.run(&["exec", &before, "--", "echo", "here"]), "here\n");
        delete(kubectl, name);
        delete(kubectl, &before);
    }
}

/// The program of an unpacked image.
fn unpacked(runtime: &Path, name: &str) -> PathBuf {
    let layers = fs::read_dir(runtime.join("layers")).expect("listed").flatten().map(|layer| layer.path().join("fs"));
    let root = layers.into_iter().find(|root| root.join(name).exists()).expect("the layer is there");
    root.join("bin/greet")
}

/// Turns a bit of a file, in its place.
fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}
