//! Pulling from a registry that misbehaves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use serde_json::json;

use super::layers::PARALLEL_BLOBS;
use super::*;
use crate::disk;
use crate::image::registry::fake::{Door, FakeRegistry, Fault, Stored, digest, layer};
use crate::image::registry::{MANIFEST_TYPES, Pace, Patience};
use crate::image::{Algorithm, Health, export, import};

/// A store, what pulls into it, and a registry.
struct Bench {
    dir: tempfile::TempDir,
    store: Arc<ImageStore>,
    puller: Puller,
    registry: FakeRegistry,
}

/// A layer that is not small: a file with content that does not compress.
fn large(seed: u8) -> Vec<u8> {
    let content: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
    layer(&[(&format!("file-{seed}"), &content)])
}

fn plain(layer: &[u8]) -> Vec<u8> {
    layer.to_vec()
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (store, puller) = Self::open(dir.path(), Patience::default());
        Self { dir, store, puller, registry: FakeRegistry::start().await }
    }

    fn open(dir: &Path, patience: Patience) -> (Arc<ImageStore>, Puller) {
        let store = Arc::new(ImageStore::open(&dir.join("data")).expect("opened"));
        let settings = Settings { hosts_dir: dir.join("certs.d"), patience };
        (store.clone(), Puller::new(store, settings, Env::system()))
    }

    /// Kills the process, as far as the disk is concerned.
    fn restart(&mut self) {
        (self.store, self.puller) = Self::open(self.dir.path(), Patience::default());
    }

    fn name(&self) -> String {
        format!("{}/team/app:1", self.registry.address)
    }

    fn put(&self, layers: &[Vec<u8>]) -> Stored {
        self.registry.put_image("team/app", "1", layers, plain)
    }

    async fn pull_as(&self, auth: Option<cri::AuthConfig>) -> Result<Arc<Image>, PullError> {
        let reference = Reference::parse(&self.name()).expect("a name");
        self.puller.pull(&reference, auth.as_ref(), &Progress::default()).await
    }

    async fn pull(&self) -> Result<Arc<Image>, PullError> {
        self.pull_as(None).await
    }

    /// Pulls, and sees that all content is what it should be.
    #[track_caller]
    fn is_whole(&self, image: &Image, stored: &Stored) {
        assert_eq!(image.id.to_string(), stored.config);
        for (blob, unpacked) in image.layers.iter().zip(&image.unpacked) {
            self.store.content().check(&blob.blob).expect("the blob is what it should be");
            assert!(self.store.layers().root(unpacked).is_dir());
        }
        let incoming = self.dir.path().join("data/content/incoming");
        assert_eq!(fs::read_dir(incoming).expect("listed").count(), 0);
    }

    fn settings(&self, registry: &str, text: &str) {
        let dir = self.dir.path().join("certs.d").join(registry);
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join("hosts.toml"), text).expect("written");
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: not root");
    }
    root
}

fn password(user: &str, password: &str) -> Option<cri::AuthConfig> {
    Some(cri::AuthConfig { username: user.to_owned(), password: password.to_owned(), ..Default::default() })
}

#[tokio::test]
async fn a_tag_beside_a_digest_is_nobodys_name() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let old = bench.put(&[large(1)]);
    let old = bench.pull().await.map(|image| (image, old)).expect("pulled");
    let digest = old.0.digests.iter().next().expect("a registry had it").clone();
    let (_, digest) = digest.split_once('@').expect("a digest");
    let new = bench.put(&[large(2)]);
    bench.pull().await.expect("pulled");
    let by_both = Reference::parse(&format!("{}@{digest}", bench.name())).expect("a name");
    let image = bench.puller.pull(&by_both, None, &Progress::default()).await.expect("pulled");
    assert_eq!(image.id, old.0.id);
    let named = bench.store.find(&bench.name()).expect("the tag has an image");
    assert_eq!(named.id.to_string(), new.config);
    assert_eq!(bench.store.find(&by_both.to_string()).expect("found by its digest").id, image.id);
}

