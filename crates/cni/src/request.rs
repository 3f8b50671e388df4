//! What a runtime asks of a plugin, as it stands in the plugin's environment and standard input.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Code, Failure, NetworkConfig, VERSIONS};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// Connect the sandbox.
    Add,
    /// Say whether it is connected as it was.
    Check,
    /// Disconnect it; what is not there is no error.
    Del,
    /// Say which versions are spoken.
    Version,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What is to be done.
    pub command: Command,
    /// The sandbox.
    pub container_id: String,
    /// The path of its network namespace; absent where that is gone before the sandbox is disconnected.
    pub netns: Option<PathBuf>,
    /// The name that its interface shall have.
    pub if_name: String,
    /// The network.
    pub config: NetworkConfig,
}

/// A request that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A variable is missing or wrong.
    #[error("environment variable {name} is {what}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The configuration is no JSON.
    #[error("the network configuration on standard input cannot be read: {0}")]
    Config(serde_json::Error),
    /// The version is not spoken.
    #[error("CNI version {asked:?} is not spoken; these are: {}", VERSIONS.join(", "))]
    Version {
        /// As asked for.
        asked: String,
    },
}

impl RequestError {
    /// As it is told to the runtime.
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::Variable { .. } => Code::InvalidEnvironment,
            Self::Config(_) => Code::Undecodable,
            Self::Version { .. } => Code::IncompatibleVersion,
        };
        Failure::new(code, self)
    }
}

impl Request {
    /// Reads a request from a plugin's environment and standard input.
    pub fn read(environment: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Self, RequestError> {
        let variable = |name: &'static str| {
            let value = environment(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| RequestError::Variable { name, what: "not set".to_owned() })
        };
        let command = match variable("CNI_COMMAND")?.as_str() {
            "ADD" => Command::Add,
            "CHECK" => Command::Check,
            "DEL" => Command::Del,
            "VERSION" => Command::Version,
            other => {
                let what = format!("{other:?}, which is none of ADD, CHECK, DEL, VERSION");
                return Err(RequestError::Variable { name: "CNI_COMMAND", what });
            }
        };
        let config: NetworkConfig = serde_json::from_slice(input).map_err(RequestError::Config)?;
        if command == Command::Version {
            let (container_id, if_name) = Default::default();
            return Ok(Self { command, container_id, netns: None, if_name, config });
        }
        if !VERSIONS.contains(&config.cni_version.as_str()) {
            return Err(RequestError::Version { asked: config.cni_version });
        }
        let netns = match command {
            Command::Del => variable("CNI_NETNS").ok(),
            _ => Some(variable("CNI_NETNS")?),
        };
        let (container_id, if_name) = (variable("CNI_CONTAINERID")?, variable("CNI_IFNAME")?);
        Ok(Self { command, container_id, netns: netns.map(PathBuf::from), if_name, config })
    }
}
