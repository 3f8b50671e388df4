use std::fs;
use std::os::unix::fs::PermissionsExt;

use cri::SeLinuxOption;
use rustix::fs::lgetxattr;

use super::*;

/// A machine whose kernel has AppArmor and one profile, and a program that loads others: it notes what it is asked for.
fn machine(program: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
    };
    write("sys/module/apparmor/parameters/enabled", "Y\n");
    write("sys/kernel/security/apparmor/profiles", "my profile (complain)\n");
    write("sys/fs/selinux/enforce", "1");
    write("usr/sbin/apparmor_parser", program);
    root
}

/// A program that does as the real one as far as can be seen from outside.
const LOADS: &str = r#"#!/bin/sh
root=$(dirname "$0")/../..
echo "$@" >>"$root/called"
case $1 in
--replace) sed -n 's/^profile \([^ ]*\) .*/\1 (enforce)/p' "$3" >>"$root/sys/kernel/security/apparmor/profiles" ;;
--remove) echo "my profile (complain)" >"$root/sys/kernel/security/apparmor/profiles" ;;
esac
"#;

fn confinement(root: &Path) -> Confinement {
    Confinement::new(root, "skiff", &root.join("run"))
}

fn wanting(type_: ProfileType, name: &str) -> LinuxContainerSecurityContext {
    let profile = SecurityProfile { profile_type: type_ as i32, localhost_ref: name.to_owned() };
    LinuxContainerSecurityContext { apparmor: Some(profile), ..Default::default() }
}

#[track_caller]
fn check(confinement: &Confinement, context: &LinuxContainerSecurityContext, expected: Result<Option<&str>, &str>) {
    let found = confinement.profile(context).map_err(|err| err.to_string());
    assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expected);
}

#[test]
fn a_container_has_a_profile_that_is_loaded() {
    let (with, without) = (machine(LOADS), tempfile::tempdir().expect("a directory"));
    let [with, without] = [with.path(), without.path()].map(confinement);
    let privileged = |context| LinuxContainerSecurityContext { privileged: true, ..context };
    let (default, nothing) = (wanting(ProfileType::RuntimeDefault, ""), LinuxContainerSecurityContext::default());
    check(&with, &default, Ok(Some("skiff-default")));
    check(&with, &nothing, Ok(Some("skiff-default")));
    check(&with, &privileged(default.clone()), Ok(None));
    check(&with, &privileged(nothing.clone()), Ok(None));
    check(&with, &wanting(ProfileType::Localhost, "my profile"), Ok(Some("my profile")));
    check(&with, &wanting(ProfileType::Localhost, "localhost/my profile"), Ok(Some("my profile")));
    check(&with, &wanting(ProfileType::Localhost, "my"), Err("apparmor profile not found my"));
    check(&with, &wanting(ProfileType::Unconfined, ""), Ok(None));
    let missing = "apparmor is not supported: cannot apply profile \"my\"";
    check(&without, &wanting(ProfileType::Localhost, "my"), Err(missing));
    let missing = "apparmor is not supported: cannot apply profile \"skiff-default\"";
    check(&without, &default, Err(missing));
    check(&without, &nothing, Ok(None));
    check(&without, &wanting(ProfileType::Unconfined, ""), Ok(None));
}

#[test]
#[expect(deprecated, reason = "the field of kubelets before v1.22")]
fn one_text_says_the_same() {
    let machine = machine(LOADS);
    let with = confinement(machine.path());
    let saying = |text: &str| LinuxContainerSecurityContext { apparmor_profile: text.to_owned(), ..Default::default() };
    check(&with, &saying("runtime/default"), Ok(Some("skiff-default")));
    check(&with, &saying("localhost/my profile"), Ok(Some("my profile")));
    check(&with, &saying("unconfined"), Ok(None));
}

#[test]
fn the_runtimes_own_profile_is_loaded_once_and_taken_away_with_the_installation() {
    let machine = machine(LOADS);
    let root = machine.path();
    let calls = || fs::read_to_string(root.join("called")).unwrap_or_default();
    cleanup(root, "skiff").expect("nothing to do");
    assert_eq!(calls(), "");
    let with = confinement(root);
    for _ in 0..2 {
        check(&with, &LinuxContainerSecurityContext::default(), Ok(Some("skiff-default")));
    }
    let file = root.join("run/skiff-default.apparmor");
    let load = format!("--replace --skip-cache {}\n", file.display());
    assert_eq!(calls(), load);
    let text = fs::read_to_string(file).expect("a profile");
    assert!(text.starts_with("profile skiff-default flags="), "{text}");
    cleanup(root, "skiff").expect("taken away");
    assert!(calls().strip_prefix(&load).is_some_and(|call| call.starts_with("--remove ")), "{}", calls());
}

#[test]
fn what_keeps_a_profile_from_being_loaded_is_told() {
    let machine = machine("#!/bin/sh\necho 'no memory' >&2\nexit 12\n");
    let refused = Err("cannot load apparmor profile skiff-default: no memory");
    check(&confinement(machine.path()), &LinuxContainerSecurityContext::default(), refused);
    fs::remove_file(machine.path().join("usr/sbin/apparmor_parser")).expect("removed");
    let missing = Err("cannot load apparmor profile skiff-default: apparmor_parser is not on this machine");
    check(&confinement(machine.path()), &LinuxContainerSecurityContext::default(), missing);
}

#[test]
fn privileged_containers_have_labels_for_files_alone() {
    let machine = machine(LOADS);
    let options = SeLinuxOption { level: "s0:c1,c2".to_owned(), ..Default::default() };
    let mut context = LinuxContainerSecurityContext { selinux_options: Some(options), ..Default::default() };
    let files = "system_u:object_r:container_file_t:s0:c1,c2";
    let labels = |context: &_| confinement(machine.path()).labels(context).expect("labels");
    assert_eq!(labels(&context).processes, "system_u:system_r:container_t:s0:c1,c2");
    assert_eq!(labels(&context).files, files);
    context.privileged = true;
    assert_eq!(labels(&context), Labels { processes: String::new(), files: files.to_owned() });
}

#[test]
fn files_and_links_are_labelled_all_the_way_down() {
    let root = tempfile::tempdir().expect("a directory");
    let (below, outside) = (root.path().join("volume/a/b"), root.path().join("outside"));
    fs::create_dir_all(&below).expect("made");
    fs::write(below.join("file"), "").expect("written");
    fs::write(&outside, "").expect("written");
    std::os::unix::fs::symlink(&outside, below.join("link")).expect("linked");
    relabel(&root.path().join("volume"), "u:object_r:t:s0").expect("labelled");
    let label = |path: &Path| {
        let mut buffer = [0; 64];
        lgetxattr(path, "security.selinux", &mut buffer[..])
            .ok()
            .map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    for path in ["volume", "volume/a", "volume/a/b", "volume/a/b/file", "volume/a/b/link"] {
        assert_eq!(label(&root.path().join(path)).as_deref(), Some("u:object_r:t:s0"), "{path}");
    }
    assert_eq!(label(&outside), None);
}