#[tokio::test]
async fn content_may_be_named_by_sha512_and_by_nothing_else() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    bench.registry.name_by(Algorithm::Sha512);
    let stored = bench.put(&[large(1), large(2)]);
    assert!(stored.config.starts_with("sha512:") && stored.layers[1].starts_with("sha512:"));
    bench.registry.fail(&stored.layers[1], Fault::Wrong);
    let err = bench.pull().await.expect_err("it is another content");
    assert!(matches!(err, PullError::Blob { source: FetchError::Content(ContentError::Mismatch { .. }), .. }), "{err}");
    let image = bench.pull().await.expect("pulled");
    bench.is_whole(&image, &stored);
    let by_digest = Reference::parse(&format!("{}@{}", bench.name(), stored.manifest)).expect("a name");
    let again = bench.puller.pull(&by_digest, None, &Progress::default()).await.expect("pulled");
    assert_eq!(again.id, image.id);
    for text in [&by_digest.to_string(), &stored.config, image.id.hex(), &image.id.hex()[..12], &bench.name()] {
        assert_eq!(bench.store.find(text).expect("found").id, image.id, "{text}");
    }
    bench.store.collect(&BTreeSet::new()).expect("collected");
    bench.is_whole(&image, &stored);
    // It leaves and comes back under the same names.
    let mut archive = Vec::new();
    export(&bench.store, &[(again, vec![bench.name()])], &mut archive).expect("exported");
    let other = tempfile::tempdir().expect("a temporary directory");
    let other = ImageStore::open(other.path()).expect("opened");
    let imported = import(&other, std::io::Cursor::new(archive), None, Env::system().now()).expect("imported");
    assert_eq!((&imported[0].id, &imported[0].layers), (&image.id, &image.layers));
    let manifest = bench.registry.manifest("team/app", "1").expect("it is there");
    let manifest = String::from_utf8_lossy(&manifest).replace(&stored.config, &format!("md5:{}", "0".repeat(32)));
    bench.registry.put_manifest("team/app", "1", "application/vnd.oci.image.manifest.v1+json", manifest.into());
    let err = bench.pull().await.expect_err("nobody can check that");
    assert!(err.to_string().contains("not supported; sha256 and sha512 are"), "{err}");
}

#[tokio::test]
async fn what_could_not_go_while_another_image_came_can_go_afterwards() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    bench.put(&[large(1)]);
    let image = bench.pull().await.expect("pulled");
    let adding = bench.store.adding().await;
    bench.store.remove(&image.id).expect("removed");
    bench.store.collect(&BTreeSet::new()).expect("nothing fails");
    assert!(bench.store.content().contains(&image.layers[0].blob), "somebody may need it");
    drop(adding);
    tokio::time::timeout(Duration::from_secs(10), bench.store.postponed()).await.expect("it is told");
    bench.store.collect(&BTreeSet::new()).expect("removed");
    assert!(!bench.store.content().contains(&image.layers[0].blob));
}

#[tokio::test]
async fn faults_of_one_blob_are_overcome() {
    if !is_root() {
        return;
    }
    for (fault, resumes) in [
        (Fault::Stall(100_000), true),
        (Fault::Break(100_000), true),
        (Fault::Status(503, Some(0)), false),
        (Fault::Status(429, Some(0)), false),
        (Fault::Status(500, None), false),
    ] {
        let mut bench = Bench::start().await;
        if matches!(fault, Fault::Stall(_)) {
            // Short, for the sake of the test; nothing depends on how short.
            let patience = Patience { silence: Duration::from_secs(1), ..Patience::default() };
            (bench.store, bench.puller) = Bench::open(bench.dir.path(), patience);
        }
        let stored = bench.put(&[large(1), large(2), large(3), large(4)]);
        bench.registry.fail(&stored.layers[1], fault.clone());
        let image = bench.pull().await.unwrap_or_else(|err| panic!("{fault:?}: {err}"));
        bench.is_whole(&image, &stored);
        let seen = bench.registry.seen(&stored.layers[1]);
        // A slow machine may take more connections; what has come is not fetched again.
        assert!(seen.len() > 1, "{fault:?}");
        assert_eq!(seen[1].range.is_some(), resumes, "{fault:?}");
    }
}

