//! The SHA-256 digest that names a piece of content.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

/// A text that is no digest that is understood here.
#[derive(Debug, thiserror::Error)]
#[error("invalid digest {0:?}; a digest is \"sha256:\" and 64 hexadecimal digits")]
pub(crate) struct InvalidDigest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    /// Checks a text.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let hex = text.strip_prefix(PREFIX).unwrap_or_default();
        let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidDigest(text.to_owned())) }
    }

    /// The digest of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The digest of what `hasher` has seen.
    pub(crate) fn finish(hasher: Sha256) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(hasher.finalize())))
    }

    /// The digits alone.
    pub(crate) fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The whole text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_digests_are_accepted() {
        let empty = Digest::of(b"");
        assert_eq!(empty.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(empty.as_str()).expect("valid"), empty);
        for wrong in ["", "sha256:", "sha512:00", "sha256:../../etc/passwd", &empty.hex()[..64]] {
            assert!(Digest::parse(wrong).is_err(), "{wrong}");
        }
    }
}
