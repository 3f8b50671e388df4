//! Requests that make no sense: refused by the name of what is wrong, with nothing left of them.

use cri::{ContainerConfig, Int64Value, KeyValue, Mount, PodSandboxConfig};

use crate::skip_without_privileges;
use crate::support::{Host, container, sandbox_config};

/// A request, what makes it senseless, and what is said of that.
type Case<T> = (&'static str, fn(&mut T), &'static str);

const CONTAINERS: [Case<ContainerConfig>; 8] = [
    ("nul-value", |config| config.envs[0].value = "a\0b".to_owned(), "envs.0.value has a NUL byte"),
    ("nul-command", |config| config.command[1] = "a\0b".to_owned(), "command.1 has a NUL byte"),
    ("nul-log", |config| config.log_path = "\0".to_owned(), "log_path has a NUL byte"),
    ("no-name", |config| config.envs.push(KeyValue::default()), "an environment variable has no name"),
    (
        "odd-name",
        |config| config.envs.push(KeyValue { key: "A=B".to_owned(), value: String::new() }),
        "environment variable \"A=B\"",
    ),
    (
        "no-place",
        |config| config.mounts = vec![Mount { host_path: "/tmp".to_owned(), ..Default::default() }],
        "mount of \"/tmp\" needs a place in the container",
    ),
    (
        "root",
        |config| {
            let (host_path, container_path) = ("/tmp".to_owned(), "/a/..".to_owned());
            config.mounts = vec![Mount { host_path, container_path, ..Default::default() }];
        },
        "mount of \"/tmp\" needs a place in the container",
    ),
    (
        "last-user",
        |config| {
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            // What the kernel takes for nobody.
            context.run_as_user = Some(Int64Value { value: u32::MAX.into() });
        },
        "invalid user or group number 4294967295",
    ),
];

const PODS: [Case<PodSandboxConfig>; 4] = [
    ("nul-host", |config| config.hostname = "a\0b".to_owned(), "hostname has a NUL byte"),
    ("nul-label", |config| drop(config.labels.insert("a".to_owned(), "\0".to_owned())), "labels.a has a NUL byte"),
    ("up", |config| parent(config, "../../x"), "cgroup_parent \"../../x\" leads out"),
    ("nul-cgroup", |config| parent(config, "a\0b"), "linux.cgroup_parent has a NUL byte"),
];

fn parent(config: &mut PodSandboxConfig, parent: &str) {
    config.linux.get_or_insert_default().cgroup_parent = parent.to_owned();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    for (name, change, expected) in PODS {
        let mut config = sandbox_config(host.dir(), name);
        change(&mut config);
        let err = host.run_sandbox(&config).await.expect_err(name);
        assert!(err.code() == cri::Code::InvalidArgument && err.message().contains(expected), "{name}: {err}");
    }
    let mut sandbox = host.sandbox("refuses").await;
    for (name, change, expected) in CONTAINERS {
        let mut config = container(&sandbox.1, name, "true");
        change(&mut config);
        let err = host.create(&sandbox, config).await.expect_err(name);
        assert!(err.code() == cri::Code::InvalidArgument && err.message().contains(expected), "{name}: {err}");
        assert!(!err.message().contains("a\0b"), "values may be secrets: {err}");
    }
    // What comes with a container is another caller's word for its pod.
    parent(&mut sandbox.1, "/../x");
    let config = container(&sandbox.1, "up", "true");
    let err = host.create(&sandbox, config).await.expect_err("it leads out");
    assert!(err.code() == cri::Code::InvalidArgument && err.message().contains("leads out"), "{err}");
    let count = |dir: &str| std::fs::read_dir(host.path(dir)).into_iter().flatten().count();
    assert_eq!(["data/runtime/containers", "run/runtime/containers", "data/runtime/sandboxes"].map(count), [0, 0, 1]);
}
