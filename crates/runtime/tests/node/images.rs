//! Images from archives and registries.

use std::path::Path;
use std::time::{Duration, Instant};

use cri::{ImageSpec, ListImagesRequest, PullImageRequest};
use skiff_runtime::image::archive::ImageOptions;
use tokio::io::AsyncReadExt;

use crate::registry::Registry;
use crate::skip_without_privileges;
use crate::support::{Host, IMAGE, archive, container, eventually, strings};

fn spec(name: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: name.to_owned(), ..Default::default() })
}

#[tokio::test]
async fn an_archive_becomes_an_image_and_goes_again() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    let options = ImageOptions {
        entrypoint: strings(&["/bin/echo"]),
        cmd: strings(&["from", "cmd"]),
        env: strings(&["A=b"]),
        user: Some("web".to_owned()),
        working_dir: Some("/srv/x".to_owned()),
        ..Default::default()
    };
    let imported = host.import("busybox:1", options).await;
    assert_eq!(imported[0].names, ["docker.io/library/busybox:1"]);
    let images = host.images.list_images(ListImagesRequest { filter: None }).await.expect("listed").into_inner().images;
    let [image] = images.as_slice() else { panic!("one image, not {images:?}") };
    assert_eq!(
        (image.repo_tags.as_slice(), image.username.as_str()),
        (&["docker.io/library/busybox:1".to_owned()][..], "web")
    );
    assert!(image.size > 100_000 && image.repo_digests.len() == 1);
    for name in ["busybox:1", "docker.io/library/busybox:1", &image.id, &image.repo_digests[0]] {
        let status = host.images.image_status(cri::ImageStatusRequest { image: spec(name), verbose: false }).await;
        assert_eq!(
            status.expect("answered").into_inner().image.map(|found| found.id),
            Some(image.id.clone()),
            "{name}"
        );
    }
    let sandbox = host.sandbox("image").await;
    let mut config = container(&sandbox.1, "c", "");
    config.image = spec(&image.id);
    config.command = Vec::new();
    let id = host.run(&sandbox, config.clone()).await;
    host.log_with("c", "stdout F from cmd").await;
    let status = host.exited(&id).await;
    assert_eq!((status.image_id, status.image_ref), (image.id.clone(), image.repo_digests[0].clone()));
    let usage = host.images.image_fs_info(cri::ImageFsInfoRequest {}).await.expect("answered").into_inner();
    let used = usage.image_filesystems[0].used_bytes.as_ref().map(|used| used.value);
    assert!(used.is_some_and(|used| used > 1_000_000), "{used:?}");
    // The container keeps the layers that it stands on.
    for _ in 0..2 {
        host.images.remove_image(cri::RemoveImageRequest { image: spec("busybox:1") }).await.expect("removed");
    }
    let layers = host.path("data/runtime/layers");
    let count = |path: &Path| std::fs::read_dir(path).expect("readable").count();
    assert_eq!((count(&layers), count(&host.path("data/runtime/content/sha256"))), (1, 0));
    config.metadata = Some(cri::ContainerMetadata { name: "again".to_owned(), attempt: 0 });
    let err = host.create(&sandbox, config).await.expect_err("there is no image any more");
    assert_eq!(err.code(), cri::Code::NotFound);
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    skip_without_privileges!();
    let host = Host::start().await;
    let images = skiff_runtime::Images::new(&host.path("run/cri.sock"));
    let err = images.import(&b"nonsense"[..], None).await.expect_err("it is no archive");
    assert!(err.to_string().contains("archive"), "{err}");
    let err = images.import(&b""[..], Some("NO")).await.expect_err("it is no name");
    assert!(err.to_string().contains("couldn't parse image name"), "{err}");
}