#[tokio::test]
async fn a_part_is_gone_on_with_after_a_kill_and_a_bad_one_is_not_trusted() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::start().await;
    let stored = bench.put(&[large(1)]);
    for _ in 0..5 {
        bench.registry.fail(&stored.layers[0], Fault::Break(50_000));
    }
    // The connection ends at every piece; each brings something, so that it goes on until the blob is there.
    let image = bench.pull().await.expect("pulled");
    bench.is_whole(&image, &stored);
    let ranges: Vec<_> = bench.registry.seen(&stored.layers[0]).into_iter().map(|seen| seen.range).collect();
    assert!(ranges.len() == 6 && ranges[1..].iter().all(Option::is_some), "{ranges:?}");

    let digest = Digest::parse(&stored.layers[0]).expect("a digest");
    let whole = bench.store.content().read(&digest).expect("read");
    for (part, ranges) in [
        (&whole[..70_000], vec![Some("bytes=70000-".to_owned())]),
        (&[0_u8; 70_000][..], vec![Some("bytes=70000-".to_owned()), None]),
    ] {
        fs::remove_dir_all(bench.dir.path().join("data")).expect("removed");
        let incoming = bench.dir.path().join("data/content/incoming");
        fs::create_dir_all(&incoming).expect("made");
        fs::write(incoming.join(format!("{}.part", digest.hex())), part).expect("written");
        bench.restart();
        let before = bench.registry.seen(&stored.layers[0]).len();
        let image = bench.pull().await.expect("pulled");
        bench.is_whole(&image, &stored);
        let seen: Vec<_> =
            bench.registry.seen(&stored.layers[0])[before..].iter().map(|seen| seen.range.clone()).collect();
        assert_eq!(seen, ranges);
    }
}

#[tokio::test]
async fn a_layer_is_unpacked_while_it_comes_and_seen_when_it_is_whole() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::start().await;
    // How long the second half takes to come.
    let patience = Patience { silence: Duration::from_secs(2), ..Patience::default() };
    (bench.store, bench.puller) = Bench::open(bench.dir.path(), patience);
    let filler = vec![7; 400_000];
    let upper = layer(&[("first", b"1"), ("filler", &filler), ("last", b"2")]);
    let stored = bench.put(&[large(1), upper]);
    bench.registry.fail(&stored.layers[1], Fault::Stall(350_000));
    let layers = bench.dir.path().join("data/layers");
    let unpacking = |name: &str| {
        let dirs = fs::read_dir(&layers).into_iter().flatten().flatten().map(|entry| entry.path());
        dirs.filter(|dir| dir.to_string_lossy().ends_with(".new")).any(|dir| dir.join("fs").join(name).exists())
    };
    let mut pull = pin!(bench.pull());
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while !unpacking("first") {
        tokio::select! {
            pulled = &mut pull => panic!("nothing was unpacked before all had come: {:?}", pulled.map(|image| image.id.clone())),
            _ = ticks.tick() => {}
        }
    }
    assert_eq!(bench.registry.seen(&stored.layers[1]).len(), 1, "the rest has not come");
    assert!(!unpacking("last"));
    let done = disk::list_dirs(&layers).expect("listed").into_iter().filter(|name| !name.ends_with(".new")).count();
    assert_eq!(done, 1, "the lower layer alone is there");
    let image = pull.await.expect("pulled");
    bench.is_whole(&image, &stored);
    assert!(bench.store.layers().root(&image.unpacked[1]).join("last").exists());
    assert_eq!(disk::list_dirs(&layers).expect("listed").len(), 2);
}

