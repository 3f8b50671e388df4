//! Tests of the embedded engine: the suite with crashes, and what only a directory on disk can do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::Env;
use futures::StreamExt;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::fault::FaultDisk;
use super::*;
use crate::suite::{self, Fault, FaultKind, Subject};
use crate::types::{KeyRange, RangeRequest};

struct EmbeddedSubject {
    dir: TempDir,
    disk: Arc<FaultDisk>,
    recent: RecentLimits,
    store: Option<Arc<Embedded>>,
}

impl EmbeddedSubject {
    fn new(recent_events: usize) -> Self {
        let dir = TempDir::new().expect("a directory can be made");
        let disk = Arc::new(FaultDisk::new(dir.path()));
        let recent = RecentLimits { events: recent_events, bytes: 64 * 1024 };
        let mut subject = Self { dir, disk, recent, store: None };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let config = EmbeddedConfig {
            recent: self.recent,
            disk: Arc::clone(&self.disk) as Arc<dyn Disk>,
            ..EmbeddedConfig::new(self.dir.path(), Env::system())
        };
        self.store = Some(Arc::new(Embedded::open(config).expect("the store opens again after anything")));
    }
}

#[async_trait]
impl Subject for EmbeddedSubject {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().expect("it is open")) as Arc<dyn Store>
    }

    async fn reopen(&mut self) {
        let store = self.store.take().map(Arc::into_inner);
        assert!(store.is_some_and(|store| store.is_some()), "nobody else holds the store");
        self.disk.power_on();
        self.open();
    }

    fn arm(&mut self, fault: Fault) {
        self.disk.arm(fault);
    }

    fn crashed(&self) -> bool {
        self.disk.crashed()
    }
}

#[tokio::test]
async fn it_does_the_basics() {
    suite::check_basics(&mut EmbeddedSubject::new(100)).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does_through_failures_and_crashes(steps in suite::steps(), recent in 0..8_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(suite::check(&mut EmbeddedSubject::new(recent), steps));
    }
}

fn open(dir: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(EmbeddedConfig::new(dir, Env::system()))
}

/// The whole chain of an error's messages.
fn chain(err: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(err), |err| err.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[track_caller]
fn check_refused(dir: &Path, message: &str) {
    let err = open(dir).expect_err("the directory should be refused");
    assert!(chain(&err).contains(message), "{} should say {message:?}", chain(&err));
}

async fn put(store: &Embedded, key: &str, value: impl Into<bytes::Bytes>) -> Result<Revision, TxnError> {
    match store.txn(Txn::put(key.to_owned(), value)).await? {
        TxnResponse::Applied { revision, .. } => Ok(revision),
        TxnResponse::Mismatch { .. } => panic!("a put without a compare cannot mismatch"),
    }
}

async fn count(store: &Embedded) -> usize {
    store.range(RangeRequest::new(KeyRange::all()).count_only()).await.expect("current reads work").count
}

#[test]
fn a_directory_is_open_once_and_private() {
    let dir = TempDir::new().expect("a directory can be made");
    let store = open(dir.path()).expect("an empty directory opens");
    check_refused(
        dir.path(),
        &format!("data directory {} is in use by process {}", dir.path().display(), std::process::id()),
    );
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(dir.path()), 0o700);
    for entry in fs::read_dir(dir.path()).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
    open(dir.path()).expect("a closed store opens again");
}

#[test]
fn a_directory_belongs_to_one_cluster() {
    let dir = TempDir::new().expect("a directory can be made");
    let id = open(dir.path()).expect("an empty directory opens").cluster_id().to_owned();
    let config =
        |id: &str| EmbeddedConfig { cluster_id: Some(id.to_owned()), ..EmbeddedConfig::new(dir.path(), Env::system()) };
    assert_eq!(Embedded::open(config(&id)).expect("it is its cluster").cluster_id(), id);
    let err = Embedded::open(config("other")).expect_err("it is another cluster's");
    assert!(err.to_string().ends_with(&format!("belongs to cluster {id}, not to cluster other")), "{err}");
}

