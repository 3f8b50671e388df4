//! Links of a proxied page: those that lead to its own host are made to lead through the proxy.

/// How links are rewritten.
pub(super) struct Links<'a> {
    /// The proxy's path.
    pub(super) prefix: &'a str,
    /// The host that the proxy speaks to.
    pub(super) backend: &'a str,
    /// The host that the client named.
    pub(super) host: &'a str,
}

/// A reference to a URL, cut into the parts that matter here.
struct Parts<'a> {
    scheme: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    /// Query and fragment.
    rest: &'a str,
}

impl Links<'_> {
    /// The link as it is to be seen from outside.
    pub(super) fn rewrite(&self, link: &str) -> String {
        let Some(Parts { scheme, host, path, rest }) = parts(link) else { return link.to_owned() };
        let is_elsewhere = !host.is_empty() && host != self.backend && host != self.host;
        if is_elsewhere || !path.starts_with('/') {
            return link.to_owned();
        }
        let origin = match scheme {
            Some(scheme) if !host.is_empty() && host == self.host => format!("{scheme}://{host}"),
            None if !host.is_empty() && host == self.host => format!("//{host}"),
            _ => String::new(),
        };
        if path.starts_with(self.prefix) {
            return format!("{origin}{path}{rest}");
        }
        format!("{origin}{}{rest}", joined(self.prefix, path))
    }
}

/// `None` for what has no path of its own, as `mailto:` and `data:`.
fn parts(link: &str) -> Option<Parts<'_>> {
    let scheme_end = link.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
    let (scheme, after) = match scheme_end {
        Some(at) if at > 0 && link[at..].starts_with(':') && link.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (Some(&link[..at]), &link[at + 1..])
        }
        _ => (None, link),
    };
    let (host, after) = match after.strip_prefix("//") {
        Some(after) => after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len())),
        None if scheme.is_some() => return None,
        None => ("", after),
    };
    let (path, rest) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
    Some(Parts { scheme, host, path, rest })
}

/// Both paths as one, without empty, `.` and `..` segments. A slash at the end stays.
fn joined(prefix: &str, path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in prefix.split('/').chain(path.split('/')) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let slash = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(link: &str, expected: &str) {
        let links = Links { prefix: "/p/proxy", backend: "10.0.0.5:80", host: "api:6443" };
        assert_eq!(links.rewrite(link), expected);
    }

    #[test]
    fn links_to_the_backend_lead_through_the_proxy() {
        check("/", "/p/proxy/");
        check("/a/b?c=d#e", "/p/proxy/a/b?c=d#e");
        check("/a/", "/p/proxy/a/");
        check("http://10.0.0.5:80/a", "/p/proxy/a");
        check("//10.0.0.5:80/a", "/p/proxy/a");
        check("https://api:6443/a", "https://api:6443/p/proxy/a");
        check("/a/../b", "/p/proxy/b");
        check("/p/proxy/a", "/p/proxy/a");
        for same in [
            "",
            "a",
            "../a",
            "#top",
            "?q",
            "http://other/a",
            "//other/a",
            "mailto:a@b",
            "data:text/html,/x",
            "javascript:/a/",
        ] {
            check(same, same);
        }
    }
}