#[tokio::test]
async fn a_layer_that_came_wrong_is_nowhere() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let stored = bench.put(&[large(1)]);
    bench.registry.fail(&stored.layers[0], Fault::Wrong);
    let err = bench.pull().await.expect_err("it is another content");
    assert!(matches!(err, PullError::Blob { source: FetchError::Content(ContentError::Mismatch { .. }), .. }), "{err}");
    let listed = |dir: &str| disk::list_dirs(&bench.dir.path().join("data").join(dir)).expect("listed");
    assert_eq!(listed("layers"), Vec::<String>::new());
    let image = bench.pull().await.expect("pulled");
    bench.is_whole(&image, &stored);
}

#[tokio::test]
async fn one_registry_that_says_nothing_takes_no_turns_of_another() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let silent = FakeRegistry::start().await;
    // More blobs than there are turns, of which each waits for a minute.
    let images = ALL_PARALLEL_BLOBS / PARALLEL_BLOBS + 1;
    for number in 0..images {
        let layers: Vec<_> = (0..PARALLEL_BLOBS).map(|layer| large((number * PARALLEL_BLOBS + layer) as u8)).collect();
        let stored = silent.put_image("team/app", &number.to_string(), &layers, plain);
        stored.layers.iter().for_each(|layer| silent.fail(layer, Fault::Stall(1000)));
    }
    let names: Vec<_> = (0..images).map(|number| format!("{}/team/app:{number}", silent.address)).collect();
    let progress = Progress::default();
    let pulls = names.iter().map(|name| {
        let reference = Reference::parse(name).expect("a name");
        let (puller, progress) = (&bench.puller, &progress);
        async move { puller.pull(&reference, None, progress).await }
    });
    let mut pulls = pin!(futures::future::join_all(pulls));
    let all_wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while blobs_asked(&silent) < ALL_PARALLEL_BLOBS {
            ticks.tick().await;
        }
    };
    tokio::select! {
        _ = &mut pulls => panic!("the registry says nothing"),
        waiting = tokio::time::timeout(Duration::from_secs(60), all_wait) => waiting.expect("in time"),
    }
    let stored = bench.put(&[large(200)]);
    tokio::select! {
        _ = &mut pulls => panic!("the registry says nothing"),
        image = bench.pull() => assert_eq!(image.expect("pulled").id.to_string(), stored.config),
    }
}

#[tokio::test]
async fn a_registry_that_drips_is_not_waited_for_and_what_came_is_kept() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::start().await;
    // Short, for the sake of the test; nothing depends on how short.
    let pace = Pace { bytes: 10_000, within: Duration::from_secs(1) };
    (bench.store, bench.puller) = Bench::open(bench.dir.path(), Patience { pace, ..Patience::default() });
    let stored = bench.put(&[large(1)]);
    bench.registry.fail("manifests", Fault::Drip);
    let err = bench.pull().await.expect_err("the manifest does not come").to_string();
    assert!(err.contains("the registry is too slow: ") && err.contains("/v2/team/app/manifests/1"), "{err}");
    bench.registry.fail(&stored.layers[0], Fault::Drip);
    let err = bench.pull().await.expect_err("the layer does not come").to_string();
    assert!(err.contains("the registry is too slow: ") && err.contains(&stored.layers[0]), "{err}");
    assert!(bench.store.list().is_empty());
    let image = bench.pull().await.expect("pulled");
    bench.is_whole(&image, &stored);
    let seen = bench.registry.seen(&stored.layers[0]);
    assert!(seen.len() == 2 && seen[1].range.is_some(), "{seen:?}");
}

#[tokio::test]
async fn a_registry_that_says_nothing_twice_is_told_of() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::start().await;
    // Short, for the sake of the test; nothing depends on how short.
    let patience = Patience { silence: Duration::from_secs(1), ..Patience::default() };
    (bench.store, bench.puller) = Bench::open(bench.dir.path(), patience);
    let stored = bench.put(&[large(1)]);
    (0..2).for_each(|_| bench.registry.fail(&stored.layers[0], Fault::Stall(0)));
    let err = bench.pull().await.expect_err("the layer does not come").to_string();
    assert!(err.contains("the registry is silent: ") && err.contains(&stored.layers[0]), "{err}");
    let image = bench.pull().await.expect("pulled");
    bench.is_whole(&image, &stored);
}