#[tokio::test]
async fn archives_leave_and_come_back_and_what_came_so_is_kept() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let images = skiff_runtime::Images::new(&host.path("run/cri.sock"));
    let mut archive = Vec::new();
    let size = images.export(&[IMAGE.to_owned()], &mut archive).await.expect("exported");
    assert_eq!(size, archive.len() as u64);
    assert!(images.export(&["nobody".to_owned()], Vec::new()).await.is_err());
    let listed = async |host: &mut Host| {
        host.images.list_images(ListImagesRequest { filter: None }).await.expect("listed").into_inner().images
    };
    assert!(listed(&mut host).await[0].pinned);
    assert!(images.prune(false).await.expect("nothing is unused that can be had again").is_empty());
    assert_eq!(images.prune(true).await.expect("all may go").len(), 1);
    assert!(listed(&mut host).await.is_empty());
    // What lies on the node is imported at the start.
    std::fs::create_dir_all(host.path("data/images")).expect("made");
    std::fs::write(host.path("data/images/busybox.tar"), &archive).expect("written");
    host.kill();
    host.restart().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let found = loop {
        let found = listed(&mut host).await;
        if !found.is_empty() {
            break found;
        }
        assert!(Instant::now() < deadline, "the archive is not imported");
        ticks.tick().await;
    };
    assert_eq!(found[0].repo_tags, [IMAGE]);
    // What somebody removed does not return with the next start.
    let remove = cri::RemoveImageRequest { image: spec(&found[0].id) };
    host.images.remove_image(remove).await.expect("removed");
    host.kill();
    host.restart().await;
    // A pull waits for what is imported.
    let none = PullImageRequest { image: spec("127.0.0.1:1/none:1"), ..Default::default() };
    host.images.pull_image(none).await.expect_err("nobody is there");
    assert!(listed(&mut host).await.is_empty());
}

#[tokio::test]
async fn damage_is_mended_when_containers_fail_of_it() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("damage").await;
    let layers: Vec<_> = std::fs::read_dir(host.path("data/runtime/layers")).expect("readable").flatten().collect();
    let busybox = layers[0].path().join("fs/bin/busybox");
    let whole = std::fs::read(&busybox).expect("readable");
    let mut flipped = whole.clone();
    // The beginning says what kind of file it is: the kernel does not take it for a program any more.
    flipped[0] ^= 0x40;
    std::fs::write(&busybox, &flipped).expect("damaged");
    let id = host.create(&sandbox, container(&sandbox.1, "c", "true")).await.expect("the container is made");
    let started = host.start_container(&id).await;
    if started.is_ok() {
        assert_ne!(host.exited(&id).await.exit_code, 0);
    }
    eventually("the file is as it was", || (std::fs::read(&busybox).ok()? == whole).then_some(())).await;
    let again = host.run(&sandbox, container(&sandbox.1, "again", "true")).await;
    assert_eq!(host.exited(&again).await.exit_code, 0);
}

#[tokio::test]
async fn an_image_is_pulled_from_a_registry() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    let Some(registry) = Registry::start(host.dir()).await else { return };
    let options = ImageOptions { cmd: strings(&["/bin/echo", "pulled"]), ..Default::default() };
    registry.push(&archive(host.dir(), IMAGE, &options), "team/app:1");
    let name = format!("{}/team/app:1", registry.address);
    let pull = PullImageRequest { image: spec(&name), ..Default::default() };
    let (first, second) = tokio::join!(async { host.images.clone().pull_image(pull.clone()).await }, async {
        host.images.clone().pull_image(pull.clone()).await
    },);
    let image_ref = first.expect("pulled").into_inner().image_ref;
    assert_eq!(second.expect("pulled").into_inner().image_ref, image_ref);
    let status = host.images.image_status(cri::ImageStatusRequest { image: spec(&name), verbose: true }).await;
    let image = status.expect("answered").into_inner().image.expect("it is here");
    assert_eq!((image.id.as_str(), image.repo_tags.as_slice()), (image_ref.as_str(), &[name.clone()][..]));
    assert!(image.repo_digests[0].starts_with(&format!("{}/team/app@sha256:", registry.address)));
    let sandbox = host.sandbox("pulled").await;
    let mut config = container(&sandbox.1, "c", "");
    (config.image, config.command) = (spec(&image_ref), Vec::new());
    host.run(&sandbox, config).await;
    host.log_with("c", "stdout F pulled").await;
    let missing = PullImageRequest { image: spec(&format!("{}/team/app:2", registry.address)), ..Default::default() };
    let err = host.images.pull_image(missing).await.expect_err("there is no such tag");
    assert_eq!(err.code(), cri::Code::NotFound, "{err}");
    drop(registry);
    let err = host.images.pull_image(pull).await.expect_err("nobody listens");
    assert_eq!(err.code(), cri::Code::Unavailable, "{err}");
    assert!(err.message().contains(&name), "{err}");
}

