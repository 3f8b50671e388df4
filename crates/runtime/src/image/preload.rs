//! Images that lie on the node as archives, for machines that reach no registry: imported at the start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Digest, ImageStore, import};
use crate::disk;
use base::error_chain;

/// The endings of archives' names.
const ENDINGS: [&str; 6] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.zstd"];

/// What was imported from a file, and how to see whether it is still the same file.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Imported {
    size: u64,
    modified: (i64, i64),
    inode: u64,
    images: Vec<Digest>,
}

/// Imports the archives in `dir` that are new, have changed, or whose images are gone; `record` is the file in which it
/// is kept what was done. What cannot be imported is left out. Blocks; the caller holds [`ImageStore::adding`].
pub(crate) fn preload(store: &ImageStore, dir: &Path, record: &Path, now: Timestamp) {
    let files = match archives(dir) {
        Ok(files) => files,
        Err(err) => {
            tracing::warn!(dir = %dir.display(), %err, "images cannot be preloaded");
            return;
        }
    };
    // A record that cannot be read is as good as none: all is imported again.
    let before: BTreeMap<PathBuf, Imported> = disk::read_json(record).ok().flatten().unwrap_or_default();
    let mut done = BTreeMap::new();
    for path in files {
        match one(store, &path, before.get(&path), now) {
            Ok(imported) => {
                done.insert(path, imported);
            }
            Err(err) => tracing::warn!(file = %path.display(), err, "an archive cannot be preloaded"),
        }
    }
    if let Err(err) = disk::write_json(record, &done) {
        tracing::warn!(%err, "it cannot be kept which archives were preloaded");
    }
}

fn archives(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if ENDINGS.iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn one(store: &ImageStore, path: &Path, before: Option<&Imported>, now: Timestamp) -> Result<Imported, String> {
    let file = File::open(path).map_err(|err| err.to_string())?;
    let metadata = file.metadata().map_err(|err| err.to_string())?;
    let (size, inode) = (metadata.len(), metadata.ino());
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    if let Some(before) = before
        && (before.size, before.modified, before.inode) == (size, modified, inode)
        && before.images.iter().all(|id| store.find(id.as_str()).is_some())
    {
        return Ok(before.clone());
    }
    let images = import(store, file, None, now).map_err(|err| error_chain(&err))?;
    tracing::info!(file = %path.display(), images = images.len(), "preloaded images");
    Ok(Imported { size, modified, inode, images: images.iter().map(|image| image.id.clone()).collect() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::archive::{ImageOptions, build};

    #[test]
    fn archives_are_imported_once_and_again_when_they_change_or_their_images_go() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: not root");
            return;
        }
        let root = tempfile::tempdir().expect("a temporary directory");
        let (dir, record) = (root.path().join("images"), root.path().join("record.json"));
        let store = ImageStore::open(&root.path().join("data")).expect("opened");
        let load = |second: i64| preload(&store, &dir, &record, Timestamp::from_second(second).expect("a time"));
        let names = || -> Vec<String> { store.list().iter().flat_map(|image| image.tags.clone()).collect() };
        load(1);
        fs::create_dir_all(root.path().join("rootfs/etc")).expect("made");
        fs::create_dir(&dir).expect("made");
        let archive = |file: &str, name: &str| {
            let options = ImageOptions { cmd: vec![name.to_owned()], ..ImageOptions::default() };
            let file = File::create(dir.join(file)).expect("created");
            build(&root.path().join("rootfs"), name, &options, file).expect("built");
        };
        archive("a.tar", "r.io/a:1");
        fs::write(dir.join("broken.tar.gz"), "nonsense").expect("written");
        fs::write(dir.join("readme.txt"), "nonsense").expect("written");
        load(2);
        assert_eq!(names(), ["r.io/a:1"]);
        let image = store.find("r.io/a:1").expect("it is here");
        assert!(image.imported);
        load(3);
        assert_eq!(store.find("r.io/a:1").expect("it is here").created_at, image.created_at);
        store.remove(&image.id).expect("removed");
        load(4);
        assert_eq!(names(), ["r.io/a:1"]);
        archive("a.tar", "r.io/b:1");
        load(5);
        assert_eq!(names().len(), 2, "what a changed archive brought before stays");
    }
}
