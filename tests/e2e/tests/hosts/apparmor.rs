//! AppArmor: the runtime's own profile, one of the machine, none, and one that nobody has loaded.

use std::fs;

use serde_json::{Value, json};
use skiff_e2e::{container, pod};

use crate::{Host, SOON, command};

/// What a machine's administrator has loaded.
const OWN: &str = "profile e2e-no-writes flags=(attach_disconnected) {
  file,
  capability,
  network,
  signal,
  ptrace,
  deny /tmp/** w,
}
";

pub fn containers_are_confined(host: &Host) {
    fs::write("/etc/apparmor.d/e2e-no-writes", OWN).expect("written");
    command("apparmor_parser", &["-r", "/etc/apparmor.d/e2e-no-writes"]);
    let confined = "cat /proc/1/attr/current";

    // Without a word the runtime's own profile is taken. It keeps even root with its right from mounting.
    host.run(&confined_by("usual", None));
    let name = host.read("usual", confined);
    assert!(name.ends_with("-default (enforce)") && name.starts_with("skiff"), "{name}");
    let (said, code) = host.shell("usual", "busybox mount -t tmpfs none /tmp");
    assert!(code != 0 && said.contains("ermission denied"), "{code}: {said}");

    host.run(&confined_by("default", Some(json!({"type": "RuntimeDefault"}))));
    assert_eq!(host.read("default", confined), name);

    host.run(&confined_by("free", Some(json!({"type": "Unconfined"}))));
    assert_eq!(host.read("free", confined), "unconfined");
    host.read("free", "busybox mount -t tmpfs none /tmp");

    host.run(&confined_by("own", Some(json!({"type": "Localhost", "localhostProfile": "e2e-no-writes"}))));
    assert_eq!(host.read("own", confined), "e2e-no-writes (enforce)");
    let (said, code) = host.shell("own", "echo a > /tmp/a");
    assert!(code != 0 && said.contains("ermission denied"), "{code}: {said}");
    host.read("own", "echo a > /www/a");

    let missing = confined_by("missing", Some(json!({"type": "Localhost", "localhostProfile": "e2e-missing"})));
    host.kubectl.apply(&missing.to_string());
    let why = "{.status.containerStatuses[0].state.waiting.message}";
    host.kubectl.wait(&["pod", "missing"], why, SOON, |told| told.contains("e2e-missing"));
    for name in ["usual", "default", "free", "own", "missing"] {
        host.kubectl.run(&["delete", "pod", name, "--wait=false"]);
    }
}

/// A pod that has the right to mount, under a profile.
fn confined_by(name: &str, profile: Option<Value>) -> Value {
    let mut main = container("main", "sleep 3600");
    main["securityContext"] = json!({"capabilities": {"add": ["SYS_ADMIN"]}});
    if let Some(profile) = profile {
        main["securityContext"]["appArmorProfile"] = profile;
    }
    pod(name, &json!({"terminationGracePeriodSeconds": 0, "containers": [main]}))
}
