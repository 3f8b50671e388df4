//! Image names, completed as users expect: `nginx` is `docker.io/library/nginx:latest`.

use std::fmt;

use super::Digest;

/// A complete image name: a registry, a repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference(oci_client::Reference);

/// A text that is no image name.
#[derive(Debug, thiserror::Error)]
#[error("couldn't parse image name {text:?}: {reason}")]
pub(crate) struct InvalidReference {
    text: String,
    reason: String,
}

impl Reference {
    /// Reads and completes a name.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidReference> {
        let invalid = |reason: String| InvalidReference { text: text.to_owned(), reason };
        let reference: oci_client::Reference =
            text.parse().map_err(|err: oci_client::ParseError| invalid(err.to_string()))?;
        if let Some(digest) = reference.digest() {
            Digest::parse(digest).map_err(|err| invalid(err.to_string()))?;
        }
        Ok(Self(reference))
    }

    /// Without tag and digest.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.0.registry(), self.0.repository())
    }

    /// The name with the tag, unless it names a digest only.
    pub(crate) fn tagged(&self) -> Option<String> {
        self.0.tag().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// The name with this digest.
    pub(crate) fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// The digest, if it names one.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.0.digest().and_then(|digest| Digest::parse(digest).ok())
    }

    /// Where it is pulled from.
    pub(crate) fn registry(&self) -> &str {
        self.0.registry()
    }

    /// As the registry client takes it.
    pub(crate) fn as_client(&self) -> &oci_client::Reference {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, tagged: &str) {
        let reference = Reference::parse(text).expect("a valid name");
        assert_eq!(reference.tagged().as_deref(), Some(tagged));
    }

    #[test]
    fn names_are_completed() {
        check("nginx", "docker.io/library/nginx:latest");
        check("nginx:1.27", "docker.io/library/nginx:1.27");
        check("team/app", "docker.io/team/app:latest");
        check("localhost/app:1", "localhost/app:1");
        check("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest");
        check("registry.k8s.io/a/b:v1", "registry.k8s.io/a/b:v1");
    }

    #[test]
    fn a_digest_stands_for_itself() {
        let digest = Digest::of(b"x");
        let reference = Reference::parse(&format!("nginx@{digest}")).expect("a valid name");
        assert_eq!(reference.tagged(), None);
        assert_eq!(reference.digest(), Some(digest));
        assert!(Reference::parse("library/UPPER").is_err());
        assert!(Reference::parse("").is_err());
    }
}
