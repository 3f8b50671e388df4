//! The files that describe devices.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::edits::ContainerEdits;

/// A file's content.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub kind: String,
    #[serde(default)]
    pub container_edits: ContainerEdits,
    #[serde(default)]
    pub devices: Vec<Device>,
}

/// A device in a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub name: String,
    #[serde(default)]
    pub container_edits: ContainerEdits,
}

/// A file that could be read.
#[derive(Debug)]
pub(super) struct SpecFile {
    pub path: PathBuf,
    /// Files of higher directories go first.
    pub priority: usize,
    pub spec: Spec,
}

/// All files, those that go first at the front. What cannot be read describes nothing.
pub(super) fn read(dirs: &[PathBuf]) -> Vec<SpecFile> {
    let mut files = Vec::new();
    for (priority, dir) in dirs.iter().enumerate().rev() {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match parse(&path) {
                Some(Ok(spec)) => files.push(SpecFile { path, priority, spec }),
                Some(Err(err)) => tracing::warn!(file = %path.display(), err, "cannot read a description of devices"),
                None => {}
            }
        }
    }
    files
}

fn parse(path: &Path) -> Option<Result<Spec, String>> {
    let is_json = match path.extension()?.to_str()? {
        "json" => true,
        "yaml" => false,
        _ => return None,
    };
    let read = || {
        let text = fs::read_to_string(path).map_err(|err| err.to_string())?;
        if is_json {
            serde_json::from_str(&text).map_err(|err| err.to_string())
        } else {
            serde_saphyr::from_str(&text).map_err(|err| err.to_string())
        }
    };
    Some(read())
}
