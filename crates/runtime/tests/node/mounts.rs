//! Mounts: how far they propagate, what is read-only, paths of images.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use cri::{ContainerConfig, ImageSpec, LinuxContainerSecurityContext, Mount, MountPropagation};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};

use skiff_runtime::image::archive::ImageOptions;

use crate::skip_without_privileges;
use crate::support::{self, Host, container};

/// A mount of the test's that ends with it.
struct Mounted(PathBuf);

impl Mounted {
    /// A directory that is a shared mount of its own.
    fn shared(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("made");
        mount_bind(&dir, &dir).expect("bound");
        mount_change(&dir, MountPropagationFlags::SHARED).expect("shared");
        Self(dir)
    }

    /// An empty file system with one file.
    fn tmpfs(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("made");
        mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), None).expect("mounted");
        let mounted = Self(dir);
        fs::write(mounted.0.join("flag"), "").expect("written");
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What a container mounted below goes with it.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn bind(host: &Path, container: &str, change: impl FnOnce(&mut Mount)) -> Mount {
    let mut mount =
        Mount { host_path: host.display().to_string(), container_path: container.to_owned(), ..Default::default() };
    change(&mut mount);
    mount
}

fn privileged(config: &mut ContainerConfig) {
    let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    *context = LinuxContainerSecurityContext { privileged: true, ..context.clone() };
}

#[tokio::test]
async fn mounts_propagate_as_each_one_asks() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.privileged_sandbox("propagates").await;
    let volumes = host.path("volumes");
    let modes = [
        ("private", MountPropagation::PropagationPrivate, [false, false]),
        ("slave", MountPropagation::PropagationHostToContainer, [true, false]),
        ("shared", MountPropagation::PropagationBidirectional, [true, true]),
    ];
    let _shared: Vec<Mounted> = modes.iter().map(|(name, ..)| Mounted::shared(volumes.join(name))).collect();
    // Alone, and next to mounts that need more.
    for (number, together) in [1, 2, 3].into_iter().enumerate() {
        let mut config = container(&sandbox.1, &format!("c{number}"), "sleep 1000");
        privileged(&mut config);
        let wanted = |mount: &mut Mount, propagation: MountPropagation| mount.propagation = propagation.into();
        config.mounts = modes[..together]
            .iter()
            .map(|(name, propagation, _)| {
                bind(&volumes.join(name), &format!("/{name}"), |mount| wanted(mount, *propagation))
            })
            .collect();
        let id = host.run(&sandbox, config).await;
        for (name, _, [to_container, to_host]) in &modes[..together] {
            let volume = volumes.join(name);
            let from_host = Mounted::tmpfs(volume.join(format!("host{number}")));
            let (seen, ..) = host.exec(&id, &["/bin/ls", &format!("/{name}/host{number}")]).await;
            assert_eq!(seen.contains("flag"), *to_container, "{name} of {together}: {seen}");
            let script = format!(
                "busybox mkdir /{name}/container{number} && mount -t tmpfs x /{name}/container{number} && \
                 touch /{name}/container{number}/flag"
            );
            let (_, stderr, code) = host.exec(&id, &["/bin/sh", "-c", &script]).await;
            assert_eq!(code, 0, "{stderr}");
            let inner = volume.join(format!("container{number}"));
            assert_eq!(inner.join("flag").exists(), *to_host, "{name} of {together}");
            drop(from_host);
            if *to_host {
                drop(Mounted(inner));
            }
        }
        host.stop(&id, 0).await;
        host.runtime.remove_container(cri::RemoveContainerRequest { container_id: id }).await.expect("removed");
    }
    // Removing the containers left their sources alone.
    assert!(volumes.join("private/host0").is_dir());
    let own = Mounted::shared(host.path("own"));
    mount_change(&own.0, MountPropagationFlags::PRIVATE).expect("private");
    let mut config = container(&sandbox.1, "refused", "true");
    let shared = MountPropagation::PropagationBidirectional.into();
    config.mounts = vec![bind(&own.0, "/own", |mount| mount.propagation = shared)];
    let err = host.create(&sandbox, config).await.expect_err("nothing would propagate");
    assert!(err.message().contains("but it is not a shared mount"), "{err}");
}

#[tokio::test]
async fn read_only_may_go_all_the_way_down() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("read-only").await;
    let volume = host.path("volume");
    let _below = Mounted::tmpfs(volume.join("below"));
    let script = "for i in flat deep; do touch /$i/x 2>/dev/null || echo $i: no; \
                  touch /$i/below/x 2>/dev/null || echo $i/below: no; done; echo end";
    let mut config = container(&sandbox.1, "c", script);
    config.mounts = vec![
        bind(&volume, "/flat", |mount| mount.readonly = true),
        bind(&volume, "/deep", |mount| (mount.readonly, mount.recursive_read_only) = (true, true)),
    ];
    host.run(&sandbox, config).await;
    let log = support::messages(&host.log_with("c", "end").await);
    assert_eq!(log, ["stdout F flat: no", "stdout F deep: no", "stdout F deep/below: no", "stdout F end"]);
    let slave = MountPropagation::PropagationHostToContainer.into();
    let wrong: [fn(&mut Mount, i32); 2] = [
        |mount, _| mount.recursive_read_only = true,
        |mount, slave| (mount.readonly, mount.recursive_read_only, mount.propagation) = (true, true, slave),
    ];
    let _shared = Mounted::shared(host.path("shared"));
    for (number, change) in wrong.into_iter().enumerate() {
        let mut config = container(&sandbox.1, &format!("wrong{number}"), "true");
        config.mounts = vec![bind(&host.path("shared"), "/x", |mount| change(mount, slave))];
        let err = host.create(&sandbox, config).await.expect_err("it contradicts itself");
        assert_eq!(err.code(), cri::Code::InvalidArgument, "{err}");
    }
    let status = host.runtime.status(cri::StatusRequest { verbose: false }).await.expect("answered").into_inner();
    assert!(status.runtime_handlers[0].features.as_ref().is_some_and(|features| features.recursive_read_only_mounts));
}