#[test]
fn what_is_not_a_store_of_this_format_is_refused() {
    let dir = TempDir::new().expect("a directory can be made");
    let database = dir.path().join("store.db");
    fs::write(
        &database,
        "this was never a database, but it is long enough to be looked at as if it were one, \
        which takes a hundred bytes or more",
    )
    .expect("it can be written");
    check_refused(dir.path(), "is not a Skiff store");
    fs::remove_file(&database).expect("it can be removed");

    let other = Connection::open(&database).expect("it can be created");
    other.execute_batch("CREATE TABLE kine (id INTEGER)").expect("it can be written");
    drop(other);
    check_refused(dir.path(), "is not a Skiff store");
    fs::remove_file(&database).expect("it can be removed");

    drop(open(dir.path()).expect("an empty directory opens"));
    let connection = Connection::open(&database).expect("it can be opened");
    connection.pragma_update(None, "user_version", 7).expect("it can be written");
    drop(connection);
    check_refused(dir.path(), "has format 7, this version of Skiff reads format 1");
}

#[tokio::test]
async fn a_damaged_row_is_found() {
    let dir = TempDir::new().expect("a directory can be made");
    let store = open(dir.path()).expect("an empty directory opens");
    put(&store, "/a", "right").await.expect("it can be written");
    drop(store);
    let connection = Connection::open(dir.path().join("store.db")).expect("it can be opened");
    connection.execute_batch("UPDATE revisions SET value = x'00'").expect("it can be written");
    drop(connection);
    check_refused(dir.path(), "does not match its checksum");
}

#[tokio::test]
async fn a_failed_write_is_not_acknowledged_and_not_seen() {
    let mut subject = EmbeddedSubject::new(8);
    let store = Arc::clone(subject.store.as_ref().expect("it is open"));
    put(&store, "/a", "1").await.expect("it can be written");
    for (kind, message) in [(FaultKind::Full, "no space is left"), (FaultKind::Io, "reading or writing the store")] {
        subject.arm(Fault { after: 0, kind });
        let err = put(&store, "/b", "2").await.expect_err("the disk fails");
        assert!(chain(&err).contains(message), "{}", chain(&err));
        assert_eq!(count(&store).await, 1);
    }
    assert_eq!(put(&store, "/c", "3").await.expect("the disk works again"), 3);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let dir = TempDir::new().expect("a directory can be made");
    let mount = SmallDisk::mount(dir.path());
    let data = dir.path().join("data");
    let store = open(&data).expect("an empty directory opens");
    let value = vec![7; 64 * 1024];
    let mut written = 0;
    let err = loop {
        match put(&store, &format!("/{written}"), value.clone()).await {
            Ok(_) => written += 1,
            Err(err) => break err,
        }
    };
    assert!(matches!(err, TxnError::Storage(StorageError::DiskFull { .. })), "{}", chain(&err));
    assert!(written > 4, "{written} writes fit into the disk");
    assert_eq!(count(&store).await, written);
    drop(store);
    let store = open(&data).expect("a full disk does not keep it from opening");
    assert_eq!(count(&store).await, written);
    mount.grow();
    put(&store, "/more", value).await.expect("there is space again");
    assert_eq!(count(&store).await, written + 1);
    drop(store);
}

