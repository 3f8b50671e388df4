//! Devices of vendors, by the Container Device Interface: files say what a device needs in a container.
//!
//! A device is named `vendor.com/class=name`. Files of a later directory go before those of an earlier one; two files of
//! one directory that describe the same device make it unusable.

mod edits;
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cri::ContainerConfig;
use serde_json::Value;

use edits::ContainerEdits;
use files::SpecFile;

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CdiError {
    /// No file describes them.
    #[error("CDI device injection failed: unresolvable CDI devices {}", .0.join(", "))]
    Unresolvable(Vec<String>),
    /// An annotation names something else.
    #[error("CDI device injection failed: annotation {key:?}: invalid CDI device name {device:?}")]
    Name {
        /// The annotation.
        key: String,
        /// What it names.
        device: String,
    },
    /// Several do.
    #[error("CDI device injection failed: conflicting CDI device {device} in {} and {}", first.display(), second.display())]
    Conflict {
        /// The device.
        device: String,
        /// A file.
        first: PathBuf,
        /// Another of the same directory.
        second: PathBuf,
    },
    /// A node of the machine that the device needs is not there.
    #[error("CDI device injection failed: {path}: {source}")]
    Node {
        /// The node.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no device.
    #[error("CDI device injection failed: {0} is not a device")]
    NoDevice(String),
}

/// What annotations that name devices begin with; the rest tells who asks.
const ANNOTATION: &str = "cdi.k8s.io/";

/// The devices that a container asks for, each once: by the field of its configuration, or, if that is empty, by
/// annotations, whose values are lists with commas.
pub(crate) fn wanted(config: &ContainerConfig) -> Result<Vec<String>, CdiError> {
    let mut devices: Vec<String> = config.cdi_devices.iter().map(|device| device.name.clone()).collect();
    if devices.is_empty() {
        let annotations: BTreeMap<&String, &String> =
            config.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION)).collect();
        for (key, value) in annotations {
            for device in value.split(',') {
                if !is_name(device) {
                    return Err(CdiError::Name { key: key.clone(), device: device.to_owned() });
                }
                devices.push(device.to_owned());
            }
        }
    }
    let mut seen = BTreeSet::new();
    devices.retain(|device| seen.insert(device.clone()));
    Ok(devices)
}

/// Whether a text is `vendor/class=name`.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str, others: &[char]| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(&c))
    };
    let Some((kind, name)) = text.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    is_part(vendor, &['_', '-', '.']) && is_part(class, &['_', '-', '.']) && is_part(name, &['_', '-', '.', ':'])
}

/// Changes an OCI specification as the files in `dirs` say for `devices`.
pub(crate) fn inject<'a>(
    document: &mut Value,
    devices: impl Iterator<Item = &'a str>,
    dirs: &[PathBuf],
) -> Result<(), CdiError> {
    let mut devices = devices.peekable();
    if devices.peek().is_none() {
        return Ok(());
    }
    let files = files::read(dirs);
    let mut unresolvable = Vec::new();
    let mut edits: Vec<&ContainerEdits> = Vec::new();
    let mut used = BTreeSet::new();
    for device in devices {
        let Some((file, of_device)) = find(&files, device)? else {
            unresolvable.push(device.to_owned());
            continue;
        };
        // What all devices of a file need is needed once.
        if used.insert(&file.path) {
            edits.push(&file.spec.container_edits);
        }
        edits.push(of_device);
    }
    if !unresolvable.is_empty() {
        return Err(CdiError::Unresolvable(unresolvable));
    }
    edits.into_iter().try_for_each(|edits| edits.apply(document))
}

