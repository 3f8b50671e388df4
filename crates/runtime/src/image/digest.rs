//! The digest that names a piece of content: by SHA-256, or by SHA-512 where others chose that.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// `sha256:` and 64 hexadecimal digits, or `sha512:` and 128.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

/// A text that is no digest that is understood here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidDigest {
    /// It names another algorithm.
    #[error("digest {0:?} is of an algorithm that is not supported; sha256 and sha512 are")]
    Algorithm(String),
    /// It is none at all.
    #[error("invalid digest {0:?}; a digest is \"sha256:\" and 64 hexadecimal digits, or \"sha512:\" and 128")]
    Format(String),
}

/// How content is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// What everybody uses.
    Sha256,
    /// What the OCI image specification allows beside it.
    Sha512,
}

impl Algorithm {
    /// All that are understood.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As digests have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The number of its hexadecimal digits.
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Begins to hash.
    pub(crate) fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Sha512 => Hasher::Sha512(Box::default()),
        }
    }
}

/// Computes a digest of what it is given.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    /// By SHA-256.
    Sha256(Sha256),
    /// By SHA-512.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes.
    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::new(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::new(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Digest {
    fn new(algorithm: Algorithm, hash: &[u8]) -> Self {
        Self(format!("{}:{}", algorithm.name(), hex::encode(hash)))
    }

    /// Checks a text.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest::Format(text.to_owned());
        let (name, hex) = text.split_once(':').ok_or_else(invalid)?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        let Some(algorithm) = algorithm else {
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return Err(if is_name { InvalidDigest::Algorithm(text.to_owned()) } else { invalid() });
        };
        let valid =
            hex.len() == algorithm.digits() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(invalid()) }
    }

    /// The digest of `bytes`, as this program names content.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::by(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` by an algorithm.
    pub(crate) fn by(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// By which it was computed.
    pub(crate) fn algorithm(&self) -> Algorithm {
        if self.0.starts_with(Algorithm::Sha512.name()) { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The digits alone.
    pub(crate) fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// Where the content is in an OCI layout.
    pub(crate) fn layout_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm().name(), self.hex())
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
        let long = Digest::by(Algorithm::Sha512, b"");
        assert!(long.as_str().starts_with("sha512:cf83e1357eefb8bd") && long.hex().len() == 128);
        for digest in [&empty, &long] {
            assert_eq!(Digest::parse(digest.as_str()).expect("valid"), *digest);
            assert_eq!(Digest::by(digest.algorithm(), b""), *digest);
        }
        let mixed = format!("sha512:{}", empty.hex());
        for wrong in ["", "sha256:", "sha512:00", "sha256:../../etc/passwd", &empty.hex()[..64], ":00", &mixed] {
            assert!(matches!(Digest::parse(wrong), Err(InvalidDigest::Format(_))), "{wrong}");
        }
        let err = Digest::parse("md5:d41d8cd98f00b204e9800998ecf8427e").expect_err("nobody should");
        assert!(err.to_string().contains("not supported; sha256 and sha512 are"), "{err}");
    }
}