/// How many layers a registry was asked for.
fn blobs_asked(registry: &FakeRegistry) -> usize {
    let lines = registry.seen("/blobs/").into_iter().map(|seen| seen.line);
    // Each image has a configuration too.
    let configs = registry.seen("manifests").len();
    lines.count().saturating_sub(configs)
}

/// A small disk in place of the big one, as long as it lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(place: &Path, options: &std::ffi::CStr) -> Self {
        fs::create_dir_all(place).expect("made");
        rustix::mount::mount("small", place, "tmpfs", rustix::mount::MountFlags::empty(), options).expect("mounted");
        Self(place.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
    }
}

#[tokio::test]
async fn a_part_for_which_there_is_no_room_goes() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::start().await;
    let disk = SmallDisk::mount(&bench.dir.path().join("data"), c"size=256k");
    bench.restart();
    let stored = bench.put(&[large(1)]);
    let err = bench.pull().await.expect_err("it is larger than the disk");
    assert!(err.to_string().contains("No space left on device") && err.to_string().contains("data/content"), "{err}");
    assert!(err.to_string().contains(&stored.layers[0]), "{err}");
    let incoming = bench.dir.path().join("data/content/incoming");
    assert_eq!(fs::read_dir(incoming).expect("listed").count(), 0);
    rustix::mount::mount_remount(&disk.0, rustix::mount::MountFlags::empty(), c"size=8m").expect("enlarged");
    let image = bench.pull().await.expect("there is room");
    bench.is_whole(&image, &stored);
    bench.restart();
    drop(disk);
}

#[tokio::test]
async fn a_registry_without_ranges_sends_all_again() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let stored = bench.put(&[large(1)]);
    bench.registry.fail(&stored.layers[0], Fault::Break(90_000));
    bench.registry.fail(&stored.layers[0], Fault::NoRange);
    let image = bench.pull().await.expect("pulled");
    bench.is_whole(&image, &stored);
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_is_refused() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let stored = bench.put(&[large(1)]);
    bench.registry.fail(&stored.layers[0], Fault::Wrong);
    let err = bench.pull().await.expect_err("another blob came");
    assert!(err.to_string().contains("expected"), "{err}");
    assert!(bench.store.list().is_empty());
    bench.pull().await.expect("the next time it is right");
    let by_digest = format!("{}/team/app@{}", bench.registry.address, stored.manifest);
    let reference = Reference::parse(&by_digest).expect("a name");
    bench.registry.fail("manifests", Fault::Wrong);
    let err = bench.puller.pull(&reference, None, &Progress::default()).await.expect_err("another manifest came");
    assert!(err.to_string().contains("digest"), "{err}");
    let image = bench.puller.pull(&reference, None, &Progress::default()).await.expect("pulled");
    assert!(image.digests.contains(&by_digest), "{:?}", image.digests);
}

#[tokio::test]
async fn what_is_missing_or_no_image_is_told() {
    let bench = Bench::start().await;
    let err = bench.pull().await.expect_err("there is none");
    assert!(matches!(err, PullError::NotFound { .. }), "{err}");
    assert!(err.to_string().ends_with("/team/app:1: not found"), "{err}");
    let chart = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": [],
    });
    bench.registry.put_manifest("team/app", "1", MANIFEST_TYPES[2], chart.to_string().into_bytes());
    let err = bench.pull().await.expect_err("it is a chart");
    assert!(err.to_string().contains("helm"), "{err}");
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST_TYPES[2], "digest": digest(b"x"), "size": 1,
        "platform": {"os": "linux", "architecture": "z80"},
    }]});
    bench.registry.put_manifest("team/app", "1", MANIFEST_TYPES[0], index.to_string().into_bytes());
    let err = bench.pull().await.expect_err("it is for another machine");
    assert!(err.to_string().contains("no match for platform linux/"), "{err}");
}