fn find<'a>(files: &'a [SpecFile], device: &str) -> Result<Option<(&'a SpecFile, &'a ContainerEdits)>, CdiError> {
    let Some((kind, name)) = device.split_once('=') else { return Ok(None) };
    let of_file = |file: &'a SpecFile| {
        let devices = file.spec.devices.iter().filter(|_| file.spec.kind == kind);
        let found = devices.into_iter().find(|device| device.name == name)?;
        Some((file, &found.container_edits))
    };
    let mut found = files.iter().filter_map(of_file);
    let (first, second) = (found.next(), found.next());
    match (first, second) {
        (Some((first, _)), Some((second, _))) if first.priority == second.priority => Err(CdiError::Conflict {
            device: device.to_owned(),
            first: first.path.clone(),
            second: second.path.clone(),
        }),
        (first, _) => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn dirs(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dirs = ["low", "high"].map(|name| root.path().join(name)).to_vec();
        for dir in &dirs {
            fs::create_dir(dir).expect("made");
        }
        for (name, text) in files {
            fs::write(root.path().join(name), text).expect("written");
        }
        (root, dirs)
    }

    const YAML: &str = "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ncontainerEdits:\n  env: [ALL=1]\ndevices:\n\
                        - name: one\n  containerEdits:\n    env: [ONE=yaml]\n\
                        - name: two\n  containerEdits:\n    env: [TWO=yaml]\n";
    const JSON: &str = r#"{"cdiVersion": "0.6.0", "kind": "vendor.com/gpu",
                           "devices": [{"name": "one", "containerEdits": {"env": ["ONE=json"]}}]}"#;

    #[test]
    fn annotations_stand_in_for_the_field() {
        let wanted = |field: &[&str], annotations: &[(&str, &str)]| {
            let named = |name: &&str| cri::CdiDevice { name: (*name).to_owned() };
            let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let (cdi_devices, annotations) =
                (field.iter().map(named).collect(), annotations.iter().map(pair).collect());
            super::wanted(&ContainerConfig { cdi_devices, annotations, ..Default::default() })
        };
        let annotations = [("cdi.k8s.io/b", "v.com/c=3"), ("cdi.k8s.io/a", "v.com/c=1,v.com/c=2"), ("other", "=")];
        assert_eq!(wanted(&[], &annotations).expect("well formed"), ["v.com/c=1", "v.com/c=2", "v.com/c=3"]);
        assert_eq!(wanted(&["v.com/c=4", "v.com/c=4"], &annotations).expect("well formed"), ["v.com/c=4"]);
        for wrong in ["", "c=1", "v.com/c", "v.com/c=", "v.com/c=1,", "v.com/c=a b", "-v/c=1", "v.com/=1"] {
            let err = wanted(&[], &[("cdi.k8s.io/a", wrong)]).expect_err("no name");
            assert!(matches!(err, CdiError::Name { .. }), "{wrong}: {err}");
        }
    }

    fn environment(dirs: &[PathBuf], devices: &[&str]) -> Result<Value, CdiError> {
        let mut document = json!({"process": {"env": ["A=b"], "user": {"uid": 0, "gid": 0}}, "linux": {}});
        inject(&mut document, devices.iter().copied(), dirs)?;
        Ok(document["process"]["env"].take())
    }

    #[test]
    fn devices_are_found_by_their_names() {
        let (_root, dirs) = dirs(&[("low/a.yaml", YAML), ("low/broken.json", "{"), ("low/ignored.txt", JSON)]);
        let both = environment(&dirs, &["vendor.com/gpu=one", "vendor.com/gpu=two"]).expect("described");
        assert_eq!(both, json!(["A=b", "ALL=1", "ONE=yaml", "TWO=yaml"]));
        assert_eq!(environment(&dirs, &[]).expect("nothing to do"), json!(["A=b"]));
        let err = environment(&dirs, &["vendor.com/gpu=three", "other.com/gpu=one", "odd"]).expect_err("unknown");
        assert!(matches!(err, CdiError::Unresolvable(devices) if devices.len() == 3));
    }

    #[test]
    fn later_directories_go_first_and_equals_are_in_each_others_way() {
        let (_root, dirs) = dirs(&[("low/a.yaml", YAML), ("high/a.json", JSON)]);
        let one = environment(&dirs, &["vendor.com/gpu=one"]).expect("described");
        assert_eq!(one, json!(["A=b", "ONE=json"]));
        fs::write(dirs[1].join("b.yaml"), YAML).expect("written");
        let err = environment(&dirs, &["vendor.com/gpu=one"]).expect_err("described twice");
        assert!(matches!(err, CdiError::Conflict { .. }));
    }
}
