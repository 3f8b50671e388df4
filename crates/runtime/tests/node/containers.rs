//! Containers from their start to their end, seen through CRI.

use crate::skip_without_privileges;
use crate::support::{self, Host, container, messages};
use cri::{ContainerState, LinuxContainerResources};

#[tokio::test]
async fn a_container_runs_and_its_end_is_told() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("ends").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "echo out; echo err >&2; printf partial; exit 3")).await;
    let status = host.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at > 0 && status.finished_at >= status.started_at && status.created_at > 0);
    let mut log = messages(&host.log_with("c", "partial").await);
    log.sort();
    assert_eq!(log, ["stderr F err", "stdout F out", "stdout P partial"]);
    let id = host.run(&sandbox, container(&sandbox.1, "fine", "exit 0")).await;
    assert_eq!(host.exited(&id).await.reason, "Completed");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_with_its_name() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("no-program").await;
    let mut config = container(&sandbox.1, "c", "");
    config.command = support::strings(&["no-such-program"]);
    let id = host.create(&sandbox, config).await.expect("made");
    let err = host.start_container(&id).await.expect_err("there is no such program");
    assert!(err.message().contains("exec: \"no-such-program\": executable file not found in $PATH"), "{err}");
    let status = host.status(&id).await;
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 128));
    assert_eq!(status.reason, "StartError");
    let mut config = container(&sandbox.1, "text", "");
    config.command = support::strings(&["/etc/passwd"]);
    let id = host.create(&sandbox, config).await.expect("made");
    let err = host.start_container(&id).await.expect_err("it is no program");
    assert!(err.message().contains("permission denied"), "{err}");
}

#[tokio::test]
async fn the_surroundings_are_as_asked() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("surroundings").await;
    let mounted = host.path("mounted");
    std::fs::create_dir(&mounted).expect("made");
    std::fs::write(mounted.join("file"), "from outside\n").expect("written");
    let script = "echo $COLOR; pwd; id; cat /mnt/in/file; touch /mnt/in/x 2>/dev/null || echo read-only; \
                  cat /proc/1/comm; ls /proc/self/fd | head -n 3; echo end; sleep 100";
    let mut config = container(&sandbox.1, "c", script);
    config.working_dir = "/work/deep".to_owned();
    config.mounts = vec![cri::Mount {
        container_path: "/mnt/in".to_owned(),
        host_path: mounted.display().to_string(),
        readonly: true,
        ..Default::default()
    }];
    let linux = config.linux.as_mut().expect("set");
    let context = linux.security_context.as_mut().expect("set");
    context.run_as_username = "web".to_owned();
    let id = host.run(&sandbox, config).await;
    let log = messages(&host.log_with("c", "end").await);
    let lines: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("stdout F ")).collect();
    assert_eq!(&lines[..2], ["blue", "/work/deep"], "{log:?}");
    assert_eq!(lines[2], "uid=33(web) gid=34(web) groups=34(web),50(extra)");
    assert_eq!(&lines[3..6], ["from outside", "read-only", "sh"], "{log:?}");
    let status = host.status(&id).await;
    assert_eq!(status.user.and_then(|user| user.linux).map(|user| (user.uid, user.gid)), Some((33, 34)));
    assert_eq!(status.image.map(|image| image.image).as_deref(), Some(support::IMAGE));
    host.stop(&id, 0).await;
    assert_eq!(host.exited(&id).await.exit_code, 137);
}

#[tokio::test]
async fn stopping_asks_before_it_kills() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("stops").await;
    let script = "trap 'echo asked; exit 7' TERM; echo ready; while true; do sleep 0.05; done";
    let polite = host.run(&sandbox, container(&sandbox.1, "polite", script)).await;
    host.log_with("polite", "ready").await;
    host.stop(&polite, 20).await;
    assert_eq!(host.status(&polite).await.exit_code, 7);
    let script = "trap '' TERM; echo ready; while true; do sleep 0.05; done";
    let deaf = host.run(&sandbox, container(&sandbox.1, "deaf", script)).await;
    host.log_with("deaf", "ready").await;
    host.stop(&deaf, 1).await;
    assert_eq!(host.status(&deaf).await.exit_code, 137);
    // Again, and what is unknown: both are fine.
    host.stop(&deaf, 1).await;
    host.stop(&"0".repeat(64), 1).await;
}