#[tokio::test]
async fn volumes_of_an_image_are_each_containers_own() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    let volumes = support::strings(&["/data/", "/none/deep", "/link/below"]);
    let options = ImageOptions { cmd: support::strings(&["/bin/sh"]), volumes, ..Default::default() };
    host.import_changed(support::IMAGE, options, |root| {
        fs::create_dir_all(root.join("data/sub")).expect("made");
        fs::write(root.join("data/sub/kept"), "kept").expect("written");
        chown(root.join("data/sub"), Some(1000), Some(2000)).expect("given away");
        fs::set_permissions(root.join("data/sub/kept"), Permissions::from_mode(0o640)).expect("changed");
        symlink("sub/kept", root.join("data/link")).expect("linked");
        fs::create_dir_all(root.join("real/below")).expect("made");
        symlink("/real", root.join("link")).expect("linked");
    })
    .await;
    let sandbox = host.sandbox("volumes").await;
    let script = "touch /x || echo read-only; cat /data/link; echo; ls -lnd /data/sub; ls -l /data/sub | grep kept; \
                  echo mine > /data/mine; touch /real/below/x && ls /data; \
                  dd if=/dev/zero of=/none/deep/x bs=64k count=32 2>/dev/null; echo end; sleep 1000";
    for name in ["one", "two"] {
        let mut config = container(&sandbox.1, name, script);
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.readonly_rootfs = true;
        let id = host.run(&sandbox, config).await;
        let log = support::messages(&host.log_with(name, "F end").await);
        let log: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
        let [read_only, kept, sub, mode, others @ ..] = &log[..] else { panic!("{log:?}") };
        assert_eq!((*read_only, *kept, others), ("read-only", "kept", &["link", "mine", "sub", "end"][..]), "{name}");
        assert!(sub.contains("1000     2000"), "{sub}");
        assert!(mode.starts_with("-rw-r-----"), "{mode}");
        assert!(host.status(&id).await.mounts.is_empty(), "nobody asked for them");
        let request = cri::ContainerStatsRequest { container_id: id.clone() };
        let stats = host.runtime.container_stats(request).await.expect("answered").into_inner().stats;
        let written = stats.and_then(|stats| stats.writable_layer?.used_bytes).map(|bytes| bytes.value);
        assert!(written.is_some_and(|bytes| (2 << 20..4 << 20).contains(&bytes)), "{written:?}");
    }
    // Who mounts something there gets that.
    let own = host.path("own");
    fs::create_dir(&own).expect("made");
    fs::write(own.join("file"), "").expect("written");
    let mut config = container(&sandbox.1, "own", "ls /data; echo end; sleep 1000");
    config.mounts =
        vec![Mount { container_path: "/data".to_owned(), host_path: own.display().to_string(), ..Default::default() }];
    let id = host.run(&sandbox, config).await;
    assert_eq!(support::messages(&host.log_with("own", "end").await), ["stdout F file", "stdout F end"]);
    host.runtime.remove_container(cri::RemoveContainerRequest { container_id: id.clone() }).await.expect("removed");
    assert!(!host.path("data/runtime/containers").join(&id).exists() && own.join("file").exists());
}

#[tokio::test]
async fn paths_of_images_are_mounted_read_only() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("image-volumes").await;
    let image = |path: &str, sub_path: &str| Mount {
        container_path: path.to_owned(),
        image: Some(ImageSpec { image: support::IMAGE.to_owned(), ..Default::default() }),
        image_sub_path: sub_path.to_owned(),
        readonly: true,
        ..Default::default()
    };
    let script = "cat /etc-of-image/group; touch /etc-of-image/x || echo read-only; /whole/bin/busybox echo runs; \
                  cat /file; echo end; sleep 1000";
    let mut config = container(&sandbox.1, "c", script);
    config.mounts = vec![image("/etc-of-image", "etc"), image("/whole", ""), image("/file", "etc/../etc/passwd")];
    // Whoever is not root must find its way in as well.
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.run_as_user = Some(cri::Int64Value { value: 1000 });
    let id = host.run(&sandbox, config).await;
    let log = host.log_with("c", "end").await;
    for expected in ["extra:x:50:web", "stdout F read-only", "stdout F runs", "web:x:33:34"] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    let status = host.status(&id).await;
    let digests: Vec<&str> =
        status.mounts.iter().filter_map(|mount| Some(mount.image.as_ref()?.image_ref.as_str())).collect();
    assert_eq!(digests, [status.image_id.as_str(); 3]);
    let mut config = container(&sandbox.1, "nowhere", "true");
    config.mounts = vec![image("/x", "no/such")];
    let err = host.create(&sandbox, config).await.expect_err("there is no such path");
    assert!(err.message().contains("ImageVolumeMountFailed"), "{err}");
    let mut config = container(&sandbox.1, "writable", "true");
    config.mounts = vec![Mount { readonly: false, ..image("/x", "") }];
    let err = host.create(&sandbox, config).await.expect_err("images are not written to");
    assert_eq!(err.code(), cri::Code::InvalidArgument, "{err}");
}
