//! Where webhooks are called.

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path, quote};

const FORM: &str = "; desired format: https://host[/path]";

/// A service of the cluster that is called.
pub(crate) struct Service<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) path: Option<&'a str>,
    pub(crate) port: i32,
}

/// Judges the URL of a webhook.
pub(crate) fn webhook_url(text: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(port) = bad_port(text) {
        let why =
            format!("url must be a valid URL: parse {}: invalid port {} after host{FORM}", quote(text), quote(port));
        errors.push(FieldError::required(path, why));
        return;
    }
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let scheme = if scheme.contains(['/', '?', '#']) { "" } else { scheme };
    if scheme != "https" {
        errors.push(FieldError::invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    let (user, host) =
        authority(text).rsplit_once('@').map_or((None, authority(text)), |(user, host)| (Some(user), host));
    if host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
    }
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let query = before.split_once('?').map(|(_, query)| query).unwrap_or_default();
    if let Some(user) = user {
        errors.push(FieldError::invalid(path, user, "user information is not permitted in the URL"));
    }
    for (part, what) in [(fragment, "fragments are"), (query, "query parameters are")] {
        if !part.is_empty() {
            errors.push(FieldError::invalid(path, part, format!("{what} not permitted in the URL")));
        }
    }
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The port of a URL with its colon, if it is no number.
fn bad_port(url: &str) -> Option<&str> {
    let host = authority(url).rsplit('@').next().unwrap_or_default();
    let after = host.rfind(']').unwrap_or(0);
    let colon = host[after..].rfind(':')? + after;
    host[colon + 1..].bytes().any(|byte| !byte.is_ascii_digit()).then_some(&host[colon..])
}

/// Judges a service that is called as a webhook.
pub(crate) fn webhook_service(service: &Service<'_>, path: &Path, errors: &mut ErrorList) {
    for (field, value) in [("name", service.name), ("namespace", service.namespace)] {
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(field), format!("service {field} is required")));
        }
    }
    port(service.port, &path.child("port"), errors);
    match service.path {
        None | Some("" | "/") => {}
        Some("//") => errors.push(FieldError::invalid(&path.child("path"), "//", "segment[0] may not be empty")),
        Some(text) => url_path(text, &path.child("path"), errors),
    }
}

/// Judges the port of a service that is called.
pub(crate) fn port(port: i32, path: &Path, errors: &mut ErrorList) {
    let judged = names::port_number(i64::from(port));
    if !judged.is_empty() {
        errors.push(FieldError::invalid(path, port, format!("port is not valid: {}", judged.join(","))));
    }
}

fn url_path(text: &str, path: &Path, errors: &mut ErrorList) {
    if !text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must start with a '/'"));
    }
    // Upstream drops the first character whatever it is.
    let steps = text.get(1..).unwrap_or_default();
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            errors.push(FieldError::invalid(path, text, format!("segment[{index}] may not be empty")));
            continue;
        }
        let judged = names::dns_subdomain(step).into_iter().map(|why| format!("segment[{index}]: {why}")).collect();
        check::invalid(errors, path, text, judged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(url: &str, expected: &[&str]) {
        let mut errors = ErrorList::new();
        webhook_url(url, &Path::new("url"), &mut errors);
        let found: Vec<String> = errors.iter().map(|error| error.body()).collect();
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn urls_of_webhooks_are_judged() {
        check_url("https://example.com/x", &[]);
        check_url("https://127.0.0.1:8443", &[]);
        check_url(
            "http://example.com",
            &["Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"],
        );
        check_url("https:///x", &["Invalid value: \"\": host must be specified; desired format: https://host[/path]"]);
        check_url("https://a@b.c", &["Invalid value: \"a\": user information is not permitted in the URL"]);
        check_url(
            "https://b.c/?q=1#f",
            &[
                "Invalid value: \"f\": fragments are not permitted in the URL",
                "Invalid value: \"q=1\": query parameters are not permitted in the URL",
            ],
        );
    }

    #[test]
    fn services_of_webhooks_are_judged() {
        let mut errors = ErrorList::new();
        let service = Service { name: "", namespace: "n", path: Some("a//B/"), port: 0 };
        webhook_service(&service, &Path::new("service"), &mut errors);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            ["service.name", "service.port", "service.path", "service.path", "service.path", "service.path"]
        );
    }
}
