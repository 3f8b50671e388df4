//! Images that lie on the node as archives, for machines that reach no registry: imported at the start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Digest, ImageStore, import};
use crate::disk::{self, DiskError};
use base::error_chain;

/// The endings of archives' names.
const ENDINGS: [&str; 6] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.zstd"];

/// What was imported from a file, and how to see whether it is still the same file.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Imported {
    size: u64,
    modified: (i64, i64),
    inode: u64,
    /// What it brought and nobody has removed since.
    images: Vec<Digest>,
    /// What somebody removed: as long as the file stays as it is they do not want it.
    #[serde(default)]
    removed: Vec<Digest>,
}

impl Imported {
    fn is_of(&self, file: &Self) -> bool {
        (self.size, self.modified, self.inode) == (file.size, file.modified, file.inode)
    }
}

/// The archives that lie on the node, and what was made of them.
#[derive(Debug)]
pub(crate) struct Preloads {
    /// The file in which it is kept what was done.
    record: PathBuf,
    /// Held while that changes.
    changing: Mutex<()>,
}

impl Preloads {
    /// What was done is kept in `record`.
    pub(crate) fn new(record: PathBuf) -> Self {
        Self { record, changing: Mutex::default() }
    }

    /// Imports the archives in `dir` that are new, have changed, or whose images were lost; what somebody removed does
    /// not return. What cannot be imported is left out. Blocks; the caller holds [`ImageStore::adding`].
    pub(crate) fn import(&self, store: &ImageStore, dir: &Path, now: Timestamp) {
        let files = match archives(dir) {
            Ok(files) => files,
            Err(err) => {
                tracing::warn!(dir = %dir.display(), %err, "images cannot be preloaded");
                return;
            }
        };
        if let Err(err) = self.change(|known| known.retain(|path, _| files.contains(path))) {
            tracing::warn!(%err, "it cannot be kept which archives were preloaded");
        }
        for path in files {
            if let Err(err) = self.import_one(store, &path, now) {
                tracing::warn!(file = %path.display(), err, "an archive cannot be preloaded");
            }
        }
    }

    fn import_one(&self, store: &ImageStore, path: &Path, now: Timestamp) -> Result<(), String> {
        let (file, mut imported) = open(path).map_err(|err| err.to_string())?;
        let before = self.read().remove(path).filter(|before| before.is_of(&imported));
        let is_there = |id: &Digest| store.find(id.as_str()).is_some();
        let unwanted: Vec<Digest> = before.iter().flat_map(|before| before.removed.clone()).collect();
        // What has come back in another way is wanted again.
        let unwanted: Vec<Digest> = unwanted.into_iter().filter(|id| !is_there(id)).collect();
        if before.is_some_and(|before| before.images.iter().all(is_there)) {
            return Ok(());
        }
        let images = import(store, file, None, now).map_err(|err| error_chain(&err))?;
        tracing::info!(file = %path.display(), images = images.len(), "preloaded images");
        for id in &unwanted {
            store.remove(id).map_err(|err| err.to_string())?;
        }
        let kept = self.change(|known| {
            // Somebody may have removed one while the others came.
            let ids = images.iter().map(|image| image.id.clone());
            (imported.images, imported.removed) = ids.partition(|id| store.find(id.as_str()).is_some());
            known.insert(path.to_owned(), imported);
        });
        kept.map_err(|err| err.to_string())
    }

    /// Removes an image because somebody wants it to go: no archive brings it again before it has changed.
    pub(crate) fn remove(&self, store: &ImageStore, id: &Digest) -> Result<(), DiskError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.read();
        let mut is_known = false;
        for imported in known.values_mut() {
            let before = imported.images.len();
            imported.images.retain(|image| image != id);
            if imported.images.len() < before {
                imported.removed.push(id.clone());
                is_known = true;
            }
        }
        if is_known {
            disk::write_json(&self.record, &known)?;
        }
        store.remove(id)
    }

    /// A record that cannot be read is as good as none: all is imported again.
    fn read(&self) -> BTreeMap<PathBuf, Imported> {
        disk::read_json(&self.record).ok().flatten().unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PathBuf, Imported>)) -> Result<(), DiskError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.read();
        change(&mut known);
        disk::write_json(&self.record, &known)
    }
}

fn open(path: &Path) -> io::Result<(File, Imported)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let imported = Imported {
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        inode: metadata.ino(),
        images: Vec::new(),
        removed: Vec::new(),
    };
    Ok((file, imported))
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::archive::{ImageOptions, build};

    #[test]
    fn archives_are_imported_once_and_again_when_they_change_or_their_images_are_lost() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: not root");
            return;
        }
        let root = tempfile::tempdir().expect("a temporary directory");
        let (dir, preloads) = (root.path().join("images"), Preloads::new(root.path().join("record.json")));
        let store = ImageStore::open(&root.path().join("data")).expect("opened");
        let load = |second: i64| preloads.import(&store, &dir, Timestamp::from_second(second).expect("a time"));
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
        // Lost, it comes again; removed, it does not.
        store.remove(&image.id).expect("removed");
        load(4);
        assert_eq!(names(), ["r.io/a:1"]);
        preloads.remove(&store, &image.id).expect("removed");
        load(5);
        assert!(names().is_empty());
        archive("a.tar", "r.io/b:1");
        load(6);
        assert_eq!(names(), ["r.io/b:1"]);
        archive("a.tar", "r.io/a:1");
        load(7);
        assert_eq!(names().len(), 2, "what a changed archive brought before stays");
    }
}
