//! Manifests as files: reads them, and reads them again whenever one may have changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, FileWatch};
use client::ObjectKey;
use k8s_openapi::api::core::v1::Pod;

use super::manifest::{self, ManifestError, Origin};
use super::{Manifests, Source, StaticPods};
use crate::context::Shared;
use crate::pods::spec;

/// After manifests could not be followed.
const RETRY: Duration = Duration::from_secs(5);
/// No manifest is larger: requests to the API are not either.
const MAX_BYTES: u64 = 3 << 20;

/// Why a file brings no pod.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("the file is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Follows the manifests in a directory, or one file, until the drain signal. Without a path there are none.
pub async fn follow(context: Shared, drain: Drain) {
    let pods = context.static_pods.clone();
    let Some(path) = context.config.static_pod_path.clone() else {
        pods.found(Source::Files, None);
        drain.drained().await;
        return;
    };
    while !drain.is_draining() {
        if let Err(err) = follow_path(&context, &pods, &path, &drain).await {
            tracing::warn!(path = %path.display(), err = %err, "manifests of static pods cannot be followed");
            // Nothing is known to be wrong with what runs; pods of the API need not wait.
            pods.found(Source::Files, None);
        }
        drain.until(context.env.sleep(RETRY)).await;
    }
}

async fn follow_path(context: &Shared, pods: &StaticPods, path: &Path, drain: &Drain) -> io::Result<()> {
    if !path.exists() {
        std::fs::create_dir_all(path)?;
    }
    let mut watch = if path.is_dir() { FileWatch::directory(path) } else { FileWatch::new(path) }?;
    loop {
        let before = pods.of(Source::Files);
        let (path, node, now) = (path.to_owned(), context.config.node_name.clone(), context.env.now());
        let read = tokio::task::spawn_blocking(move || read(&path, &node, now, &before)).await;
        let found = read.map_err(io::Error::other)??;
        pods.found(Source::Files, Some(found));
        match drain.until(watch.changed()).await {
            None => return Ok(()),
            Some(changed) => changed?,
        }
    }
}

/// Reads all manifests. A file that cannot be used leaves what it said `before`: it may be half written.
fn read(path: &Path, node: &str, now: jiff::Timestamp, before: &Manifests) -> io::Result<BTreeMap<PathBuf, Arc<Pod>>> {
    let mut found: BTreeMap<PathBuf, Arc<Pod>> = BTreeMap::new();
    for file in files(path)? {
        let last = before.get(&file);
        let pod = match read_file(&file, node, now) {
            Ok(None) => continue,
            Ok(Some(pod)) => match last.filter(|last| spec::uid(last) == spec::uid(&pod)) {
                Some(same) => Arc::clone(same),
                None => Arc::new(pod),
            },
            Err(err) => {
                tracing::warn!(file = %file.display(), err = %err, "manifest of a static pod cannot be used");
                match last {
                    Some(last) => Arc::clone(last),
                    None => continue,
                }
            }
        };
        let key = ObjectKey::of(&*pod);
        if let Some((other, _)) = found.iter().find(|(_, other)| ObjectKey::of(&***other) == key) {
            tracing::warn!(file = %file.display(), pod = %key, other = %other.display(), "another manifest has a pod of this name, this one is left out");
            continue;
        }
        found.insert(file, pod);
    }
    Ok(found)
}

/// The files that may be manifests, sorted: those that are not hidden.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The pod of a file; `None` for an empty one, and one that is gone by now.
fn read_file(file: &Path, node: &str, now: jiff::Timestamp) -> Result<Option<Pod>, FileError> {
    let text = match std::fs::metadata(file).and_then(|metadata| Ok((metadata.len(), std::fs::read(file)?))) {
        Ok((bytes, _)) if bytes > MAX_BYTES => return Err(FileError::TooLarge),
        Ok((_, text)) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(manifest::read(&text, &Origin { kind: "file", path: file }, node, now)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, image: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: a, image: {image}}}]}}}}"
        )
    }

    #[test]
    fn a_directory_is_read_file_by_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("written");
        let mut last = Manifests::default();
        let mut check = |expected: &[(&str, &str, &str)]| {
            let found = read(dir.path(), "n", jiff::Timestamp::UNIX_EPOCH, &last).expect("read");
            let shown: Vec<_> = found
                .iter()
                .map(|(path, pod)| {
                    let file = path.file_name().expect("a name").to_string_lossy().into_owned();
                    (file, spec::name(pod).to_owned(), spec::containers(pod)[0].image.clone().unwrap_or_default())
                })
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect();
            assert_eq!(shown, expected);
            last = Arc::new(found);
        };
        check(&[]);
        write("a.yaml", &manifest("web", "i:1"));
        write(".hidden", &manifest("other", "i:1"));
        write("empty", "\n");
        write("wrong", "{");
        std::fs::create_dir(dir.path().join("deeper")).expect("made");
        check(&[("a.yaml", "web-n", "i:1")]);
        write("b.json", &manifest("web", "i:2"));
        write("c.yaml", &manifest("db", "i:3"));
        check(&[("a.yaml", "web-n", "i:1"), ("c.yaml", "db-n", "i:3")]);
        // Half written.
        write("c.yaml", "{apiVersion: v1, kin");
        std::fs::remove_file(dir.path().join("a.yaml")).expect("removed");
        check(&[("b.json", "web-n", "i:2"), ("c.yaml", "db-n", "i:3")]);
        write("c.yaml", &manifest("db", "i:4"));
        check(&[("b.json", "web-n", "i:2"), ("c.yaml", "db-n", "i:4")]);
    }
}
