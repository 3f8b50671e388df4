//! As whom containers run, and what they may do.

use serde_json::{Value, json};

use crate::Behaviour;
use crate::environment::prints;
use crate::stage::{IMAGE, Stage, pod, refused, script, with};

/// A pod whose container prints what it is and what it can do.
fn runs(text: &str, of_container: Value, of_pod: Value) -> Value {
    let main = pod("main", json!({"command": script(text), "securityContext": of_container}));
    with(main, json!({"spec": {"securityContext": of_pod}}))
}

const WHO: &str = "echo uid=$(id -u) gid=$(id -g)";

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        prints(
            "Security Context When creating a container with runAsUser should run the container with uid 65534",
            Vec::new(),
            runs(WHO, json!({"runAsUser": 65534}), json!({})),
            &["uid=65534 gid=65534"],
        ),
        prints(
            "Security Context should support container.SecurityContext.RunAsUser And \
             container.SecurityContext.RunAsGroup",
            Vec::new(),
            runs(WHO, json!({"runAsUser": 1001, "runAsGroup": 2002}), json!({"runAsUser": 5})),
            &["uid=1001 gid=2002"],
        ),
        prints(
            "Security Context should support pod.Spec.SecurityContext.RunAsUser And \
             pod.Spec.SecurityContext.RunAsGroup",
            Vec::new(),
            runs(WHO, json!({}), json!({"runAsUser": 1001, "runAsGroup": 2002})),
            &["uid=1001 gid=2002"],
        ),
        prints(
            "Security Context When creating a pod with privileged should run the container as unprivileged when false",
            Vec::new(),
            runs("busybox ip link add dummy1 type dummy || echo cannot add", json!({"privileged": false}), json!({})),
            &["cannot add"],
        ),
        prints(
            "Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable \
             rootfs when readOnlyRootFilesystem=false",
            Vec::new(),
            runs("echo written > /file; cat /file", json!({"readOnlyRootFilesystem": false}), json!({})),
            &["written"],
        ),
        Behaviour::new(
            "Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege \
             escalation when false",
            escalation,
        ),
        prints(
            "Sysctls should support sysctls",
            Vec::new(),
            runs(
                "cat /proc/sys/kernel/shm_rmid_forced",
                json!({}),
                json!({"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}),
            ),
            &["1"],
        ),
        Behaviour::new("Sysctls should reject invalid sysctls", async |stage: Stage| {
            let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."];
            let sysctls: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
            let result = stage.try_create(runs("true", json!({}), json!({"sysctls": sysctls}))).await;
            let message = refused(result, 422);
            for (name, told) in [("foo-", true), ("bar..", true), ("safe-and-unsafe", false), ("kernel.shmmax", false)]
            {
                assert_eq!(message.contains(&format!("Invalid value: \"{name}\"")), told, "{message}");
            }
        }),
    ]
}

/// A program with the bit that makes whoever runs it root: ping needs that.
async fn escalation(stage: Stage) {
    let mounts = json!([{"name": "bin", "mountPath": "/own"}]);
    for (name, allowed, expected) in [("main", false, "cannot ping"), ("other", true, "could ping")] {
        let copy = json!({
            "name": "copy", "image": IMAGE, "volumeMounts": mounts,
            "command": script("cat /bin/busybox > /own/busybox; busybox chmod 4755 /own/busybox"),
        });
        let ping = "/own/busybox ping -c 1 127.0.0.1 && echo could ping || echo cannot ping";
        let security = json!({"allowPrivilegeEscalation": allowed, "runAsUser": 1000});
        let ping = json!({"command": script(ping), "securityContext": security, "volumeMounts": mounts});
        let volumes = json!([{"name": "bin", "emptyDir": {}}]);
        let spec = json!({"spec": {"initContainers": [copy], "volumes": volumes}});
        stage.create(with(pod(name, ping), spec)).await;
        stage.phase(name, "Succeeded").await;
        let log = stage.log(name, "main").await;
        assert!(log.lines().any(|line| line == expected), "{log}");
    }
}
