//! A shutdown by logind, which waits until pods have ended, and then does not switch the machine off.

use std::fs;

use serde_json::json;
use skiff_e2e::{container, pod};

use crate::{Host, SOON, command};

/// What a shutdown comes to here: nothing that would end the machine under the test.
const END: &str = "/run/systemd/system/poweroff.target";
const DROP_IN: &str = "/etc/systemd/logind.conf.d/99-kubelet.conf";

pub fn waits_for_pods(host: &Host) {
    testkit::until(SOON, "the kubelet to hold shutdowns up", || is_held().then_some(()));
    assert!(fs::read_to_string(DROP_IN).expect("it is written").contains("InhibitDelayMaxSec=60"));
    // It says farewell for a while, which a machine that does not wait would cut off.
    let script = "trap \"echo leaving; sleep 5; echo gone; exit 0\" TERM; echo there; while true; do sleep 1; done";
    let main = container("main", script);
    host.run(&pod("leaves", &json!({"terminationGracePeriodSeconds": 40, "containers": [main]})));
    let mut log = host.kubectl.start(&["logs", "-f", "leaves"]);
    log.line(|line| line == "there");

    fs::write(END, "[Unit]\nDefaultDependencies=no\n").expect("written");
    command("systemctl", &["daemon-reload"]);
    let logind = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
    command("busctl", &[&["call"], &logind[..], &["PowerOff", "b", "false"]].concat());
    log.line(|line| line == "gone");
    host.kubectl.wait(&["pod", "leaves"], "{.status.phase} {.status.reason}", SOON, |told| told == "Failed Terminated");

    // logind is done with it, and the node takes pods again.
    let stays =
        pod("stays", &json!({"terminationGracePeriodSeconds": 0, "containers": [container("main", "sleep 3600")]}));
    let ready = "{.status.conditions[?(@.type=='Ready')].status}";
    host.kubectl.wait(&["node", "first"], ready, SOON, |status| status == "True");
    host.run(&stays);
    assert!(is_held(), "the next shutdown is held up too");
    fs::remove_file(END).expect("removed");
    command("systemctl", &["daemon-reload"]);
    host.delete("stays");
}

/// Whether the kubelet is among those for whom a shutdown waits.
fn is_held() -> bool {
    let list = command("systemd-inhibit", &["--list", "--no-legend"]);
    list.lines().any(|line| line.starts_with("kubelet") && line.contains("shutdown") && line.contains("delay"))
}
