//! The runtime's side: finds the network that is configured on a machine, and has its plugins connect sandboxes.
//!
//! [`Invoker::add`] runs the plugins of a network one after another, each with what the one before it answered, and
//! keeps the last answer on disk; [`Invoker::del`] runs them backwards with that answer, and forgets it. What was kept
//! is what tells whether a sandbox is connected, and as what: nobody has to remember more than the sandbox's name. It
//! lies where `libcni`, which most runtimes use, would put it.

mod cache;
mod network;
mod outcome;
mod run;

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};

use cache::{Cache, Cached};
pub use network::{Network, NetworkError};
pub use outcome::Outcome;
use run::{Call, run};

use crate::Command;

/// The versions of the interface in which plugins can be asked, oldest first.
pub const INVOKED_VERSIONS: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];

/// The oldest version in which plugins are told at the end what they answered at the start, and can be asked whether it
/// still holds.
const SINCE_CHECK: usize = 1;

/// Where networks, plugins and what came of them are.
#[derive(Clone, Debug)]
pub struct Invoker {
    /// The directory of network configurations; the first of them counts.
    pub conf_dir: PathBuf,
    /// The directories of plugins.
    pub bin_dirs: Vec<PathBuf>,
    /// The directory in which answers are kept.
    pub cache_dir: PathBuf,
}

/// A sandbox that is to be connected, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The sandbox's name.
    pub container_id: String,
    /// The path of its network namespace; at the end it may be gone already.
    pub netns: Option<PathBuf>,
    /// The name that its interface shall have.
    pub if_name: String,
    /// What plugins are told about the sandbox beside the configuration, by name.
    pub arguments: Vec<(String, String)>,
    /// What plugins are told that say they want it, by the names of their capabilities.
    pub capabilities: Map<String, Value>,
}

/// Why a sandbox was not connected or disconnected.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// No network can be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The sandbox is not connected.
    #[error("sandbox {0} is not connected to a network")]
    NotConnected(String),
    /// What was answered is not there any more, or cannot be kept.
    #[error("cannot {action} {}: {source}", path.display())]
    Cache {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A plugin is not installed.
    #[error("network plugin {program} is in none of {}", directories(dirs))]
    NoPlugin {
        /// Its name.
        program: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// A plugin cannot be started or heard.
    #[error("cannot run network plugin {program}: {source}")]
    Run {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A plugin says that it did not do it.
    #[error("network plugin {program} failed to {action}: {message}")]
    Plugin {
        /// Its name.
        program: String,
        /// What it was asked for.
        action: &'static str,
        /// What it says, or what is known of its end.
        message: String,
    },
    /// A plugin's answer makes no sense.
    #[error("network plugin {program} answered what cannot be read: {reason}")]
    Answer {
        /// Its name.
        program: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

fn directories(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Invoker {
    /// The network that sandboxes are connected to now.
    pub fn network(&self) -> Result<Network, NetworkError> {
        Network::first_in(&self.conf_dir)
    }

    /// Connects a sandbox. Where a plugin fails, those before it have done their part: [`Invoker::del`] undoes it.
    pub async fn add(&self, attachment: &Attachment) -> Result<Outcome, InvokeError> {
        let network = self.network()?;
        let mut previous = None;
        // Kept at once, so that whoever comes after a crash knows which plugins to ask.
        let cache = self.cache();
        cache.write(&network, attachment, None)?;
        for plugin in network.plugins() {
            let call = Call { command: Command::Add, network: &network, plugin, previous, attachment };
            let answer = run(&self.bin_dirs, call).await?;
            let program = || plugin.program().to_owned();
            let answer =
                answer.ok_or_else(|| InvokeError::Answer { program: program(), reason: "it is empty".to_owned() })?;
            Outcome::read(&answer).map_err(|reason| InvokeError::Answer { program: program(), reason })?;
            previous = Some(answer);
        }
        let answer = previous.unwrap_or_else(|| Outcome::nothing(network.version()));
        cache.write(&network, attachment, Some(&answer))?;
        Ok(Outcome::read(&answer).unwrap_or_default())
    }

    /// Asks the plugins whether a sandbox is connected as they said. Plugins of old versions are not asked.
    pub async fn check(&self, attachment: &Attachment) -> Result<(), InvokeError> {
        let cached = self.cache().find(&attachment.container_id, &attachment.if_name)?;
        let not_connected = || InvokeError::NotConnected(attachment.container_id.clone());
        let Cached { network, answer, .. } = cached.ok_or_else(not_connected)?;
        let answer = answer.ok_or_else(not_connected)?;
        if !network.can_check() {
            return Ok(());
        }
        for plugin in network.plugins() {
            let previous = Some(answer.clone());
            run(&self.bin_dirs, Call { command: Command::Check, network: &network, plugin, previous, attachment })
                .await?;
        }
        Ok(())
    }

    /// Disconnects a sandbox from the network that it was connected to, or began to be; nothing where there is none.
    pub async fn del(&self, attachment: &Attachment) -> Result<(), InvokeError> {
        let cache = self.cache();
        let Some(Cached { network, answer, file }) = cache.find(&attachment.container_id, &attachment.if_name)? else {
            return Ok(());
        };
        for plugin in network.plugins().iter().rev() {
            let previous = answer.clone().filter(|_| network.tells_previous());
            run(&self.bin_dirs, Call { command: Command::Del, network: &network, plugin, previous, attachment })
                .await?;
        }
        cache.remove(&file)
    }

    /// How a sandbox is connected; nothing while it is not.
    pub fn outcome(&self, container_id: &str, if_name: &str) -> Result<Option<Outcome>, InvokeError> {
        let cached = self.cache().find(container_id, if_name)?;
        // Only what could be read was kept.
        Ok(cached.and_then(|cached| cached.answer).map(|answer| Outcome::read(&answer).unwrap_or_default()))
    }

    fn cache(&self) -> Cache {
        Cache::new(&self.cache_dir)
    }
}

#[cfg(test)]
mod tests;