#[tokio::test]
async fn commands_run_in_a_running_container() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("execs").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 100")).await;
    let result = host.exec(&id, &["/bin/sh", "-c", "echo $COLOR; echo no >&2; exit 4"]).await;
    assert_eq!(result, ("blue\n".to_owned(), "no\n".to_owned(), 4));
    let err = host.exec_sync(&id, &["nothing"], 5).await.expect_err("there is no such program");
    assert!(err.message().contains("executable file not found in $PATH"), "{err}");
    let err = host.exec_sync(&id, &["/bin/sleep", "60"], 1).await.expect_err("it takes too long");
    assert_eq!(err.code(), cri::Code::DeadlineExceeded);
    // A process in the background that keeps the pipe must not keep the caller.
    let (stdout, ..) = host.exec(&id, &["/bin/sh", "-c", "echo started; sleep 50 &"]).await;
    assert_eq!(stdout, "started\n");
    let (stdout, ..) = host.exec(&id, &["/bin/sh", "-c", "yes | head -n 20000"]).await;
    assert_eq!(stdout.len(), 40_000);
    host.stop(&id, 0).await;
    let err = host.exec_sync(&id, &["/bin/true"], 5).await.expect_err("it does not run");
    assert_eq!(err.code(), cri::Code::FailedPrecondition);
}

#[tokio::test]
async fn a_rotated_log_is_opened_anew() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("rotates").await;
    let id = host
        .run(
            &sandbox,
            container(
                &sandbox.1,
                "c",
                "echo first; cat /tmp/go; while ! test -e /go; do sleep 0.02; done; echo second; sleep 100",
            ),
        )
        .await;
    host.log_with("c", "first").await;
    let (old, new) = (host.path("log/c.log"), host.path("log/c.log.1"));
    std::fs::rename(&old, &new).expect("renamed");
    let request = cri::ReopenContainerLogRequest { container_id: id.clone() };
    host.runtime.reopen_container_log(request).await.expect("reopened");
    host.exec(&id, &["/bin/touch", "/go"]).await;
    let log = host.log_with("c", "second").await;
    assert!(!log.contains("first"), "{log}");
    assert!(!std::fs::read_to_string(&new).expect("the old log").contains("second"));
}

#[tokio::test]
async fn memory_is_limited_and_the_kill_is_told() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("eats").await;
    let mut config =
        container(&sandbox.1, "c", "x=$(dd if=/dev/zero bs=1M count=200 | tail -c 100000000); echo survived");
    let linux = config.linux.as_mut().expect("set");
    linux.resources = Some(LinuxContainerResources {
        memory_limit_in_bytes: 16 << 20,
        cpu_shares: 100,
        cpu_period: 100_000,
        cpu_quota: 100_000,
        oom_score_adj: 900,
        ..Default::default()
    });
    let id = host.run(&sandbox, config).await;
    let status = host.exited(&id).await;
    assert_eq!(status.reason, "OOMKilled", "{status:?}");
    let limit = status.resources.and_then(|resources| resources.linux).map(|linux| linux.memory_limit_in_bytes);
    assert_eq!(limit, Some(16 << 20));
}

#[tokio::test]
async fn retried_calls_make_one_thing() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("twice").await;
    assert_eq!(host.run_sandbox(&sandbox.1).await.expect("found"), sandbox.0);
    let config = container(&sandbox.1, "c", "true");
    let first = host.create(&sandbox, config.clone()).await.expect("made");
    assert_eq!(host.create(&sandbox, config).await.expect("found"), first);
    let other = host.create(&sandbox, container(&sandbox.1, "c", "false")).await.expect_err("it is another");
    assert_eq!(other.code(), cri::Code::AlreadyExists);
}

