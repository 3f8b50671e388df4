use std::fs;
use std::process::Command;

use base::MountEntry;
use serde_json::{Value, json};

use super::*;

fn filter(rules: Value) -> Result<DeviceFilter, DeviceFilterError> {
    DeviceFilter::new(&serde_json::from_value::<Vec<LinuxDeviceCgroup>>(rules).expect("well formed"))
}

/// Checks what the program of these rules says about uses like `c 1:3 rw`.
#[track_caller]
fn check(rules: Value, allowed: &[&str], refused: &[&str]) {
    let program = filter(rules).expect("rules that can be followed").compile().expect("something is refused");
    for (uses, expected) in [(allowed, 1), (refused, 0)] {
        for used in uses {
            let words: Vec<_> = used.split([' ', ':']).collect();
            let [kind, major, minor, access] = words[..] else { panic!("{used:?} is no use") };
            let kind = if kind == "b" { DeviceKind::Block } else { DeviceKind::Char };
            let access = Access::parse(access).expect("known letters");
            let access_type = u32::from(access.0) << 16 | kind as u32;
            let (major, minor) = (major.parse().expect("a number"), minor.parse().expect("a number"));
            assert_eq!(bpf::run(&program, access_type, major, minor), expected, "{used}");
        }
    }
}

#[test]
fn a_container_has_what_every_container_has() {
    check(
        json!([{"allow": false, "access": "rwm"}]),
        &["c 1:3 rw", "c 1:5 r", "c 1:7 w", "c 5:0 rw", "c 5:2 rw", "c 136:7 rw", "c 10:200 rw", "c 1:1 m", "b 8:0 m"],
        &["c 1:1 r", "c 10:229 rw", "b 8:0 r", "b 1:3 r", "c 1:1 rm", "c 5:3 r"],
    );
    // Nothing that is about a use means no.
    check(json!([]), &["c 1:3 rw"], &["c 1:1 r"]);
}

#[test]
fn devices_that_were_asked_for_are_there() {
    check(
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            {"allow": true, "type": "b", "major": 8, "minor": 16, "access": "r"},
            {"allow": true, "type": "c", "major": 226, "minor": -1, "access": "rw"},
            {"allow": true, "type": "c", "major": 30, "minor": 1, "access": ""},
        ]),
        &["c 10:229 rw", "b 8:16 r", "c 226:0 rw", "c 226:128 r"],
        &["b 8:16 w", "b 8:16 rw", "b 8:17 r", "c 8:16 r", "b 226:0 r", "c 30:1 r"],
    );
}

#[test]
fn two_permissions_for_a_device_are_one() {
    let rule = |allow: bool, access: &str| json!({"allow": allow, "type": "c", "major": 9, "access": access});
    check(json!([rule(true, "r"), rule(true, "w")]), &["c 9:0 rw", "c 9:0 r"], &[]);
    check(json!([rule(true, "r"), rule(false, "r"), rule(true, "w")]), &["c 9:0 w"], &["c 9:0 rw", "c 9:0 r"]);
}

#[test]
fn the_last_rule_decides() {
    check(
        json!([
            {"allow": true},
            {"allow": false, "type": "b", "access": "w"},
            {"allow": true, "type": "b", "major": 7, "access": "rw"},
        ]),
        &["b 8:0 r", "b 7:1 rw", "c 1:1 rw"],
        &["b 8:0 w", "b 8:0 rw"],
    );
    // A rule about all kinds undoes what was before.
    let permission = json!({"allow": true, "type": "b", "access": "rwm"});
    check(json!([permission, {"allow": false, "type": "a", "access": "m"}]), &[], &["b 8:0 r"]);
}

#[test]
fn privileged_containers_have_no_filter() {
    assert_eq!(filter(json!([{"allow": true, "access": "rwm"}])).expect("such a rule is fine").compile(), None);
}

#[test]
fn rules_that_cannot_be_followed_are_refused() {
    let problem = |rule: Value| filter(json!([rule])).expect_err("a strange rule").to_string();
    assert!(problem(json!({"allow": true, "type": "p", "access": "r"})).contains("\"p\""));
    assert!(problem(json!({"allow": true, "type": "c", "access": "rx"})).contains("\"rx\""));
    assert!(problem(json!({"allow": true, "type": "c", "major": 1_u64 << 31, "access": "r"})).contains("2147483648"));
}

/// A cgroup of version 2 for a test.
fn cgroup() -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    let mounts = MountEntry::all(|mount| mount.file_system == "cgroup2").map_err(|err| err.to_string())?;
    let mount = mounts.first().ok_or("no cgroup2 mount")?;
    let dir = mount.point.join(format!("skiff-test-devices-{}", std::process::id()));
    fs::create_dir(&dir).map_err(|err| format!("no cgroup {}: {err}", dir.display()))?;
    Ok(dir)
}

/// Writes null, reads zero, writes zero, opens full and makes a node: outside of the cgroup, then in it.
const PROBE: &str = r#"
probe() {
    for what in 'echo >/dev/null' 'head -c1 /dev/zero >/dev/null' 'echo >/dev/zero' 'true </dev/full' "mknod $1 c 1 3"; do
        if (eval "$what") 2>/dev/null; then printf y; else printf n; fi
    done
}
probe "$1/before" && echo $$ >"$2/cgroup.procs" && printf ' ' && probe "$1/after"
"#;

#[test]
fn the_kernel_asks_the_filter() {
    let cgroup = match cgroup() {
        Ok(cgroup) => cgroup,
        Err(obstacle) => return eprintln!("SKIPPED: {obstacle}"),
    };
    let nodes = tempfile::tempdir().expect("a temporary directory");
    let rule = |minor, access| DeviceRule { access, ..DeviceRule::always(Some(1), Some(minor)) };
    let rules = vec![rule(3, Access::READ | Access::WRITE), rule(5, Access::READ)];
    let attached = DeviceFilter { otherwise: false, rules }.attach(&cgroup);
    let output =
        Command::new("sh").args(["-c", PROBE, "sh"]).arg(nodes.path()).arg(&cgroup).output().expect("sh can be run");
    super::super::remove_tree(&cgroup).expect("an empty cgroup");
    if let Err(DeviceFilterError::Load(err)) = &attached
        && matches!(err.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
    {
        return eprintln!("SKIPPED: no bpf(2): {err}");
    }
    attached.expect("the kernel takes the filter");
    let found = String::from_utf8_lossy(&output.stdout);
    let (before, after) = found.split_once(' ').unwrap_or((&found, ""));
    if before != "yyyyy" {
        return eprintln!("SKIPPED: this process cannot use the devices anyway: {before}");
    }
    assert_eq!(after, "yynnn", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_kernel_takes_all_kinds_of_rules() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: not root");
    }
    let rules = json!([
        {"allow": true},
        {"allow": false, "type": "b", "access": "w"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        {"allow": true, "type": "b", "major": 7, "access": "rw"},
    ]);
    for rules in [json!([]), json!([{"allow": false}]), rules] {
        let program = filter(rules).expect("rules that can be followed").compile().expect("something is refused");
        match load(&program) {
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                return eprintln!("SKIPPED: no bpf(2): {err}");
            }
            result => drop(result.expect("the kernel takes the filter")),
        }
    }
}