#[tokio::test]
async fn indexes_lead_to_this_machine_and_give_the_image_their_digest() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let stored = bench.put(&[zstd::encode_all(&large(1)[..], 1).expect("packed")]);
    // Compressed layers have other digests than the configuration names, so the image above is none.
    assert!(bench.pull().await.is_err());
    for pack in [
        |plain: &[u8]| zstd::encode_all(plain, 1).expect("packed"),
        |plain: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, plain).expect("packed");
            gzip.finish().expect("packed")
        },
    ] {
        let image = bench.registry.put_image("team/app", "one", &[large(5), large(6)], pack);
        let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
        let entry = |digest: &str, architecture: &str| json!({"mediaType": MANIFEST_TYPES[2], "digest": digest, "size": 1, "platform": platform(architecture)});
        let own = crate::image::platform::architecture();
        let index =
            json!({"schemaVersion": 2, "manifests": [entry(&stored.manifest, "z80"), entry(&image.manifest, own)]});
        let top = bench.registry.put_manifest("team/app", "1", MANIFEST_TYPES[0], index.to_string().into_bytes());
        let pulled = bench.pull().await.expect("pulled");
        bench.is_whole(&pulled, &image);
        assert!(pulled.digests.contains(&format!("{}/team/app@{top}", bench.registry.address)));
    }
}

#[tokio::test]
async fn credentials_open_doors() {
    if !is_root() {
        return;
    }
    let bearer = Door::Bearer { password: ("me", "pw"), identity: "id-1" };
    let identity = Some(cri::AuthConfig { identity_token: "id-1".to_owned(), ..Default::default() });
    for (door, auth) in [
        (Door::Basic("me", "pw"), password("me", "pw")),
        (bearer.clone(), password("me", "pw")),
        (bearer.clone(), identity),
    ] {
        let bench = Bench::start().await;
        let stored = bench.put(&[large(1)]);
        bench.registry.close(door.clone());
        for wrong in [None, password("me", "no")] {
            let err = bench.pull_as(wrong).await.expect_err("it is closed");
            assert!(matches!(err, PullError::Denied { .. }), "{door:?}: {err}");
            assert!(err.to_string().contains("pull access denied"), "{err}");
        }
        let image = bench.pull_as(auth).await.unwrap_or_else(|err| panic!("{door:?}: {err}"));
        bench.is_whole(&image, &stored);
    }
}

#[tokio::test]
async fn mirrors_are_asked_first_and_get_no_credentials() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let mirror = FakeRegistry::start().await;
    bench.settings("r.example", &format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\nheader = {{x-who = \"skiff\"}}\n",
        bench.registry.address, mirror.address,
    ));
    let stored = bench.put(&[large(1), large(2)]);
    bench.registry.close(Door::Basic("me", "pw"));
    // The mirror has the manifest and one of the layers.
    let text = bench.registry.manifest("team/app", "1").expect("it is there");
    mirror.put_manifest("team/app", "1", MANIFEST_TYPES[2], text.to_vec());
    mirror.put_blob(bench.registry.blob(&stored.layers[0]).expect("it is there").to_vec());
    let reference = Reference::parse("r.example/team/app:1").expect("a name");
    let auth = password("me", "pw");
    let image = bench.puller.pull(&reference, auth.as_ref(), &Progress::default()).await.expect("pulled");
    bench.is_whole(&image, &stored);
    assert!(image.tags.contains("r.example/team/app:1"));
    let asked = mirror.seen("");
    assert!(asked.iter().all(|seen| seen.authorization.is_none() && seen.line.contains("ns=r.example")), "{asked:?}");
    assert!(asked.iter().all(|seen| seen.headers.get("x-who").is_some()), "{asked:?}");
    assert!(bench.registry.seen("manifests").is_empty() && bench.registry.seen(&stored.layers[0]).is_empty());
    assert!(!bench.registry.seen(&stored.layers[1]).is_empty());
}

