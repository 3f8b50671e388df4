//! The image of the tests.

use std::path::Path;
use std::process::Command;

use crate::process::skiff_binary;

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
