//! Security contexts as the CRI project's validation suite gives them, one at a time, to containers that say nothing
//! else: what a command in the container then sees, and may do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use cri::security_profile::ProfileType;
use cri::{
    Capability, ContainerConfig, Int64Value, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, SecurityProfile, SupplementalGroupsPolicy,
};
use skiff_runtime::image::archive::ImageOptions;

use crate::skip_without_privileges;
use crate::sparse::{Sandbox, container, pod, run};
use crate::support::{Host, IMAGE, allow_privileged, messages, strings};

type Context = LinuxContainerSecurityContext;

/// What a container does that is only there for commands to be run in it.
const PAUSE: &[&str] = &["sh", "-c", "exec busybox top"];

fn confined(name: &str, command: &[&str], context: Context) -> ContainerConfig {
    let mut config = container(name, command);
    config.linux.as_mut().expect("set").security_context = Some(context);
    config
}

/// An image like the suite's, whose programs are files of their own, with one that gains its owner's privileges.
async fn import(host: &Host) {
    let options = ImageOptions { cmd: strings(&["/bin/sh"]), ..Default::default() };
    let change = |root: &Path| {
        fs::remove_file(root.join("bin/ls")).expect("removed");
        fs::copy("/usr/bin/busybox", root.join("bin/ls")).expect("copied");
        fs::create_dir(root.join("setuid")).expect("made");
        let program = root.join("setuid/busybox");
        fs::copy("/usr/bin/busybox", &program).expect("copied");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("changed");
        let users = "root::0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\ndefault-user:x:1000:1000::/:/bin/sh\n";
        fs::write(root.join("etc/passwd"), users).expect("written");
        let groups = "root:x:0:\nweb:x:34:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n";
        fs::write(root.join("etc/group"), groups).expect("written");
    };
    host.import_changed(IMAGE, options, change).await;
}