/// A file system of 2 MiB.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Self {
        use rustix::mount::{MountFlags, mount};
        mount("none", path, "tmpfs", MountFlags::empty(), Some(c"size=2m")).expect("tests run as root");
        Self(path)
    }

    fn grow(&self) {
        use rustix::mount::{MountFlags, mount_remount};
        mount_remount(self.0, MountFlags::empty(), c"size=16m").expect("it can grow");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // A lazy unmount also works while a failed test still has files open.
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Waits until `condition` holds for the store's status.
async fn wait_for(store: &Embedded, condition: impl Fn(&StoreStatus) -> bool) {
    let poll = async {
        while !condition(&store.status().await.expect("an open store has a status")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.expect("the condition comes true");
}

#[tokio::test]
async fn compaction_gives_space_back() {
    let dir = TempDir::new().expect("a directory can be made");
    let store = open(dir.path()).expect("an empty directory opens");
    for round in 0..64 {
        let writes = (0..32).map(|key| store.txn(Txn::put(format!("/{key}"), vec![round; 4096])));
        futures::future::try_join_all(writes).await.expect("it can be written");
    }
    let full = store.status().await.expect("it has a status");
    assert!(full.bytes > 8 * 1024 * 1024, "{full:?}");
    store.compact(full.revision).await.expect("the current revision can be compacted");
    wait_for(&store, |status| status.bytes < 2 * 1024 * 1024).await;
    assert_eq!(count(&store).await, 32);
    drop(store);
    let store = open(dir.path()).expect("it opens again");
    let range = RangeRequest::new(KeyRange::all());
    let kvs = store.range(range).await.expect("it can be read").kvs;
    assert!(kvs.len() == 32 && kvs.iter().all(|kv| kv.value[0] == 63 && kv.version == 64));
    let err = store.range(RangeRequest::new(KeyRange::all()).at(full.revision - 1)).await;
    assert!(matches!(err, Err(RangeError::Compacted { .. })), "{err:?}");
}

#[tokio::test]
async fn a_slow_watch_reads_from_disk_and_ends_when_that_is_compacted() {
    let subject = EmbeddedSubject::new(4);
    let store = Arc::clone(subject.store.as_ref().expect("it is open"));
    let mut slow = store.watch(WatchRequest::new(KeyRange::all())).await.expect("it can be watched");
    let mut slower = store.watch(WatchRequest::new(KeyRange::all())).await.expect("it can be watched");
    for number in 0..1000 {
        put(&store, "/a", number.to_string()).await.expect("it can be written");
    }
    let mut seen = 0;
    while seen < 1000 {
        let batch = slow.next().await.expect("it goes on").expect("nothing is compacted");
        for event in batch.events {
            assert_eq!(event.kv.value, seen.to_string());
            seen += 1;
        }
    }
    store.compact(900).await.expect("it can be compacted");
    let err = slower.next().await.expect("it has something to say").expect_err("it missed what is gone");
    assert!(matches!(err, WatchError::Compacted { requested: 2, compact_revision: 900 }), "{err:?}");
    assert!(slower.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_sends_progress() {
    let store = crate::Memory::new();
    let request =
        WatchRequest { progress_interval: Some(Duration::from_secs(600)), ..WatchRequest::new(KeyRange::prefix("/a")) };
    let mut watch = store.watch(request).await.expect("it can be watched");
    store.txn(Txn::put("/b", "")).await.expect("it can be written");
    let began = tokio::time::Instant::now();
    let batch = watch.next().await.expect("it goes on").expect("nothing fails");
    assert_eq!((batch.events.len(), batch.revision, began.elapsed().as_secs()), (0, 2, 600));
}

#[tokio::test]
async fn a_snapshot_restores_what_was_there() {
    let dir = TempDir::new().expect("a directory can be made");
    let file = dir.path().join("snapshot");
    let store = open(&dir.path().join("old")).expect("an empty directory opens");
    put(&store, "/a", "1").await.expect("it can be written");
    let info = store.snapshot(&file).await.expect("a snapshot can be written");
    assert_eq!(info.revision, 2);
    put(&store, "/b", "2").await.expect("it can be written");
    assert!(matches!(store.snapshot(&file).await, Err(SnapshotError::Exists { .. })));

    let new = dir.path().join("new");
    Embedded::restore(&file, &new, RestoreOptions { advance_revision: 1000 }).expect("it can be restored");
    let again = Embedded::restore(&file, &new, RestoreOptions::default());
    assert!(matches!(again, Err(RestoreError::Exists { .. })), "{again:?}");
    let restored = open(&new).expect("it opens");
    assert_eq!(restored.cluster_id(), store.cluster_id());
    assert_eq!(count(&restored).await, 1);
    let from = WatchRequest::new(KeyRange::all()).from_revision(3);
    assert!(matches!(restored.watch(from).await, Err(WatchError::Compacted { compact_revision: 1002, .. })));
    assert_eq!(put(&restored, "/c", "3").await.expect("it can be written"), 1003);

    fs::write(&file, "not a snapshot").expect("it can be written");
    let damaged = Embedded::restore(&file, &dir.path().join("third"), RestoreOptions::default());
    assert!(matches!(damaged, Err(RestoreError::Open(OpenError::NotAStore { .. }))), "{damaged:?}");
}