#[tokio::test]
async fn redirects_keep_credentials_to_their_host() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let elsewhere = FakeRegistry::start().await;
    let stored = bench.put(&[large(1)]);
    bench.registry.close(Door::Basic("me", "pw"));
    elsewhere.put_blob(bench.registry.blob(&stored.layers[0]).expect("it is there").to_vec());
    // A name is another host than a number, wherever both lead.
    let address = elsewhere.address.replace("127.0.0.1", "localhost");
    bench
        .registry
        .fail(&stored.layers[0], Fault::Redirect(format!("http://{address}/v2/x/blobs/{}", stored.layers[0])));
    let image = bench.pull_as(password("me", "pw")).await.expect("pulled");
    bench.is_whole(&image, &stored);
    let seen = elsewhere.seen("");
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[tokio::test]
async fn damage_on_the_disk_is_found_when_an_image_is_pulled_again() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::start().await;
    let stored = bench.put(&[large(1), large(2)]);
    let image = bench.pull().await.expect("pulled");
    bench.store.remove(&image.id).expect("forgotten");
    fs::remove_dir_all(bench.dir.path().join("data/layers")).expect("removed");
    bench.restart();
    for blob in [&stored.config, &stored.layers[1], &stored.manifest] {
        let path = bench.store.content().path(&Digest::parse(blob).expect("a digest"));
        let mut bytes = fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&path, bytes).expect("damaged");
    }
    let image = bench.pull().await.expect("what is damaged is fetched again");
    bench.is_whole(&image, &stored);
    assert_eq!(bench.registry.seen(&stored.layers[0]).len(), 1);
    assert_eq!(bench.registry.seen(&stored.layers[1]).len(), 2);
}

#[tokio::test]
async fn a_layer_whose_archive_was_damaged_is_compared_with_the_one_that_comes_again() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let stored = bench.put(&[large(1), large(2)]);
    let image = bench.pull().await.expect("pulled");
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).expect("read");
        bytes[70_000] ^= 1;
        fs::write(path, bytes).expect("damaged");
    };
    let root = bench.store.layers().root(&image.unpacked[1]);
    let whole = fs::read(root.join("file-2")).expect("read");
    flip(&root.join("file-2"));
    assert_eq!(bench.store.check(&image).expect("checked"), Health::Repaired(1));
    assert_eq!(bench.store.check(&image).expect("checked"), Health::Whole);
    flip(&root.join("file-2"));
    flip(&bench.store.content().path(&Digest::parse(&stored.layers[1]).expect("a digest")));
    assert_eq!(bench.store.check(&image).expect("checked"), Health::Forgotten);
    let image = bench.pull().await.expect("pulled again");
    bench.is_whole(&image, &stored);
    assert!(fs::read(root.join("file-2")).expect("read") == whole, "the damaged file is still there");
    assert_eq!(bench.store.check(&image).expect("checked"), Health::Whole);
}