/// How a command must end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Well, having printed this and no more.
    Prints(&'static str),
    /// Well, having printed this among other things.
    Says(&'static str),
    /// Well, and that is all that matters.
    Well,
    /// Badly, having complained so.
    Complains(&'static str),
}

fn privileged_pod(name: &str) -> PodSandboxConfig {
    let mut config = pod(name);
    allow_privileged(&mut config);
    config
}

#[track_caller]
fn check(end: End, (stdout, stderr, code): (String, String, i32), name: &str) {
    let told = format!("{name}: {code} {stdout:?} {stderr:?}");
    match end {
        End::Prints(expected) => assert_eq!((stdout.as_str(), code), (expected, 0), "{told}"),
        End::Says(expected) => assert!(code == 0 && stdout.contains(expected), "{told}"),
        End::Well => assert_eq!(code, 0, "{told}"),
        End::Complains(expected) => assert!(code != 0 && stderr.contains(expected), "{told}"),
    }
}

fn capabilities(add: &[&str], drop: &[&str]) -> Option<Capability> {
    Some(Capability { add_capabilities: strings(add), drop_capabilities: strings(drop), ..Default::default() })
}

fn value(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

#[tokio::test]
async fn a_container_has_what_its_context_says_and_the_rest_by_default() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.23.0/24")).await;
    import(&host).await;
    let sandbox = run(&mut host, privileged_pod("contexts")).await;
    let bridge = &["busybox", "brctl", "addbr", "foobar"][..];
    let remove = "busybox brctl delbr foobar";
    let bounding = &["grep", "CapBnd", "/proc/self/status"][..];
    let all: [(&str, Context, &[&str], End); 16] = [
        ("user", Context { run_as_user: value(1001), ..Context::default() }, &["id", "-u"], End::Prints("1001\n")),
        (
            "name",
            Context { run_as_username: "web".to_owned(), ..Context::default() },
            &["id", "-nu"],
            End::Prints("web\n"),
        ),
        (
            "group",
            Context { run_as_user: value(1001), run_as_group: value(1002), ..Context::default() },
            &["sh", "-c", "echo $(id -u):$(id -g)"],
            End::Prints("1001:1002\n"),
        ),
        (
            "groups",
            Context { supplemental_groups: vec![1234, 5678], ..Context::default() },
            &["id", "-G"],
            End::Says("1234 5678"),
        ),
        (
            "writable",
            Context::default(),
            &["sh", "-c", "touch test && [ -f test ] && echo Found"],
            End::Prints("Found\n"),
        ),
        (
            "read-only",
            Context { readonly_rootfs: true, ..Context::default() },
            &["touch", "test"],
            End::Complains("touch: test: Read-only file system\n"),
        ),
        ("privileged", Context { privileged: true, ..Context::default() }, bridge, End::Well),
        ("plain", Context::default(), bridge, End::Complains("brctl")),
        ("added", Context { capabilities: capabilities(&["NET_ADMIN"], &[]), ..Context::default() }, bridge, End::Well),
        (
            "dropped",
            Context { capabilities: capabilities(&[], &["NET_RAW"]), ..Context::default() },
            &["busybox", "ping", "-c", "1", "127.0.0.1"],
            End::Complains("permission denied"),
        ),
        ("pings", Context::default(), &["busybox", "ping", "-c", "1", "127.0.0.1"], End::Well),
        (
            "none",
            Context { capabilities: capabilities(&[], &["ALL"]), ..Context::default() },
            bounding,
            End::Prints("CapBnd:\t0000000000000000\n"),
        ),
        (
            "masked",
            Context { masked_paths: strings(&["/bin/ls"]), ..Context::default() },
            &["/bin/sh", "-c", "/bin/ls"],
            End::Complains("/bin/ls: Permission denied\n"),
        ),
        (
            "kept",
            Context { readonly_paths: strings(&["/tmp"]), ..Context::default() },
            &["touch", "/tmp/test"],
            End::Complains("touch: /tmp/test: Read-only file system\n"),
        ),
        (
            "escalates",
            Context { run_as_user: value(1000), ..Context::default() },
            &["/setuid/busybox", "su", "-c", "id -u"],
            End::Prints("0\n"),
        ),
        (
            "kept-down",
            Context { run_as_user: value(1000), no_new_privs: true, ..Context::default() },
            &["/setuid/busybox", "su", "-c", "id -u"],
            End::Complains(""),
        ),
    ];
    for (name, context, command, end) in all {
        let id = host.run(&sandbox, confined(name, PAUSE, context)).await;
        check(end, host.exec(&id, command).await, name);
        if command == bridge && matches!(end, End::Well) {
            check(End::Well, host.exec(&id, &["sh", "-c", remove]).await, name);
        }
    }
    let whole = Context { capabilities: capabilities(&["all"], &[]), ..Context::default() };
    let id = host.run(&sandbox, confined("whole", PAUSE, whole)).await;
    let (stdout, ..) = host.exec(&id, bounding).await;
    assert!(!stdout.contains("\t0000000000000000"), "{stdout}");
    let group_alone = Context { run_as_group: value(1002), ..Context::default() };
    let err = host.create(&sandbox, confined("group-alone", PAUSE, group_alone)).await.expect_err("whose group?");
    assert!(err.message().contains("without a user"), "{err}");
}

#[tokio::test]
async fn groups_of_the_image_are_added_unless_the_policy_is_strict() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.24.0/24")).await;
    import(&host).await;
    let mut config = pod("groups");
    config.log_directory = host.path("log").display().to_string();
    let sandbox = run(&mut host, config).await;
    let merge = SupplementalGroupsPolicy::Merge;
    for (name, policy, groups) in
        [("merge", merge, &[1000, 1234, 50000][..]), ("strict", SupplementalGroupsPolicy::Strict, &[1000, 1234])]
    {
        let context = Context {
            run_as_user: value(1000),
            supplemental_groups: vec![1234],
            supplemental_groups_policy: policy.into(),
            ..Context::default()
        };
        let mut config = confined(name, &["sh", "-c", "id -G; sleep 1000"], context);
        config.log_path = format!("{name}.log");
        let id = host.run(&sandbox, config).await;
        let user = host.status(&id).await.user.and_then(|user| user.linux).expect("of Linux");
        let sorted = |mut groups: Vec<i64>| {
            groups.sort_unstable();
            groups
        };
        assert_eq!((user.uid, user.gid, sorted(user.supplemental_groups)), (1000, 1000, groups.to_vec()), "{name}");
        let numbers = |line: &str| sorted(line.split_whitespace().filter_map(|number| number.parse().ok()).collect());
        assert_eq!(numbers(&messages(&host.log_with(name, " F 1000").await)[0]), groups, "{name}");
        assert_eq!(numbers(&host.exec(&id, &["id", "-G"]).await.0), groups, "{name}");
    }
    let features = host.runtime.status(cri::StatusRequest::default()).await.expect("answered").into_inner().features;
    assert!(features.is_some_and(|features| features.supplemental_groups_policy));
}

#[tokio::test]
async fn system_calls_are_filtered_as_either_field_says() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.25.0/24")).await;
    import(&host).await;
    let sandbox = run(&mut host, privileged_pod("filters")).await;
    let path = host.path("block-chmod.json").display().to_string();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW",
                      "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(&path, profile).expect("written");
    let seccomp = |kind: ProfileType, path: &str| {
        let profile = SecurityProfile { profile_type: kind.into(), localhost_ref: path.to_owned() };
        Context { seccomp: Some(profile), ..Context::default() }
    };
    #[expect(deprecated, reason = "older callers set it")]
    let older = |text: &str| Context { seccomp_profile_path: text.to_owned(), ..Context::default() };
    let (status, chmod) = (&["grep", "Seccomp:", "/proc/self/status"][..], &["busybox", "chmod", "400", "/"][..]);
    let refused = End::Complains("Operation not permitted");
    for (name, context, command, end) in [
        ("nothing", Context::default(), status, End::Says("\t0")),
        ("unconfined", seccomp(ProfileType::Unconfined, ""), status, End::Says("\t0")),
        ("default", seccomp(ProfileType::RuntimeDefault, ""), status, End::Says("\t2")),
        ("localhost", seccomp(ProfileType::Localhost, &path), chmod, refused),
        ("privileged", Context { privileged: true, ..seccomp(ProfileType::Localhost, &path) }, chmod, End::Well),
        ("older-unconfined", older("unconfined"), status, End::Says("\t0")),
        ("older-default", older("runtime/default"), status, End::Says("\t2")),
        ("older-localhost", older(&format!("localhost/{path}")), chmod, refused),
    ] {
        let id = host.run(&sandbox, confined(name, PAUSE, context)).await;
        check(end, host.exec(&id, command).await, name);
    }
}