#[tokio::test]
async fn pruning_keeps_the_images_that_containers_mount() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    for name in ["localhost/mounted:1", "localhost/unused:1"] {
        host.import(name, ImageOptions { cmd: strings(&[name]), ..Default::default() }).await;
    }
    let sandbox = host.sandbox("prune").await;
    let mut config = container(&sandbox.1, "c", "true");
    let image = spec("localhost/mounted:1");
    config.mounts =
        vec![cri::Mount { container_path: "/image".to_owned(), image, readonly: true, ..Default::default() }];
    let id = host.create(&sandbox, config).await.expect("made");
    let images = skiff_runtime::Images::new(&host.path("run/cri.sock"));
    let pruned = async || {
        let pruned = images.prune(true).await.expect("pruned");
        let mut names: Vec<String> = pruned.into_iter().flat_map(|image| image.names).collect();
        names.sort();
        names
    };
    assert_eq!(pruned().await, ["localhost/unused:1"]);
    host.runtime.remove_container(cri::RemoveContainerRequest { container_id: id }).await.expect("removed");
    assert_eq!(pruned().await, [IMAGE, "localhost/mounted:1"]);
}

#[tokio::test]
async fn an_image_that_is_removed_during_an_export_goes_when_that_ends() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    // More than waits between the store and who reads it.
    let size: usize = 32 << 20;
    host.import_changed("localhost/large:1", ImageOptions::default(), |root| {
        std::fs::write(root.join("large"), vec![7; size]).expect("written");
    })
    .await;
    let blobs = host.path("data/runtime/content/sha256");
    let count = || std::fs::read_dir(&blobs).expect("readable").count();
    let before = count();
    assert!(before > 0);
    let (mut reader, writer) = tokio::io::duplex(1 << 10);
    let images = skiff_runtime::Images::new(&host.path("run/cri.sock"));
    let names = ["localhost/large:1".to_owned()];
    let reading = async {
        let mut first = [0];
        reader.read_exact(&mut first).await.expect("the archive begins");
        let request = cri::RemoveImageRequest { image: spec("localhost/large:1") };
        host.images.remove_image(request).await.expect("removed");
        let kept = count();
        let rest = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.expect("read");
        (kept, rest + 1)
    };
    let (exported, (kept, read)) = tokio::join!(images.export(&names, writer), reading);
    assert_eq!((exported.expect("exported"), kept), (read, before));
    assert!(read > size as u64, "{read}");
    eventually("the content to go", || (count() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_image_that_is_removed_while_a_container_is_made_of_it_leaves_that_whole() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    // What the image has at its volume is copied, which gives the removal its time.
    let volumes = strings(&["/data"]);
    let options = ImageOptions { cmd: strings(&["/bin/sh"]), volumes, ..Default::default() };
    host.import_changed(IMAGE, options, |root| {
        std::fs::create_dir(root.join("data")).expect("made");
        for number in 0..3000 {
            std::fs::write(root.join(format!("data/{number}")), "x").expect("written");
        }
    })
    .await;
    let sandbox = host.sandbox("race").await;
    let config = container(&sandbox.1, "c", "ls /data | tail -n 1; exit 7");
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: sandbox.0.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox.1.clone()),
    };
    let mut runtime = host.runtime.clone();
    let creating = tokio::spawn(async move { runtime.create_container(request).await });
    let containers = host.path("data/runtime/containers");
    let is_copying = || {
        let entry = std::fs::read_dir(&containers).ok()?.flatten().next()?;
        entry.path().join("volumes/0").exists().then_some(())
    };
    eventually("the copying to begin", is_copying).await;
    host.images.remove_image(cri::RemoveImageRequest { image: spec(IMAGE) }).await.expect("removed");
    let id = creating.await.expect("it ends").expect("the container is made").into_inner().container_id;
    host.start_container(&id).await.expect("it has all of its files");
    assert_eq!(host.exited(&id).await.exit_code, 7);
    // Its layer stays as long as it does, and no longer.
    let (layers, blobs) = (host.path("data/runtime/layers"), host.path("data/runtime/content/sha256"));
    let count = || [&layers, &blobs].map(|dir| std::fs::read_dir(dir).expect("readable").count());
    eventually("the blobs to go", || (count() == [1, 0]).then_some(())).await;
    host.runtime.remove_container(cri::RemoveContainerRequest { container_id: id }).await.expect("removed");
    eventually("the layer to go", || (count() == [0, 0]).then_some(())).await;
}
