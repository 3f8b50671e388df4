//! Where unpacked layers lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use super::apply::{ApplyError, apply, apply_some};
use super::bounds::Bounded;
use super::decompress::Decompressed;
use super::verify;
use crate::disk::{self, DiskError};
use crate::image::{Digest, Hasher};
use crate::overlay;
use crate::usage::{Usage, usage};

/// The digits of a chain's digest that name its directory: short, for old kernels take all paths of a mount in one page.
const ID_DIGITS: usize = 24;

/// The file beside a layer's root that tells how much room it takes.
const USAGE: &str = "usage.json";

/// A layer on top of certain others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LayerId(String);

impl LayerId {
    /// Of the layer with this plain content on top of others, lowest first.
    fn new(lower: &[Self], diff_id: &Digest) -> Self {
        let chain = lower.last().map_or_else(String::new, |last| format!("{} ", last.0));
        Self(Digest::of(format!("{chain}{diff_id}").as_bytes()).hex()[..ID_DIGITS].to_owned())
    }
}

/// The unpacked layers under one directory.
#[derive(Clone, Debug)]
pub(crate) struct LayerStore {
    dir: PathBuf,
    /// The room that each layer takes, as far as somebody asked; it is with the layer on the disk as well.
    usages: Arc<Mutex<BTreeMap<LayerId, Usage>>>,
}

impl LayerStore {
    /// Opens the store and drops what was left unfinished.
    pub(crate) fn open(dir: &Path) -> Result<Self, DiskError> {
        disk::create_dir(dir)?;
        for name in disk::list_dirs(dir)? {
            if name.ends_with(".new") {
                disk::remove_dir(&dir.join(name))?;
            }
        }
        Ok(Self { dir: dir.to_owned(), usages: Arc::default() })
    }

    /// The root of an unpacked layer.
    pub(crate) fn root(&self, id: &LayerId) -> PathBuf {
        self.dir.join(&id.0).join("fs")
    }

    /// Unpacks the archive `blob`, whose plain content has the digest `diff_id`, on top of `lower` (lowest first).
    ///
    /// Does nothing if that was done before. Blocks.
    pub(crate) fn unpack(&self, lower: &[LayerId], diff_id: &Digest, blob: File) -> Result<LayerId, ApplyError> {
        let id = LayerId::new(lower, diff_id);
        if self.root(&id).is_dir() {
            self.clear_doubt(&id, &blob)?;
            return Ok(id);
        }
        let packed = blob.metadata().map_err(ApplyError::Source)?.len();
        self.unpack_from(lower, diff_id, blob, packed)?;
        Ok(id)
    }

    /// The same with an archive that comes while it is read, of `packed` bytes in all. `None` if it can be told only when
    /// the archive is whole. The layer is seen when the archive has come to its end. Blocks.
    pub(crate) fn unpack_growing(
        &self,
        lower: &[LayerId],
        diff_id: &Digest,
        blob: impl Read + Send + 'static,
        packed: u64,
    ) -> Result<Option<LayerId>, ApplyError> {
        let id = LayerId::new(lower, diff_id);
        if self.root(&id).is_dir() {
            return Ok((!self.doubted(&id).exists()).then_some(id));
        }
        self.unpack_from(lower, diff_id, blob, packed)?;
        Ok(Some(id))
    }

    fn unpack_from(
        &self,
        lower: &[LayerId],
        diff_id: &Digest,
        blob: impl Read + Send + 'static,
        packed: u64,
    ) -> Result<(), ApplyError> {
        let id = LayerId::new(lower, diff_id);
        let done = self.dir.join(&id.0);
        // Something may be left of one that was damaged.
        disk::remove_dir(&done)?;
        // Two pulls may bring the same layer at the same time; the one that is done first wins.
        let new = New::make(&self.dir, &id)?;
        let (upper, work) = (new.path().join("fs"), new.path().join("work"));
        fs::create_dir(&upper).map_err(DiskError::io("create", &upper))?;
        fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(DiskError::io("change", &upper))?;
        let plain = Decompressed::new(blob).and_then(Ahead::new).map_err(ApplyError::Source)?;
        let plain = Hashed { source: plain, hasher: diff_id.algorithm().hasher() };
        let mut plain = Bounded::new(plain, packed, &self.dir);
        let applied = self.apply(lower, &upper, &work, new.path(), &mut plain);
        let (verdict, plain) = plain.finish();
        verdict.map_or(applied, Err)?;
        let actual = plain.hasher.finish();
        if actual != *diff_id {
            return Err(ApplyError::DiffId(format!("content has digest {actual}, expected {diff_id}")));
        }
        self.publish(new, &done)
    }

