//! The Pod Security Standards: what a pod may ask of its node, by level and version.
//!
//! A namespace's labels make a [`Policy`]; [`evaluate`] judges a pod, or the template of one, by the controls of a level
//! in the shape that they had in a version. Words and order are upstream's k8s.io/pod-security-admission.

mod controls;
mod labels;
mod pod;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

pub use labels::Policy;

/// How much is forbidden; later levels forbid more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    Privileged,
    /// Known ways to gain privileges.
    Baseline,
    /// All that is not hardened.
    Restricted,
}

/// The version of the standards; controls come and change with Kubernetes' minor versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `v1.x`.
    Minor(i64),
    /// The newest that there is.
    Latest,
}

/// A level as it is in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl Level {
    /// Its name in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(minor) => write!(f, "v1.{minor}"),
            Self::Latest => f.write_str("latest"),
        }
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.as_str(), self.version)
    }
}

/// A control that a pod does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    reason: &'static str,
    detail: String,
}

impl Violation {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The controls that a pod does not meet, in upstream's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Whether the pod meets all controls.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The controls alone, which pods of the same making have in common.
    #[must_use]
    pub fn reasons(&self) -> String {
        self.0.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
    }

    /// The controls with what in the pod is against them.
    #[must_use]
    pub fn details(&self) -> String {
        let each = self.0.iter().map(|Violation { reason, detail }| format!("{reason} ({detail})"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Judges a pod, or something with the `metadata` and the `spec` of one, as templates have them.
#[must_use]
pub fn evaluate(policy: LevelVersion, pod: &Value) -> Violations {
    if policy.level == Level::Privileged {
        return Violations::default();
    }
    let pod = pod::Pod::new(pod);
    Violations(controls::of(policy).filter_map(|check| check(&pod)).collect())
}