#[tokio::test]
async fn privileges_are_given_and_taken() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.privileged_sandbox("privileges").await;
    let script = "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; echo x > /x || echo refused; \
                  echo 1 > /proc/sys/kernel/domainname || echo masked; echo end";
    let mut config = container(&sandbox.1, "plain", script);
    let context = |config: &mut cri::ContainerConfig| {
        config.linux.get_or_insert_default().security_context.get_or_insert_default().clone()
    };
    let mut plain = context(&mut config);
    plain.readonly_rootfs = true;
    plain.no_new_privs = true;
    plain.capabilities = Some(cri::Capability {
        add_capabilities: support::strings(&["NET_ADMIN"]),
        drop_capabilities: support::strings(&["ALL"]),
        ..Default::default()
    });
    config.linux.as_mut().expect("set").security_context = Some(plain);
    host.run(&sandbox, config).await;
    let log = host.log_with("plain", "end").await;
    assert!(log.contains("CapEff:\t0000000000001000") && log.contains("NoNewPrivs:\t1"), "{log}");
    assert!(log.contains("refused") && log.contains("masked"), "{log}");
    let mut config =
        container(&sandbox.1, "privileged", "ls -d /dev/null /dev/kmsg; touch /sys/fs/cgroup/x 2>&1; echo end");
    let mut privileged = context(&mut config);
    privileged.privileged = true;
    config.linux.as_mut().expect("set").security_context = Some(privileged);
    config.devices = vec![cri::Device {
        container_path: "/dev/mine".to_owned(),
        host_path: "/dev/zero".to_owned(),
        permissions: "rw".to_owned(),
    }];
    let plain = host.sandbox("plain").await;
    let err = host.create(&plain, config.clone()).await.expect_err("its pod is not privileged");
    assert_eq!(err.code(), cri::Code::InvalidArgument, "{err}");
    assert!(err.message().contains("no privileged container allowed in sandbox"), "{err}");
    let id = host.run(&sandbox, config).await;
    host.log_with("privileged", "end").await;
    assert_eq!(host.exited(&id).await.exit_code, 0);
    let mut config = container(
        &sandbox.1,
        "device",
        "head -c 3 /dev/mine | tail -c 1 | grep -c . ; cat /dev/urandom | head -c 1 >/dev/mine; echo end",
    );
    config.devices = vec![cri::Device {
        container_path: "/dev/mine".to_owned(),
        host_path: "/dev/zero".to_owned(),
        permissions: "r".to_owned(),
    }];
    host.run(&sandbox, config).await;
    host.log_with("device", "end").await;
}

#[tokio::test]
async fn a_device_is_used_as_far_as_it_was_given() {
    skip_without_privileges!();
    if !std::path::Path::new("/dev/kmsg").exists() {
        return eprintln!("SKIPPED: no /dev/kmsg");
    }
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("devices").await;
    // The kernel's log may be opened to write by every root; only the cgroup keeps a container from it.
    let script = "mknod /node c 1 11 && echo made; (: > /node) 2>&1 && echo open; echo > /dev/null && echo end";
    for (name, permissions, expected) in
        [("none", "", "Operation not permitted"), ("read", "r", "Operation not permitted"), ("write", "w", "open")]
    {
        let mut config = container(&sandbox.1, name, script);
        if !permissions.is_empty() {
            config.devices = vec![cri::Device {
                container_path: "/dev/log".to_owned(),
                host_path: "/dev/kmsg".to_owned(),
                permissions: permissions.to_owned(),
            }];
        }
        host.run(&sandbox, config).await;
        let log = host.log_with(name, "end").await;
        assert!(log.contains("made") && log.contains(expected), "{name}: {log}");
    }
}

#[tokio::test]
async fn an_image_is_mounted_and_limits_change_while_it_runs() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("volumes").await;
    let mut config =
        container(&sandbox.1, "c", "cat /image/etc/group; touch /image/x || echo read-only; echo end; sleep 1000");
    config.mounts = vec![cri::Mount {
        container_path: "/image".to_owned(),
        image: Some(cri::ImageSpec { image: support::IMAGE.to_owned(), ..Default::default() }),
        readonly: true,
        ..Default::default()
    }];
    let id = host.run(&sandbox, config).await;
    let log = host.log_with("c", "end").await;
    assert!(log.contains("extra:x:50:web") && log.contains("read-only"), "{log}");
    let resources = LinuxContainerResources { memory_limit_in_bytes: 64 << 20, cpu_shares: 512, ..Default::default() };
    let update =
        cri::UpdateContainerResourcesRequest { container_id: id.clone(), linux: Some(resources), ..Default::default() };
    host.runtime.update_container_resources(update).await.expect("updated");
    let limits = host.status(&id).await.resources.and_then(|resources| resources.linux).expect("for Linux");
    assert_eq!((limits.memory_limit_in_bytes, limits.cpu_shares), (64 << 20, 512));
    let request = cri::ContainerStatsRequest { container_id: id.clone() };
    let stats = host.runtime.container_stats(request).await.expect("answered").into_inner().stats.expect("stats");
    let memory = stats.memory.expect("memory is accounted");
    let available = memory.available_bytes.map(|available| available.value).unwrap_or_default();
    assert!(available > 0 && available <= 64 << 20, "{available}");
    assert!(stats.cpu.is_some() && stats.writable_layer.is_some());
}

