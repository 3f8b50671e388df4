//! Pods whose users are not the machine's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cri::{IdMapping, NamespaceMode, NamespaceOption, PodSandboxConfig, UserNamespace};

use crate::skip_without_privileges;
use crate::support::{Host, container, messages, sandbox_config};

/// The pod's root.
const ROOT: u32 = 200_000;

fn options(pid: NamespaceMode, mode: NamespaceMode) -> NamespaceOption {
    let mapping = vec![IdMapping { host_id: ROOT, container_id: 0, length: 65536 }];
    let users = UserNamespace { mode: mode.into(), uids: mapping.clone(), gids: mapping };
    NamespaceOption { pid: pid.into(), userns_options: Some(users), ..Default::default() }
}

fn pod(host: &Host, name: &str, options: NamespaceOption) -> PodSandboxConfig {
    let mut config = sandbox_config(host.dir(), name);
    let context = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("set");
    context.namespace_options = Some(options);
    config
}

#[tokio::test]
async fn the_root_of_a_pod_is_nobody_on_the_machine() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.15.0/24")).await;
    // The users of pods must find their way through the test's own directory.
    fs::set_permissions(host.dir(), fs::Permissions::from_mode(0o711)).expect("changed");
    host.import_busybox().await;
    for (name, pid) in [("alone", NamespaceMode::Container), ("together", NamespaceMode::Pod)] {
        let config = pod(&host, name, options(pid, NamespaceMode::Pod));
        let sandbox = (host.run_sandbox(&config).await.expect("made"), config);
        let volume = host.path(&format!("volume-{name}"));
        fs::create_dir(&volume).expect("made");
        let script = "cat /proc/self/uid_map; id -u; touch /new /mapped/new && ls -ln /bin/busybox | grep -c ' 0 '; \
                      echo x > /dev/shm/x && echo shared; echo $PWD; \
                      echo $(grep -c ' /proc/' /proc/self/mountinfo) hidden; echo all told; sleep 1000";
        let mut config = container(&sandbox.1, name, script);
        config.working_dir = "/made/for/it".to_owned();
        let context = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("set");
        context.seccomp = Some(cri::SecurityProfile::default());
        let mapping = vec![IdMapping { host_id: ROOT, container_id: 0, length: 65536 }];
        config.mounts = vec![cri::Mount {
            host_path: volume.display().to_string(),
            container_path: "/mapped".to_owned(),
            uid_mappings: mapping.clone(),
            gid_mappings: mapping,
            ..Default::default()
        }];
        let id = host.run(&sandbox, config).await;
        let log = messages(&host.log_with(name, "all told").await);
        let map: Vec<&str> = log[0].split_whitespace().skip(2).collect();
        assert_eq!(map, ["0", "200000", "65536"]);
        let rest = ["0", "1", "shared", "/made/for/it", "0 hidden", "all told"].map(|line| format!("stdout F {line}"));
        assert_eq!(log[1..], rest);
        // What the pod's root makes is its own in its layers, and root's in a volume that is mapped.
        let upper = host.path("data/runtime/containers").join(&id).join("upper");
        assert_eq!(fs::metadata(upper.join("new")).expect("made").uid(), ROOT);
        assert_eq!(fs::metadata(volume.join("new")).expect("made").uid(), 0);
        let command = ["/bin/grep", "-E", "^(Cap|Seccomp:|Groups)", "/proc/self/status", "/proc/1/status"];
        let (privileges, ..) = host.exec(&id, &command).await;
        let of = |process: &str| -> Vec<String> {
            let lines = privileges.lines().filter_map(|line| line.strip_prefix(&format!("/proc/{process}/status:")));
            lines.map(str::to_owned).collect()
        };
        if pid == NamespaceMode::Container {
            assert_eq!(of("self"), of("1"), "a command has what the container has");
        }
        assert!(of("self").len() >= 6, "{privileges}");
        let (stdout, ..) =
            host.exec(&id, &["/bin/sh", "-c", "id -u; cat /proc/self/uid_map; echo y > /dev/stdout"]).await;
        assert!(stdout.starts_with("0\n") && stdout.contains("200000") && stdout.ends_with("y\n"), "{stdout}");
        let remove = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
        host.runtime.remove_pod_sandbox(remove).await.expect("removed");
        assert!(volume.join("new").exists());
    }
    for wrong in [NamespaceMode::Container, NamespaceMode::Target] {
        let config = pod(&host, "wrong", options(NamespaceMode::Container, wrong));
        let err = host.run_sandbox(&config).await.expect_err("there is no such namespace");
        assert_eq!(err.code(), cri::Code::InvalidArgument, "{err}");
    }
    let config = pod(&host, "of-the-machine", options(NamespaceMode::Container, NamespaceMode::Node));
    host.run_sandbox(&config).await.expect("it is as without");
}
