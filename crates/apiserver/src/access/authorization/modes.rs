//! The ways of deciding, as `--authorization-mode` and AuthorizationConfiguration name them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// One way of deciding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum AuthorizationMode {
    /// Kubelets may do what the pods of their node need.
    Node,
    /// Roles and bindings decide.
    #[serde(rename = "RBAC")]
    Rbac,
    /// Policies in a file decide.
    #[serde(rename = "ABAC")]
    Abac,
    /// Another server decides.
    Webhook,
    /// Whoever has said who he is may do everything.
    AlwaysAllow,
    /// Nobody may do anything but administrators.
    AlwaysDeny,
}

/// The modes of the default chain.
pub const DEFAULT_MODES: [AuthorizationMode; 2] = [AuthorizationMode::Node, AuthorizationMode::Rbac];

/// All of them.
const MODES: [AuthorizationMode; 6] = [
    AuthorizationMode::AlwaysAllow,
    AuthorizationMode::AlwaysDeny,
    AuthorizationMode::Abac,
    AuthorizationMode::Webhook,
    AuthorizationMode::Rbac,
    AuthorizationMode::Node,
];

/// A mode that there is not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("authorization mode {0:?} is not known; the modes are {modes}", modes = MODES.map(|mode| mode.to_string()).join(", "))]
pub struct ModeError(String);

impl AuthorizationMode {
    /// The names of all modes, in order.
    pub(super) fn names() -> Vec<&'static str> {
        let mut names = MODES.map(Self::as_str).to_vec();
        names.sort_unstable();
        names
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::Abac => "ABAC",
            Self::Webhook => "Webhook",
            Self::AlwaysAllow => "AlwaysAllow",
            Self::AlwaysDeny => "AlwaysDeny",
        }
    }
}

impl FromStr for AuthorizationMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        MODES.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| ModeError(text.to_owned()))
    }
}

impl fmt::Display for AuthorizationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_named_as_upstream_names_them() {
        for name in AuthorizationMode::names() {
            assert_eq!(name.parse::<AuthorizationMode>().map(AuthorizationMode::as_str), Ok(name));
        }
        let why = "rbac".parse::<AuthorizationMode>().expect_err("another name").to_string();
        assert!(why.starts_with("authorization mode \"rbac\" is not known; the modes are AlwaysAllow, "), "{why}");
    }
}