    fn apply(
        &self,
        lower: &[LayerId],
        upper: &Path,
        work: &Path,
        new: &Path,
        plain: &mut impl Read,
    ) -> Result<(), ApplyError> {
        if lower.is_empty() {
            let root = File::open(upper).map_err(DiskError::io("open", upper))?;
            apply(root.as_fd(), &mut *plain)?;
        } else {
            fs::create_dir(work).map_err(DiskError::io("create", work))?;
            let roots: Vec<PathBuf> = lower.iter().rev().map(|id| self.root(id)).collect();
            let mount = overlay::Overlay { lower: roots, upper: upper.to_owned(), work: work.to_owned(), label: None };
            let merged = mount.temporary(&new.join("merged"))?;
            apply(merged.root(), &mut *plain)?;
            drop(merged);
            disk::remove_dir(work)?;
        }
        // The archive's end may be followed by padding that belongs to the digest.
        io::copy(plain, &mut io::sink()).map_err(ApplyError::Source)?;
        Ok(())
    }

    /// Puts back the files of an unpacked layer that are not what its archive has, which is read up to two times: how
    /// many there were. Blocks.
    pub(crate) fn repair(&self, id: &LayerId, mut blob: &File) -> Result<usize, ApplyError> {
        let path = self.root(id);
        let root = File::open(&path).map_err(DiskError::io("open", &path))?;
        let plain = Decompressed::new(blob).map_err(ApplyError::Source)?;
        let damaged = verify::damaged(root.as_fd(), plain).map_err(ApplyError::Source)?;
        if !damaged.is_empty() {
            blob.rewind().map_err(ApplyError::Source)?;
            let plain = Decompressed::new(blob).map_err(ApplyError::Source)?;
            apply_some(root.as_fd(), plain, |path| damaged.contains(path))?;
            rustix::fs::syncfs(&root).map_err(|err| DiskError::io("sync", &path)(err.into()))?;
        }
        Ok(damaged.len())
    }

    fn doubted(&self, id: &LayerId) -> PathBuf {
        self.dir.join(&id.0).join("doubted")
    }

    /// Notes that an unpacked layer may be damaged: the archive that could tell is gone.
    pub(crate) fn doubt(&self, id: &LayerId) -> Result<(), DiskError> {
        disk::write_file(&self.doubted(id), b"")
    }

    /// Compares a layer of which that was noted with its archive, which has come again.
    fn clear_doubt(&self, id: &LayerId, blob: &File) -> Result<(), ApplyError> {
        let doubted = self.doubted(id);
        if doubted.exists() {
            let repaired = self.repair(id, blob)?;
            tracing::info!(layer = id.0, repaired, "a layer whose archive was damaged was compared with a new one");
            disk::remove_file(&doubted)?;
        }
        Ok(())
    }

    /// The room that all layers take. Each is looked through once, after it was unpacked. Blocks.
    pub(crate) fn usage(&self) -> Result<Usage, DiskError> {
        let mut total = Usage::default();
        for name in disk::list_dirs(&self.dir)? {
            let id = LayerId(name);
            let known = self.usages().get(&id).copied();
            if let Some(known) = known {
                total += known;
            } else if self.root(&id).is_dir() {
                let usage = self.recorded_usage(&id)?;
                self.usages().insert(id, usage);
                total += usage;
            }
        }
        Ok(total)
    }

    fn recorded_usage(&self, id: &LayerId) -> Result<Usage, DiskError> {
        let dir = self.dir.join(&id.0);
        match disk::read_json(&dir.join(USAGE)) {
            Ok(Some(usage)) => Ok(usage),
            Err(err) if !err.is_damage() => Err(err),
            // An earlier version unpacked it.
            Ok(None) | Err(_) => record_usage(&dir),
        }
    }

    fn usages(&self) -> MutexGuard<'_, BTreeMap<LayerId, Usage>> {
        // Every change is one insert or a removal of what is gone anyway.
        self.usages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, new: New, done: &Path) -> Result<(), ApplyError> {
        record_usage(new.path())?;
        let dir = File::open(new.path()).map_err(DiskError::io("open", new.path()))?;
        // The whole file system: thousands of small files one by one take far longer.
        rustix::fs::syncfs(&dir).map_err(|err| DiskError::io("sync", new.path())(err.into()))?;
        match fs::rename(new.path(), done) {
            Ok(()) => disk::sync_parent(done)?,
            Err(_) if done.exists() => {}
            Err(err) => return Err(DiskError::io("rename to", done)(err).into()),
        }
        Ok(())
    }

    /// Removes every layer that is not in `used`.
    pub(crate) fn retain(&self, used: &BTreeSet<LayerId>) -> Result<(), DiskError> {
        for name in disk::list_dirs(&self.dir)? {
            if !used.contains(&LayerId(name.clone())) {
                disk::remove_dir(&self.dir.join(name))?;
            }
        }
        self.usages().retain(|id, _| used.contains(id));
        Ok(())
    }
}

