//! What plugins answered, a file a sandbox and interface.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Attachment, InvokeError, Network};

/// What `libcni` calls the files that it reads.
const KIND: &str = "cniCacheV1";

/// The files.
pub(super) struct Cache {
    dir: PathBuf,
}

/// What is kept of a sandbox.
pub(super) struct Cached {
    /// The network as it was when the sandbox was connected.
    pub network: Network,
    /// What its last plugin answered; nothing if that was never heard.
    pub answer: Option<Value>,
    /// Where it is kept.
    pub file: PathBuf,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InvokeError {
    move |source| InvokeError::Cache { action, path: path.to_owned(), source }
}

impl Cache {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.join("results") }
    }

    /// Keeps what is known of a sandbox.
    pub(super) fn write(
        &self,
        network: &Network,
        attachment: &Attachment,
        answer: Option<&Value>,
    ) -> Result<(), InvokeError> {
        let file =
            self.dir.join(format!("{}-{}", network.name(), suffix(&attachment.container_id, &attachment.if_name)));
        let config = serde_json::to_vec(network.document()).expect("a document has a JSON form");
        let document = json!({
            "kind": KIND,
            "containerId": attachment.container_id,
            "config": BASE64_STANDARD.encode(config),
            "ifName": attachment.if_name,
            "networkName": network.name(),
            "netns": attachment.netns,
            "cniArgs": attachment.arguments,
            "capabilityArgs": attachment.capabilities,
            "result": answer,
        });
        fs::create_dir_all(&self.dir).map_err(failed("make", &self.dir))?;
        let temporary = self.dir.join(format!(".{}", suffix(&attachment.container_id, &attachment.if_name)));
        let written = fs::write(&temporary, document.to_string()).and_then(|()| fs::rename(&temporary, &file));
        written.map_err(failed("write", &file))
    }

    /// What is kept of a sandbox.
    pub(super) fn find(&self, container_id: &str, if_name: &str) -> Result<Option<Cached>, InvokeError> {
        let end = format!("-{}", suffix(container_id, if_name));
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(failed("read", &self.dir)(err)),
        };
        let file = entries.flatten().find(|entry| entry.file_name().to_string_lossy().ends_with(&end));
        let Some(file) = file.map(|entry| entry.path()) else { return Ok(None) };
        let text = match fs::read(&file) {
            Ok(text) => text,
            // Whoever disconnected the sandbox meanwhile was faster.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(failed("read", &file)(err)),
        };
        let read = || {
            let document: Value = serde_json::from_slice(&text).map_err(|err| err.to_string())?;
            let config = document["config"].as_str().ok_or("it names no configuration")?;
            let network = Network::parse(&BASE64_STANDARD.decode(config).map_err(|err| err.to_string())?)?;
            let answer = document.get("result").filter(|answer| !answer.is_null()).cloned();
            Ok::<_, String>((network, answer))
        };
        let (network, answer) = read().map_err(|err| failed("understand", &file)(io::Error::other(err)))?;
        Ok(Some(Cached { network, answer, file }))
    }

    /// Forgets a sandbox.
    pub(super) fn remove(&self, file: &Path) -> Result<(), InvokeError> {
        match fs::remove_file(file) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("remove", file)(err)),
            _ => Ok(()),
        }
    }
}

fn suffix(container_id: &str, if_name: &str) -> String {
    format!("{container_id}-{if_name}")
}