#[tokio::test]
async fn a_container_is_stopped_by_the_signal_that_it_names() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("signals").await;
    let mut config =
        container(&sandbox.1, "c", "trap 'echo by its signal; exit 7' USR1; echo up; while true; do sleep 0.02; done");
    config.stop_signal = cri::Signal::Sigusr1.into();
    let id = host.run(&sandbox, config).await;
    host.log_with("c", "up").await;
    assert_eq!(host.status(&id).await.stop_signal(), cri::Signal::Sigusr1);
    host.stop(&id, 30).await;
    assert_eq!(host.exited(&id).await.exit_code, 7);
    let id = host.create(&sandbox, container(&sandbox.1, "default", "true")).await.expect("made");
    assert_eq!(host.status(&id).await.stop_signal(), cri::Signal::Sigterm);
}

#[tokio::test]
async fn what_timed_out_is_gone() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("times-out").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "while true; do :; done")).await;
    let err = host.exec_sync(&id, &["/bin/sleep", "4321"], 1).await.expect_err("it takes too long");
    assert_eq!(err.code(), cri::Code::DeadlineExceeded);
    let (processes, ..) = host.exec(&id, &["/bin/ps"]).await;
    assert!(!processes.contains("4321"), "{processes}");
}

#[tokio::test]
async fn any_user_may_open_its_output_by_name() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("by-name").await;
    let script = "echo one > /dev/stdout; echo two > /dev/stderr; echo end; sleep 1000";
    let mut config = container(&sandbox.1, "c", script);
    let context = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("set");
    context.run_as_user = Some(cri::Int64Value { value: 33 });
    let id = host.run(&sandbox, config).await;
    let mut log = messages(&host.log_with("c", "end").await);
    log.sort();
    assert_eq!(log, ["stderr F two", "stdout F end", "stdout F one"]);
    let (stdout, ..) = host.exec(&id, &["/bin/sh", "-c", "echo three > /dev/stdout"]).await;
    assert_eq!(stdout, "three\n");
}

#[tokio::test]
async fn devices_of_vendors_are_given_as_they_describe_them() {
    skip_without_privileges!();
    let mut host = Host::start_with_cdi().await;
    host.import_busybox().await;
    let shared = host.path("shared");
    std::fs::write(&shared, "of the vendor\n").expect("written");
    let description = serde_json::json!({
        "cdiVersion": "0.6.0", "kind": "vendor.com/thing",
        "containerEdits": {"env": ["VENDOR=yes"]},
        "devices": [{"name": "one", "containerEdits": {
            "env": ["DEVICE=one"],
            "deviceNodes": [{"path": "/dev/thing0", "hostPath": "/dev/zero"}],
            "mounts": [{"hostPath": shared, "containerPath": "/vendor.txt", "options": ["bind", "ro"]}],
            "additionalGids": [77],
        }}],
    });
    std::fs::write(host.path("cdi/vendor.json"), description.to_string()).expect("written");
    let sandbox = host.sandbox("cdi").await;
    let script = "echo $VENDOR $DEVICE; cat /vendor.txt; head -c 3 /dev/thing0 | busybox wc -c; id -G; echo all told";
    let mut config = container(&sandbox.1, "c", script);
    config.cdi_devices = vec![cri::CdiDevice { name: "vendor.com/thing=one".to_owned() }];
    host.run(&sandbox, config).await;
    let log = messages(&host.log_with("c", "all told").await);
    assert_eq!(log[..3], ["stdout F yes one", "stdout F of the vendor", "stdout F 3"]);
    assert!(log[3].ends_with(" 77"), "{log:?}");
    // Older callers name them in annotations, which count if the field is empty.
    let mut config = container(&sandbox.1, "annotated", "echo $VENDOR $DEVICE; echo all told");
    let annotation = ("cdi.k8s.io/plugin_thing".to_owned(), "vendor.com/thing=one,vendor.com/thing=one".to_owned());
    config.annotations = [annotation].into();
    host.run(&sandbox, config.clone()).await;
    let log = messages(&host.log_with("annotated", "all told").await);
    assert_eq!(log, ["stdout F yes one", "stdout F all told"]);
    config.metadata = Some(cri::ContainerMetadata { name: "wrong".to_owned(), attempt: 0 });
    config.annotations = [("cdi.k8s.io/x".to_owned(), "thing".to_owned())].into();
    let err = host.create(&sandbox, config).await.expect_err("it is no name of a device");
    assert_eq!(err.code(), cri::Code::InvalidArgument, "{err}");
    assert!(err.message().contains("invalid CDI device name \"thing\""), "{err}");
    let mut config = container(&sandbox.1, "unknown", "true");
    config.cdi_devices = vec![cri::CdiDevice { name: "vendor.com/thing=two".to_owned() }];
    let err = host.create(&sandbox, config).await.expect_err("nobody describes it");
    assert!(err.message().contains("unresolvable CDI devices vendor.com/thing=two"), "{err}");
}