/// Notes the room that the layer in `dir` takes, which does not change any more.
fn record_usage(dir: &Path) -> Result<Usage, DiskError> {
    let usage = usage(&dir.join("fs"));
    disk::write_json(&dir.join(USAGE), &usage)?;
    Ok(usage)
}

/// A directory for a layer that is being unpacked, which goes with this value unless it was renamed.
struct New(PathBuf);

impl New {
    fn make(dir: &Path, id: &LayerId) -> Result<Self, DiskError> {
        let made = tempfile::Builder::new().prefix(&format!("{}-", id.0)).suffix(".new").tempdir_in(dir);
        // The library would go down into it with a stack as deep as an archive may have made it.
        Ok(Self(made.map_err(DiskError::io("create in", dir))?.keep()))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if let Err(err) = disk::remove_dir(&self.0) {
            tracing::warn!(%err, "the rest of a layer that was not unpacked stays until the next start");
        }
    }
}

/// Passes a stream on and computes its digest.
struct Hashed<R> {
    source: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use tar::{Builder, EntryType, Header};

    use super::*;
    use crate::overlay::{Overlay, Temporary};

    /// A file of an archive: its name, its kind and its content or target.
    struct Item(&'static str, EntryType, &'static str);

    fn file(name: &'static str, content: &'static str) -> Item {
        Item(name, EntryType::Regular, content)
    }

    fn dir(name: &'static str) -> Item {
        Item(name, EntryType::Directory, "")
    }

