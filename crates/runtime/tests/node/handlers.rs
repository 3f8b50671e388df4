//! Containers of other OCI runtimes, as RuntimeClasses name them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cri::security_profile::ProfileType;
use cri::{ContainerState, SecurityProfile};

use crate::skip_without_privileges;
use crate::support::{Host, container, messages, sandbox_config, strings};

/// Where a program is.
pub fn installed(program: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin"].map(|dir| PathBuf::from(dir).join(program));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: no {program} (Debian: {program})");
    }
    found
}

#[tokio::test]
async fn runc_runs_containers_by_its_path() {
    skip_without_privileges!();
    if let Some(runc) = installed("runc") {
        check("runc", runc).await;
    }
}

/// crun refuses machines whose controllers are in hierarchies of both versions: it is shown those of version 1 alone.
const WITHOUT_UNIFIED: &str = "#!/bin/sh
exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"$@\"' crun \"$@\"
";

#[tokio::test]
async fn crun_runs_containers_by_its_path() {
    skip_without_privileges!();
    if installed("crun").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("crun");
    std::fs::write(&script, WITHOUT_UNIFIED).expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    check("crun", script).await;
}

async fn check(name: &str, program: PathBuf) {
    let mut host = Host::start_with_handlers(&[(name, program)]).await;
    host.import_busybox().await;
    let status = host.runtime.status(cri::StatusRequest { verbose: false }).await.expect("answered").into_inner();
    let names: Vec<&str> = status.runtime_handlers.iter().map(|handler| handler.name.as_str()).collect();
    assert_eq!(names, ["", name]);
    let config = sandbox_config(host.dir(), "other");
    let request = cri::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: name.to_owned() };
    let id = host.runtime.run_pod_sandbox(request.clone()).await.expect("made").into_inner().pod_sandbox_id;
    let sandbox = (id, config);

    let mut config =
        container(&sandbox.1, "c", "echo out; grep Seccomp: /proc/self/status; read line; echo got $line; exit 4");
    (config.stdin, config.stdin_once) = (true, true);
    let context = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("set");
    let kind = ProfileType::RuntimeDefault.into();
    context.seccomp = Some(SecurityProfile { profile_type: kind, localhost_ref: String::new() });
    let id = host.run(&sandbox, config).await;
    assert_eq!(messages(&host.log_with("c", "Seccomp:").await)[..2], ["stdout F out", "stdout F Seccomp:\t2"]);
    let result = host.exec(&id, &["/bin/sh", "-c", "echo $COLOR; echo no >&2; exit 3"]).await;
    assert_eq!(result, ("blue\n".to_owned(), "no\n".to_owned(), 3));
    let err = host.exec_sync(&id, &["no-such-program"], 20).await.expect_err("there is none");
    assert!(err.message().contains("executable file") && err.message().contains("not found in $PATH"), "{err}");
    // The runtime's death is nothing to the container.
    host.kill();
    host.restart().await;
    assert_eq!(host.status(&id).await.state(), ContainerState::ContainerRunning);
    host.stop(&id, 0).await;
    assert_eq!(host.exited(&id).await.exit_code, 137);

    let mut config = container(&sandbox.1, "absent", "");
    config.command = strings(&["no-such-program"]);
    let absent = host.create(&sandbox, config).await.expect("made");
    let err = host.start_container(&absent).await.expect_err("there is no such program");
    // Each says it in its own way.
    let words = [
        "exec: \"no-such-program\": executable file not found in $PATH",
        "executable file `no-such-program` not found",
    ];
    assert!(words.iter().any(|words| err.message().contains(words)), "{err}");

    let mut config = container(&sandbox.1, "terminal", "busybox tty; exit 5");
    config.tty = true;
    let id = host.run(&sandbox, config).await;
    assert_eq!(host.exited(&id).await.exit_code, 5);
    assert!(host.log_with("terminal", "/dev/").await.contains("stdout F /dev/"));
    let unknown = cri::RunPodSandboxRequest { runtime_handler: "unknown".to_owned(), ..request };
    let err = host.runtime.run_pod_sandbox(unknown).await.expect_err("nobody knows it");
    assert_eq!(err.code(), cri::Code::InvalidArgument);
    let remove = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.0.clone() };
    host.runtime.remove_pod_sandbox(remove).await.expect("removed");
}
