//! Names of images.

/// Whether a name can be one of an image, with the default tag added where it has none; `Err` says what is wrong.
pub fn with_default_tag(image: &str) -> Result<String, &'static str> {
    const INVALID: &str = "invalid reference format";
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let tag_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.is_some_and(|tag| {
        tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.chars().all(tag_char)
    }) {
        return Err(INVALID);
    }
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(INVALID);
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    if parts.len() > 1 && is_host(parts[0]) {
        let host = parts.remove(0);
        let (host, port) = host.rsplit_once(':').unwrap_or((host, "1"));
        let host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':');
        if host.is_empty() || !host.chars().all(host_char) || port.parse::<u16>().is_err() {
            return Err(INVALID);
        }
    }
    if parts.iter().any(|part| part.chars().any(|c| c.is_ascii_uppercase())) {
        return Err("repository name must be lowercase");
    }
    if !parts.iter().all(|part| is_component(part)) {
        return Err(INVALID);
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

fn is_component(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !part.is_empty()
        && part.starts_with(inner)
        && part.ends_with(inner)
        && part.chars().all(|c| inner(c) || matches!(c, '_' | '.' | '-'))
}

/// An image's complete name without tag and digest: what stands for `docker.io` is added.
pub fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag_or_are_refused() {
        for (image, expected) in [
            ("busybox", Ok("busybox:latest")),
            ("busybox:1.36", Ok("busybox:1.36")),
            ("127.0.0.1:5000/a/b", Ok("127.0.0.1:5000/a/b:latest")),
            (
                "r.io/a@sha256:0123456789012345678901234567890123456789012345678901234567890123",
                Ok("r.io/a@sha256:0123456789012345678901234567890123456789012345678901234567890123"),
            ),
            ("Busybox", Err("repository name must be lowercase")),
            ("busybox:", Err("invalid reference format")),
            ("a b", Err("invalid reference format")),
            ("", Err("invalid reference format")),
            ("a//b", Err("invalid reference format")),
        ] {
            assert_eq!(with_default_tag(image), expected.map(str::to_owned), "{image}");
        }
    }

    #[test]
    fn repositories_are_complete() {
        for (image, expected) in [
            ("busybox", "docker.io/library/busybox"),
            ("team/app:1", "docker.io/team/app"),
            ("localhost:5000/a:1", "localhost:5000/a"),
            ("r.io/a/b@sha256:00", "r.io/a/b"),
            ("localhost/a", "localhost/a"),
        ] {
            assert_eq!(repository(image), expected);
        }
    }
}