#[tokio::test]
async fn an_image_goes_to_another_registry_and_to_an_archive() {
    if !is_root() {
        return;
    }
    let bench = Bench::start().await;
    let other = FakeRegistry::start().await;
    other.close(Door::Bearer { password: ("me", "pw"), identity: "id-1" });
    let stored = bench.put(&[large(1), large(2)]);
    let image = bench.pull().await.expect("pulled");
    let reference = Reference::parse(&format!("{}/copy:2", other.address)).expect("a name");
    let push = async |auth: Option<cri::AuthConfig>| {
        let registry = bench.puller.registry(&reference, auth.as_ref()).expect("opened");
        crate::image::push(&bench.store, &registry, &reference, &image, &Progress::default()).await
    };
    let err = push(None).await.expect_err("it is closed");
    assert!(err.to_string().contains("authorization failed"), "{err}");
    for _ in 0..2 {
        let digest = push(password("me", "pw")).await.expect("pushed");
        assert_eq!(digest.to_string(), stored.manifest);
    }
    assert!(other.manifest("copy", "2").is_some());
    for blob in stored.layers.iter().chain([&stored.config]) {
        assert_eq!(other.blob(blob), bench.registry.blob(blob));
        assert_eq!(other.seen(&format!("digest={}", blob.replace(':', "%3A"))).len(), 1, "once is enough");
    }
    let names = vec!["r.io/a:1".to_owned(), "r.io/b:2".to_owned()];
    let mut archive = Vec::new();
    crate::image::export(&bench.store, &[(image.clone(), names.clone())], &mut archive).expect("exported");
    let (store, _) = Bench::open(&bench.dir.path().join("other"), Patience::default());
    let imported = crate::image::import(&store, &archive[..], None, Env::system().now()).expect("imported");
    assert_eq!(imported.len(), 1);
    let found = store.find("r.io/b:2").expect("it is here");
    assert_eq!((&found.id, found.tags.iter().cloned().collect::<Vec<_>>()), (&image.id, names));
    assert_eq!((&found.manifest, &found.layers), (&image.manifest, &image.layers));
    assert!(found.imported && !image.imported);
    // A name that only an archive brought keeps an image that can be pulled under another.
    for (names, pinned) in [(vec![bench.name()], false), (vec!["r.io/a:1".to_owned()], true)] {
        let mut archive = Vec::new();
        crate::image::export(&bench.store, &[(image.clone(), names)], &mut archive).expect("exported");
        crate::image::import(&bench.store, &archive[..], None, Env::system().now()).expect("imported");
        assert_eq!(bench.pull().await.expect("pulled").imported, pinned);
    }
}

/// An authority with a certificate for `localhost`, in PEM: the authority's, the certificate and its key.
struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self { issuer: rcgen::CertifiedIssuer::self_signed(parameters, key).expect("an authority") }
    }

    fn issue(&self) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (parameters.signed_by(&key, &*self.issuer).expect("a certificate"), key)
    }

    /// How a server of this authority speaks, which may let in only clients of the authority.
    fn server(&self, only_clients: bool) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.issue();
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = if only_clients {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.issuer.der().clone()).expect("an authority");
            let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(clients.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        builder.with_single_cert(vec![certificate.der().clone()], key.into()).expect("a configuration")
    }
}

#[tokio::test]
async fn registries_are_trusted_as_their_settings_say() {
    if !is_root() {
        return;
    }
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let ca = "ca = \"ca.pem\"\n";
    // One on this machine is trusted as it is, if nothing is said of it.
    let registry = FakeRegistry::start_with_tls(authority.server(false)).await;
    registry.put_image("team/app", "1", &[large(1)], plain);
    let reference = Reference::parse(&format!("{}/team/app:1", registry.address)).expect("a name");
    let bench = Bench::start().await;
    bench.puller.pull(&reference, None, &Progress::default()).await.expect("pulled");
    for (only_clients, settings, trusted) in [
        (false, "", false),
        (false, ca, true),
        (false, "skip_verify = true\n", true),
        (true, ca, false),
        (true, "ca = [\"ca.pem\"]\nclient = [[\"client.pem\", \"client.key\"]]\n", true),
    ] {
        let bench = Bench::start().await;
        let registry = FakeRegistry::start_with_tls(authority.server(only_clients)).await;
        registry.put_image("team/app", "1", &[large(1)], plain);
        let address = &registry.address;
        bench.settings(address, &format!("server = \"https://{address}\"\n{settings}"));
        let dir = bench.dir.path().join("certs.d").join(address);
        fs::write(dir.join("ca.pem"), authority.issuer.pem()).expect("written");
        fs::write(dir.join("client.pem"), certificate.pem()).expect("written");
        fs::write(dir.join("client.key"), key.serialize_pem()).expect("written");
        let reference = Reference::parse(&format!("{address}/team/app:1")).expect("a name");
        let pulled = bench.puller.pull(&reference, None, &Progress::default()).await;
        assert_eq!(pulled.is_ok(), trusted, "{settings:?}: {:?}", pulled.err());
    }
}
