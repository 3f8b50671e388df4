//! Image names, completed as users expect: `nginx` is `docker.io/library/nginx:latest`.

use std::fmt;

use super::Digest;

/// The registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The longest name without tag and digest.
const MAX_NAME: usize = 255;

/// The longest tag.
const MAX_TAG: usize = 128;

/// A complete image name: a registry, a repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

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
        Self::read(text).map_err(|reason| InvalidReference { text: text.to_owned(), reason })
    }

    fn read(text: &str) -> Result<Self, String> {
        const INVALID: &str = "invalid reference format";
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|err| err.to_string())?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before a slash belongs to the registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(INVALID.to_owned());
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("{INVALID}: repository name ({repository}) must be lowercase"));
        }
        if !is_host(registry) || !repository.split('/').all(is_component) {
            return Err(INVALID.to_owned());
        }
        let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if official { format!("library/{repository}") } else { repository.to_owned() };
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(format!("repository name must not be more than {MAX_NAME} characters"));
        }
        let tag = if digest.is_none() { Some(tag.unwrap_or_else(|| "latest".to_owned())) } else { tag };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Without tag and digest.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name with the tag, unless it names a digest only.
    pub(crate) fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// The name with this digest.
    pub(crate) fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// The digest, if it names one.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag, if it has one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The registry that it names.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// What it is called in its registry, without tag and digest.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether the part before the first slash is a registry: it has a dot, a port or an upper case letter, or is this
/// machine.
fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    host_fits && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Letters and digits, with single separators between them: a dot, one or two underscores, or dashes.
fn is_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && part.split(alphanumeric).all(separator)
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
        assert_eq!(reference.digest(), Some(&digest));
        assert!(Reference::parse("nginx:1@sha256:0").is_err());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        for wrong in ["", "library/UPPER", "a b", "a//b", "a/", "a:", "a:.b", "a..b", "a___b", "-a", "r.io:x/a", &long]
        {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
        for right in ["a--b", "a__b", "x/a.b_c-d/e", "[::1]:5000/a", "Reg/a", "r.io:5000/a:v1.2-x_Y"] {
            assert!(Reference::parse(right).is_ok(), "{right}");
        }
    }
}