    fn archive(items: &[Item]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for Item(name, kind, text) in items {
            let mut header = Header::new_gnu();
            // Set by hand, because the library refuses names that an attacker would choose.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(if *kind == EntryType::Directory { 0o751 } else { 0o644 });
            header.set_uid(7);
            header.set_gid(8);
            header.set_mtime(1_000_000);
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            let content = if is_link { "" } else { text };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).expect("appended");
        }
        builder.into_inner().expect("finished")
    }

    struct Layers {
        dir: tempfile::TempDir,
        store: LayerStore,
        ids: Vec<LayerId>,
    }

    impl Layers {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = LayerStore::open(&dir.path().join("layers")).expect("opened");
            Self { dir, store, ids: Vec::new() }
        }

        fn try_add(&mut self, items: &[Item]) -> Result<(), ApplyError> {
            let bytes = archive(items);
            let path = self.dir.path().join("layer.tar");
            fs::write(&path, &bytes).expect("written");
            let blob = File::open(path).expect("opened");
            self.ids.push(self.store.unpack(&self.ids, &Digest::of(&bytes), blob)?);
            Ok(())
        }

        /// The root of all layers together, for as long as the second value lives.
        fn merged(&self) -> (PathBuf, Temporary) {
            let (upper, work) = (self.dir.path().join("upper"), self.dir.path().join("work"));
            fs::create_dir_all(&upper).expect("made");
            fs::create_dir_all(&work).expect("made");
            let lower = self.ids.iter().rev().map(|id| self.store.root(id)).collect();
            let mount = Overlay { lower, upper, work, label: None }
                .temporary(&self.dir.path().join("merged"))
                .expect("mounted");
            let root = std::os::fd::AsRawFd::as_raw_fd(&mount.root());
            (PathBuf::from(format!("/proc/self/fd/{root}")), mount)
        }
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: not root");
        }
        root
    }

    #[test]
    fn layers_hide_and_keep_what_lies_below() {
        if !is_root() {
            return;
        }
        let mut layers = Layers::new();
        let base = [dir("a"), file("a/one", "1"), file("a/two", "2"), dir("b"), file("b/old", "o"), file("c", "c")];
        layers.try_add(&base).expect("unpacked");
        let change = [
            file("a/.wh.one", ""),
            file("a/three", "3"),
            file("b/new", "n"),
            file("b/.wh..wh..opq", ""),
            Item("d", EntryType::Link, "c"),
            file("a/deep/er", "x"),
        ];
        layers.try_add(&change).expect("unpacked");
        let (root, _mount) = layers.merged();
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        assert_eq!([read("a/one"), read("a/two"), read("a/three")].map(Option::unwrap_or_default), ["", "2", "3"]);
        assert_eq!([read("b/old"), read("b/new"), read("d")].map(Option::unwrap_or_default), ["", "n", "c"]);
        let a = fs::metadata(root.join("a")).expect("it exists");
        // The second layer does not mention the directory, which stays as it was.
        assert_eq!((a.permissions().mode() & 0o7777, a.uid(), a.gid()), (0o751, 7, 8));
        assert_eq!(fs::metadata(root.join("c")).expect("it exists").mtime(), 1_000_000);
    }

    #[test]
    fn the_room_of_a_layer_is_looked_up_once() {
        if !is_root() {
            return;
        }
        let mut layers = Layers::new();
        assert_eq!(layers.store.usage().expect("told"), Usage::default());
        layers.try_add(&[dir("a"), file("a/one", "1")]).expect("unpacked");
        let root = layers.store.root(&layers.ids[0]);
        let real = usage(&root);
        assert_eq!((real.inodes, layers.store.usage().expect("told")), (3, real));
        layers.try_add(&[file("a/two", "2")]).expect("unpacked");
        let mut both = real;
        both += usage(&layers.store.root(&layers.ids[1]));
        assert_eq!(layers.store.usage().expect("told"), both);
        // Nothing changes in a layer: it is not looked through again, by this process or the next.
        fs::write(root.join("a/new"), vec![0; 100_000]).expect("written");
        assert_eq!(layers.store.usage().expect("told"), both);
        let reopen = || LayerStore::open(&layers.store.dir).expect("opened");
        assert_eq!(reopen().usage().expect("told"), both);
        // Unless nobody wrote down what it takes, or that is damaged.
        let record = root.with_file_name(USAGE);
        let now = |what: &str| {
            let found = reopen().usage().expect(what);
            assert!(found.inodes == both.inodes + 1 && found.bytes >= both.bytes + 100_000, "{what}: {found:?}");
        };
        fs::remove_file(&record).expect("removed");
        now("no record");
        fs::write(&record, "{").expect("damaged");
        now("a damaged record");
        let kept: BTreeSet<LayerId> = layers.ids[1..].iter().cloned().collect();
        layers.store.retain(&kept).expect("collected");
        assert_eq!(layers.store.usage().expect("told"), usage(&layers.store.root(&layers.ids[1])));
    }

    #[test]
    fn nothing_is_written_outside() {
        if !is_root() {
            return;
        }
        let mut layers = Layers::new();
        let outside = layers.dir.path().join("outside");
        fs::create_dir(&outside).expect("made");
        let err = layers.try_add(&[file("../outside/x", "evil")]).expect_err("the name leads out");
        assert!(matches!(err, ApplyError::Path(_)), "{err}");
        // The link is a valid one, but its target is looked for inside.
        let up = Item("up", EntryType::Symlink, "../../../../../../../../tmp");
        layers.try_add(&[dir("tmp"), up, file("up/skiff-evil", "evil")]).expect("unpacked");
        assert!(!Path::new("/tmp/skiff-evil").exists());
        assert!(layers.store.root(&layers.ids[0]).join("tmp/skiff-evil").exists());
        let hard = Item("passwd", EntryType::Link, "/etc/passwd");
        assert!(layers.try_add(&[hard]).is_err());
        assert_eq!(fs::read_dir(outside).expect("readable").count(), 0);
        assert_eq!(disk::list_dirs(&layers.store.dir).expect("listed").len(), 1);
    }

    #[test]
    fn what_is_too_deep_to_be_removed_is_refused_and_goes() {
        if !is_root() {
            return;
        }
        let mut layers = Layers::new();
        // Links lead from the end of one part to the next, so that no name is long. The kernel follows 40 of them at most,
        // and counts those again that it follows again: a third of that is safe.
        let deep = "d/".repeat(45);
        let mut items = vec![dir("top")];
        for part in 0..10 {
            let place = if part == 0 { "top".to_owned() } else { format!("link{}", part - 1) };
            let end = format!("{place}/{deep}");
            items.push(dir(end.clone().leak()));
            items.push(Item(format!("link{part}").leak(), EntryType::Symlink, end.leak()));
        }
        layers.try_add(&items).expect("unpacked");
        let err = layers.try_add(&[file(".wh.top", "")]).expect_err("it cannot be removed");
        assert!(err.to_string().contains("too many directories"), "{err}");
        assert_eq!(disk::list_dirs(&layers.store.dir).expect("listed").len(), 1);
        layers.store.retain(&BTreeSet::new()).expect("collected");
        assert!(disk::list_dirs(&layers.store.dir).expect("listed").is_empty());
    }

    #[test]
    fn a_layer_that_is_not_the_named_one_is_refused() {
        if !is_root() {
            return;
        }
        let mut layers = Layers::new();
        let path = layers.dir.path().join("layer.tar");
        fs::write(&path, archive(&[file("x", "x")])).expect("written");
        let blob = File::open(path).expect("opened");
        let err = layers.store.unpack(&layers.ids, &Digest::of(b"other"), blob).expect_err("it is another");
        assert!(matches!(err, ApplyError::DiffId(_)), "{err}");
        layers.try_add(&[file("x", "x")]).expect("unpacked");
        layers.store.retain(&BTreeSet::new()).expect("collected");
        assert!(disk::list_dirs(&layers.store.dir).expect("listed").is_empty());
    }
}
