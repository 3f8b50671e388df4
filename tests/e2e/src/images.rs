//! The image of the tests.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::pods::IMAGE;
use crate::process::{Process, skiff_binary};

/// What holds a pod's namespaces under runtimes that need an image for that.
pub const PAUSE: &str = "skiff.local/pause:1";
const PRINTER: &str = "skiff.local/hello:printer";

/// Options that make of that image one that prints `entrypoint:` and its arguments.
pub const PRINTING: &[&str] = &["--entrypoint", "/bin/echo", "--entrypoint", "entrypoint:"];

/// Builds `skiff.local/hello:VERSION` on the node that owns these directories; `further` options of `skiff image build`
/// make it another image.
#[track_caller]
pub fn build_hello(data_dir: &Path, run_dir: &Path, version: &str, further: &[&str]) {
    let mut command = Command::new(crate::workspace().join("scripts/hello-image.sh"));
    command.arg(skiff_binary()).arg(version);
    command.arg("--data-dir").arg(data_dir).arg("--run-dir").arg(run_dir).args(further);
    let output = command.output().expect("the script is there");
    assert!(output.status.success(), "hello-image.sh: {}", String::from_utf8_lossy(&output.stderr));
}

/// Archives of the first version of that image, of the one that prints, and of [`PAUSE`], for runtimes that are not ours.
#[track_caller]
pub fn archives(namespace: &str, dir: &Path) -> Vec<PathBuf> {
    let (data, run) = (dir.join("builder"), dir.join("builder-run"));
    let arguments = |command: &[&str]| -> Vec<String> {
        let dirs = [Path::new("--data-dir"), &data, Path::new("--run-dir"), &run];
        let dirs = dirs.iter().map(|argument| argument.to_string_lossy().into_owned());
        command.iter().map(|argument| (*argument).to_owned()).chain(dirs).collect()
    };
    let skiff = |command: &[&str]| {
        let output = Command::new(skiff_binary()).args(arguments(command)).output().expect("the binary runs");
        assert!(output.status.success(), "skiff {command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let mut builder = Process::start("builder", namespace, &arguments(&["runtime"]), &dir.join("builder.log"));
    let socket = run.join("cri.sock");
    testkit::until(Duration::from_secs(60), "the builder", || {
        builder.assert_running();
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    build_hello(&data, &run, "1", &[]);
    build_hello(&data, &run, "printer", PRINTING);
    let root = dir.join("pause");
    std::fs::create_dir_all(root.join("bin")).expect("a directory");
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    symlink("busybox", root.join("bin/sleep")).expect("a link");
    let root = root.to_string_lossy().into_owned();
    let sleep = ["--entrypoint", "/bin/sleep", "--entrypoint", "infinity"];
    skiff(&[&["image", "build", "--from-rootfs", &root, "--tag", PAUSE], &sleep[..]].concat());
    let export = |image: &str, name: &str| {
        let file = dir.join(name);
        skiff(&["image", "export", "--output", &file.to_string_lossy(), image]);
        file
    };
    let files = vec![export(IMAGE, "hello.tar"), export(PRINTER, "printer.tar"), export(PAUSE, "pause.tar")];
    builder.stop();
    skiff(&["down", "--purge", "--write-kubeconfig", "/nonexistent"]);
    files
}
