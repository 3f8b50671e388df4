//! Running one plugin.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process;

use super::network::Plugin;
use super::{Attachment, InvokeError, Network};
use crate::Command;

/// How long a plugin may take; it may have to wait for a server.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one plugin is asked.
pub(super) struct Call<'a> {
    pub command: Command,
    pub network: &'a Network,
    pub plugin: &'a Plugin,
    /// What was answered before.
    pub previous: Option<Value>,
    pub attachment: &'a Attachment,
}

impl Call<'_> {
    /// What the plugin reads.
    fn input(&self) -> Value {
        let mut config = self.plugin.config().clone();
        config.insert("name".to_owned(), json!(self.network.name()));
        config.insert("cniVersion".to_owned(), json!(self.network.version()));
        let wanted = self.attachment.capabilities.iter().filter(|(name, _)| self.plugin.has(name));
        let wanted: Map<String, Value> = wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
        if !wanted.is_empty() {
            config.insert("runtimeConfig".to_owned(), Value::Object(wanted));
        }
        if let Some(previous) = &self.previous {
            config.insert("prevResult".to_owned(), previous.clone());
        }
        Value::Object(config)
    }

    /// What the plugin finds in its environment beside what this process has.
    fn environment(&self, bin_dirs: &[PathBuf]) -> Vec<(&'static str, String)> {
        let arguments = self.attachment.arguments.iter().map(|(name, value)| format!("{name}={value}"));
        let path: Vec<String> = bin_dirs.iter().map(|dir| dir.display().to_string()).collect();
        let netns = self.attachment.netns.as_ref().map(|path| path.display().to_string());
        vec![
            ("CNI_COMMAND", verb(self.command).0.to_owned()),
            ("CNI_CONTAINERID", self.attachment.container_id.clone()),
            ("CNI_NETNS", netns.unwrap_or_default()),
            ("CNI_IFNAME", self.attachment.if_name.clone()),
            ("CNI_ARGS", arguments.collect::<Vec<_>>().join(";")),
            ("CNI_PATH", path.join(":")),
        ]
    }
}

/// A command as plugins and as people know it.
fn verb(command: Command) -> (&'static str, &'static str) {
    match command {
        Command::Add => ("ADD", "connect the sandbox"),
        Command::Check => ("CHECK", "check the sandbox"),
        Command::Del => ("DEL", "disconnect the sandbox"),
        Command::Version => ("VERSION", "tell its versions"),
    }
}

/// Runs a plugin to its end; what it answers, if anything.
pub(super) async fn run(bin_dirs: &[PathBuf], call: Call<'_>) -> Result<Option<Value>, InvokeError> {
    let program = call.plugin.program().to_owned();
    let path = bin_dirs.iter().map(|dir| dir.join(&program)).find(|path| path.is_file());
    let path = path.ok_or_else(|| InvokeError::NoPlugin { program: program.clone(), dirs: bin_dirs.to_vec() })?;
    let input = call.input().to_string();
    let output = tokio::time::timeout(PATIENCE, start(&path, call.environment(bin_dirs), input.as_bytes())).await;
    let output = output.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end")));
    let output = output.map_err(|source| InvokeError::Run { program: program.clone(), source })?;
    if !output.status.success() {
        let action = verb(call.command).1;
        return Err(InvokeError::Plugin { program, action, message: complaint(&output) });
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(None);
    }
    let answer = serde_json::from_slice(&output.stdout);
    answer.map(Some).map_err(|err| InvokeError::Answer { program, reason: err.to_string() })
}

async fn start(program: &Path, environment: Vec<(&'static str, String)>, input: &[u8]) -> io::Result<Output> {
    let mut command = process::Command::new(program);
    command.envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is asked will say why.
        let _ = stdin.write_all(input).await;
    }
    child.wait_with_output().await
}

/// Why a plugin failed: what it answers, or else what it writes.
fn complaint(output: &Output) -> String {
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let text = |name: &str| answer.as_ref().and_then(|answer| answer[name].as_str()).filter(|text| !text.is_empty());
    match (text("msg"), text("details")) {
        (Some(message), Some(details)) => format!("{message}; {details}"),
        (Some(message), None) => message.to_owned(),
        (None, _) => {
            let said = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
            format!("{}: {}", output.status, said.trim())
        }
    }
}
