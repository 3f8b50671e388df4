//! Programs of the node that mount what the kernel alone cannot.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The directories where the node's programs are, in the order in which they are looked at.
#[derive(Clone, Debug)]
pub struct Programs(pub Vec<PathBuf>);

impl Default for Programs {
    fn default() -> Self {
        Self(["/sbin", "/usr/sbin", "/bin", "/usr/bin"].map(PathBuf::from).into())
    }
}

/// What came of a program.
pub struct Outcome {
    /// Its status, as Go prints it.
    pub status: String,
    /// Whether it succeeded.
    pub success: bool,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// What it wrote, errors included.
    pub output: String,
}

/// Runs a program to its end.
pub async fn run(program: &Path, args: &[&str]) -> Result<Outcome, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let name = program.display();
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    let output = output.map_err(|_| format!("{name} did not end within {} s", LIMIT.as_secs()))?;
    let output = output.map_err(|err| format!("{name} cannot be started: {err}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let code = output.status.code();
    let status = code.map_or_else(|| output.status.to_string(), |code| format!("exit status {code}"));
    Ok(Outcome { status, success: output.status.success(), code, output: text.trim_end().to_owned() })
}

impl Programs {
    /// A program, wherever the node has it. An error is a message for the user.
    pub fn find(&self, program: &str, package: &str) -> Result<PathBuf, String> {
        let found = self.0.iter().map(|dir| dir.join(program)).find(|path| path.is_file());
        found.ok_or_else(|| format!("the node has no program {program}: install {package} on it"))
    }

    /// Mounts something with the node's `mount`, which knows the helpers of file systems.
    pub async fn mount(&self, kind: &str, source: &str, target: &Path, options: &[String]) -> Result<(), String> {
        let mount = self.find("mount", "util-linux")?;
        let target = target.to_string_lossy();
        let options = options.join(",");
        let mut args = vec!["-t", kind];
        if !options.is_empty() {
            args.extend(["-o", &options]);
        }
        args.extend([source, &target]);
        let outcome = run(&mount, &args).await?;
        if outcome.success {
            return Ok(());
        }
        Err(format!(
            "mount failed: {}\nMounting command: mount\nMounting arguments: {}\nOutput: {}",
            outcome.status,
            args.join(" "),
            outcome.output
        ))
    }

    /// Mounts a device, and gives it a file system before if it has none.
    pub async fn format_and_mount(
        &self,
        device: &str,
        target: &Path,
        kind: &str,
        options: &[String],
    ) -> Result<(), String> {
        let kind = if kind.is_empty() { "ext4" } else { kind };
        let blkid = self.find("blkid", "util-linux")?;
        let probe = run(&blkid, &["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", device]).await?;
        match (probe.success, probe.code) {
            (true, _) => {}
            // Nothing is on it.
            (false, Some(2)) if !options.iter().any(|option| option == "ro") => {
                let mkfs = self.find(&format!("mkfs.{kind}"), &format!("the tools of {kind}"))?;
                let args: &[&str] = if kind.starts_with("ext") { &["-F", "-m0", device] } else { &[device] };
                let made = run(&mkfs, args).await?;
                if !made.success {
                    let (status, output) = (made.status, made.output);
                    return Err(format!("format of disk {device} failed: type:({kind}) {status}: {output}"));
                }
            }
            (false, Some(2)) => return Err(format!("cannot mount unformatted disk {device} as read-only")),
            _ => return Err(format!("cannot look at disk {device}: {}: {}", probe.status, probe.output)),
        }
        self.mount(kind, device, target, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_or_fails_is_named() {
        let missing = Programs::default().find("mount.nothing", "nothing-tools").expect_err("there is none");
        assert!(missing.contains("mount.nothing") && missing.contains("install nothing-tools"), "{missing}");
        let dir = tempfile::tempdir().expect("a directory");
        let options = ["ro".to_owned()];
        let failed =
            Programs::default().mount("ext4", "/nowhere", dir.path(), &options).await.expect_err("there is no device");
        let arguments = format!("Mounting arguments: -t ext4 -o ro /nowhere {}", dir.path().display());
        assert!(failed.starts_with("mount failed: exit status ") && failed.contains(&arguments), "{failed}");
    }
}
