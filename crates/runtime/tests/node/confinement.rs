//! What confines a container's programs: filters of system calls, and what they leave of its privileges.

use cri::security_profile::ProfileType;
use cri::{ContainerConfig, LinuxContainerSecurityContext, SecurityProfile};

use crate::skip_without_privileges;
use crate::support::{Host, container, messages, strings};

/// A change of a security context.
type Change = fn(&mut LinuxContainerSecurityContext);

fn context(config: &mut ContainerConfig, change: impl FnOnce(&mut LinuxContainerSecurityContext)) {
    change(config.linux.get_or_insert_default().security_context.get_or_insert_default());
}

fn profile(kind: ProfileType, path: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: path.to_owned() })
}

fn capability(name: &str) -> Option<cri::Capability> {
    Some(cri::Capability { add_capabilities: strings(&[name]), ..Default::default() })
}

/// Everything that the system says of a process's privileges.
const STATUS: &str = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; echo end; sleep 1000";

#[tokio::test]
async fn the_runtimes_profile_filters_and_takes_nothing_else() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("default-profile").await;
    let users: [(&str, Change); 4] = [
        ("root", |_| {}),
        ("user", |context| context.run_as_user = Some(cri::Int64Value { value: 33 })),
        ("admin", |context| context.capabilities = capability("SYS_ADMIN")),
        ("strict", |context| context.no_new_privs = true),
    ];
    for (name, change) in users {
        let mut seen = Vec::new();
        for kind in [ProfileType::Unconfined, ProfileType::RuntimeDefault] {
            let name = format!("{name}-{}", kind.as_str_name());
            let mut config = container(&sandbox.1, &name, STATUS);
            context(&mut config, |context| {
                change(context);
                context.seccomp = profile(kind, "");
            });
            let id = host.run(&sandbox, config).await;
            let first = messages(&host.log_with(&name, "end").await);
            let (later, ..) =
                host.exec(&id, &["/bin/grep", "-E", "^(Cap|Seccomp:|NoNewPrivs)", "/proc/self/status"]).await;
            let later: Vec<String> = later.lines().map(|line| format!("stdout F {line}")).collect();
            assert_eq!(first[..first.len() - 1], later, "a command has what the container has");
            seen.push(later);
            host.stop(&id, 0).await;
        }
        let [free, filtered] = &seen[..] else { panic!("two containers") };
        let without_filter = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !line.contains("Seccomp")).cloned().collect()
        };
        assert!(free.contains(&"stdout F Seccomp:\t0".to_owned()), "{free:?}");
        assert!(filtered.contains(&"stdout F Seccomp:\t2".to_owned()), "{filtered:?}");
        assert_eq!(without_filter(free), without_filter(filtered), "{name}");
    }
}

#[tokio::test]
async fn a_profile_of_the_node_filters_what_it_says() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.13.0/24")).await;
    host.import_busybox().await;
    let path = host.path("no-hostname.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}, {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}"#;
    std::fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    let mut config = crate::support::sandbox_config(host.dir(), "profiles");
    let of_pod = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("set");
    of_pod.namespace_options.as_mut().expect("set").network = cri::NamespaceMode::Pod.into();
    crate::support::allow_privileged(&mut config);
    let sandbox = (host.run_sandbox(&config).await.expect("made"), config);
    let script = "hostname other || echo kept; busybox chmod 700 /tmp || echo refused; echo end";
    let mut admin = container(&sandbox.1, "admin", script);
    context(&mut admin, |context| {
        context.capabilities = capability("SYS_ADMIN");
        context.seccomp = profile(ProfileType::Localhost, &path);
    });
    host.run(&sandbox, admin.clone()).await;
    let log = host.log_with("admin", "end").await;
    assert!(log.contains("stdout F kept") && log.contains("stdout F refused"), "{log}");
    assert!(log.contains("Operation not permitted") && log.contains("Input/output error"), "{log}");
    // Who is privileged is not filtered.
    let mut free = admin.clone();
    free.metadata.as_mut().expect("set").name = "free".to_owned();
    free.log_path = "free.log".to_owned();
    context(&mut free, |context| context.privileged = true);
    host.run(&sandbox, free).await;
    assert_eq!(messages(&host.log_with("free", "end").await), ["stdout F end"]);
    for (number, wrong) in ["/no/such/file.json", "relative.json"].into_iter().enumerate() {
        let mut config = container(&sandbox.1, &format!("wrong{number}"), "true");
        context(&mut config, |context| context.seccomp = profile(ProfileType::Localhost, wrong));
        let err = host.create(&sandbox, config).await.expect_err("there is no such profile");
        assert!(err.message().contains(wrong), "{err}");
    }
}

#[tokio::test]
async fn a_profile_of_apparmor_needs_a_kernel_that_has_it() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("apparmor").await;
    let is_there = cri::SecurityModules::below(std::path::Path::new("/")).has_app_armor();
    let why = if is_there { "apparmor profile not found nobody-has-this" } else { "apparmor is not supported" };
    for (name, wanted) in [("none", None), ("unconfined", profile(ProfileType::Unconfined, ""))] {
        let mut config = container(&sandbox.1, name, "echo runs; sleep 1000");
        context(&mut config, |context| context.apparmor = wanted);
        host.run(&sandbox, config).await;
        host.log_with(name, "runs").await;
    }
    let mut config = container(&sandbox.1, "confined", "sleep 1000");
    context(&mut config, |context| context.apparmor = profile(ProfileType::Localhost, "localhost/nobody-has-this"));
    let refused = host.create(&sandbox, config).await.expect_err("refused");
    assert!(refused.message().starts_with(why), "{refused:?}");
}
