//! The labels of a namespace that say what is enforced, audited and warned of in it.

use super::{Level, LevelVersion, Version};
use crate::field::{ErrorList, FieldError, Path};

/// What holds in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What pods must meet to be accepted.
    pub enforce: LevelVersion,
    /// What is noted in the audit log.
    pub audit: LevelVersion,
    /// What the client is warned of.
    pub warn: LevelVersion,
}

impl Default for Policy {
    /// Nothing is forbidden.
    fn default() -> Self {
        let nothing = LevelVersion { level: Level::Privileged, version: Version::Latest };
        Self { enforce: nothing, audit: nothing, warn: nothing }
    }
}

impl Policy {
    /// What the labels that `label` finds say, over defaults, and what is wrong with them. A wrong `enforce` counts as the
    /// strictest level, a wrong `audit` or `warn` as none.
    #[must_use]
    pub fn from_labels<'a>(label: impl Fn(&str) -> Option<&'a str>, defaults: &Self) -> (Self, ErrorList) {
        let (mut policy, mut errors) = (*defaults, ErrorList::new());
        for (mode, target, fallback) in [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ] {
            let mut read = |suffix: &str, why: &str, is_valid: &mut dyn FnMut(&str) -> bool| {
                let key = format!("pod-security.kubernetes.io/{mode}{suffix}");
                let Some(text) = label(&key) else { return };
                if !is_valid(text) {
                    let path = Path::new("metadata").child("labels").key(&key);
                    errors.push(FieldError::invalid(&path, text, why));
                }
            };
            read("", "must be one of privileged, baseline, restricted", &mut |text| {
                let level = parse_level(text);
                target.level = level.unwrap_or(fallback);
                level.is_some()
            });
            read("-version", "must be \"latest\" or \"v1.x\"", &mut |text| {
                let version = parse_version(text);
                target.version = version.unwrap_or(Version::Latest);
                version.is_some()
            });
        }
        (policy, errors)
    }
}

fn parse_level(text: &str) -> Option<Level> {
    [Level::Privileged, Level::Baseline, Level::Restricted].into_iter().find(|level| level.as_str() == text)
}

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let minor = text.strip_prefix("v1.")?;
    let is_number = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = minor == "0" || !minor.starts_with('0');
    if is_number && is_canonical { minor.parse().ok().map(Version::Minor) } else { None }
}