fn namespaces(pid: NamespaceMode, ipc: NamespaceMode, network: NamespaceMode) -> NamespaceOption {
    NamespaceOption { pid: pid.into(), ipc: ipc.into(), network: network.into(), ..Default::default() }
}

/// A pod with these namespaces, and a container in it that says the same.
async fn run_in(host: &mut Host, name: &str, options: NamespaceOption) -> (Sandbox, ContainerConfig) {
    let mut config: PodSandboxConfig = pod(name);
    config.dns_config = Some(cri::DnsConfig::default());
    config.linux.as_mut().expect("set").security_context =
        Some(cri::LinuxSandboxSecurityContext { namespace_options: Some(options.clone()), ..Default::default() });
    let context = Context { namespace_options: Some(options), ..Context::default() };
    (run(host, config).await, confined(name, PAUSE, context))
}

/// A segment of shared memory of the machine's that ends with the test.
struct Segment(String);

impl Segment {
    fn new() -> Self {
        let output = Command::new("ipcmk").args(["-M", "1048576"]).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        Self(text.rsplit(' ').next().unwrap_or_default().trim().to_owned())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Whoever is left without it has failed already.
        let _ = Command::new("ipcrm").args(["-m", &self.0]).status();
    }
}

#[tokio::test]
async fn namespaces_are_the_machines_the_pods_or_the_containers_own() {
    skip_without_privileges!();
    use NamespaceMode::{Container as OfContainer, Node as OfNode, Pod as OfPod};
    let mut host = Host::start_with(Some("10.207.26.0/24")).await;
    import(&host).await;
    let segment = Segment::new();
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    for (name, pid, ipc, network) in [
        ("pod", OfPod, OfPod, OfPod),
        ("container", OfContainer, OfPod, OfPod),
        ("host-pid", OfNode, OfPod, OfPod),
        ("host-ipc", OfPod, OfNode, OfPod),
        ("host-network", OfPod, OfPod, OfNode),
    ] {
        let (sandbox, config) = run_in(&mut host, name, namespaces(pid, ipc, network)).await;
        let id = host.run(&sandbox, config).await;
        let (first, ..) = host.exec(&id, &["cat", "/proc/1/cmdline"]).await;
        assert_eq!(first.contains("top"), pid == OfContainer, "{name}: {first:?}");
        let request = cri::ContainerStatusRequest { container_id: id.clone(), verbose: true };
        let info = host.runtime.container_status(request).await.expect("known").into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).expect("a document");
        let (processes, ..) = host.exec(&id, &["sh", "-c", "busybox pidof busybox || true"]).await;
        let own = info["pid"].to_string();
        assert_eq!(processes.split_whitespace().any(|pid| pid == own), pid == OfNode, "{name}: {own} in {processes:?}");
        let (segments, ..) = host.exec(&id, &["cat", "/proc/sysvipc/shm"]).await;
        let seen = segments.lines().any(|line| line.split_whitespace().nth(1) == Some(segment.0.as_str()));
        assert_eq!(seen, ipc == OfNode, "{name}: {segments}");
        let (listeners, ..) = host.exec(&id, &["busybox", "netstat", "-ln"]).await;
        assert_eq!(listeners.contains(&format!(":{port} ")), network == OfNode, "{name}: {listeners}");
    }
}
