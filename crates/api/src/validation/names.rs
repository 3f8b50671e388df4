//! What names, labels, keys and numbers must look like, with the messages that upstream gives.
//!
//! Each function returns the messages, none if the value is fine.

use std::net::IpAddr;

use ipnet::IpNet;

fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// A message about a pattern with examples, as upstream composes it.
fn pattern(message: &str, regex: &str, examples: &[&str]) -> String {
    let mut text = format!("{message} (");
    for (index, example) in examples.iter().enumerate() {
        text.push_str(if index == 0 { "e.g. " } else { " or " });
        text.push_str(&format!("'{example}', "));
    }
    text.push_str(&format!("regex used for validation is '{regex}')"));
    text
}

fn is_label(text: &str, first: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match (bytes.first(), bytes.last()) {
        (Some(head), Some(tail)) => {
            first(*head) && alphanumeric(*tail) && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
        }
        _ => false,
    }
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| is_label(label, lower_or_digit))
}

const LABEL_REGEX: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_REGEX: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_REGEX: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// RFC 1123 label: container names, namespaces.
#[must_use]
pub fn dns_label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 63 {
        messages.push(max_length(63));
    }
    if is_subdomain(text) && text.contains('.') {
        messages.push("must not contain dots".to_owned());
    } else if !is_label(text, lower_or_digit) {
        let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
        messages.push(pattern(message, LABEL_REGEX, &["my-name", "123-abc"]));
    }
    messages
}

/// RFC 1123 subdomain: most object names.
#[must_use]
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 253 {
        messages.push(max_length(253));
    }
    if !is_subdomain(text) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        messages.push(pattern(message, SUBDOMAIN_REGEX, &["example.com"]));
    }
    messages
}

/// RFC 1123 subdomain that may have underscores: search domains.
#[must_use]
pub fn dns_subdomain_with_underscore(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 253 {
        messages.push(max_length(253));
    }
    let inner = |byte: u8| lower_or_digit(byte) || byte == b'-' || byte == b'_';
    let fine = text.split('.').all(|label| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| lower_or_digit(*byte) || *byte == b'_');
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| inner(*byte))
    });
    if !fine {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        messages.push(pattern(message, SUBDOMAIN_REGEX, &["example.com"]));
    }
    messages
}

/// RFC 1035 label: service names.
#[must_use]
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 63 {
        messages.push(max_length(63));
    }
    if !is_label(text, |byte| byte.is_ascii_lowercase()) {
        let message = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        messages.push(pattern(message, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    messages
}

/// `*.` and a subdomain: hosts of an ingress.
#[must_use]
pub fn wildcard_dns_subdomain(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 253 {
        messages.push(max_length(253));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let message = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        messages.push(pattern(message, &format!(r"\*\.{SUBDOMAIN_REGEX}"), &["*.example.com"]));
    }
    messages
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A name with an optional DNS prefix: label and annotation keys, resource names, condition types.
#[must_use]
pub fn qualified_name(text: &str) -> Vec<String> {
    let described = || pattern(QUALIFIED_MESSAGE, QUALIFIED_REGEX, &["MyName", "my.name", "123-abc"]);
    let mut messages = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                messages.push("prefix part must be non-empty".to_owned());
            } else {
                messages.extend(dns_subdomain(prefix).into_iter().map(|message| format!("prefix part {message}")));
            }
            name
        }
        _ => {
            let tail = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {} {tail}", described())];
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        messages.push(format!("name part {}", max_length(63)));
    }
    if !is_qualified_part(name) {
        messages.push(format!("name part {}", described()));
    }
    messages
}

/// The key of a label.
#[must_use]
pub fn label_key(text: &str) -> Vec<String> {
    qualified_name(text)
}

/// The value of a label.
#[must_use]
pub fn label_value(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 63 {
        messages.push(max_length(63));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        let message =
            format!("a valid label must be an empty string or {}", QUALIFIED_MESSAGE.trim_start_matches("must "));
        messages.push(pattern(
            &message,
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    messages
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 253 {
        messages.push(max_length(253));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        let message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        messages.push(pattern(message, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => messages.push("must not be '.'".to_owned()),
        ".." => messages.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => messages.push("must not start with '..'".to_owned()),
        _ => {}
    }
    messages
}

/// The name of an environment variable.
#[must_use]
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// The name of a port.
#[must_use]
pub fn port_name(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 15 {
        messages.push(max_length(15));
    }
    if text.is_empty() || !text.bytes().all(|byte| lower_or_digit(byte) || byte == b'-') {
        messages.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        messages.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        messages.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        messages.push("must not begin or end with a hyphen".to_owned());
    }
    messages
}

/// The number of a port.
#[must_use]
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![in_range(1, 65535)] }
}

/// The message for a number outside a range.
#[must_use]
pub fn in_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A user or group id.
#[must_use]
pub fn user_or_group_id(id: i64) -> Vec<String> {
    let highest = i64::from(i32::MAX);
    if (0..=highest).contains(&id) { Vec::new() } else { vec![in_range(0, highest)] }
}

/// A percentage such as `25%`.
#[must_use]
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![pattern(message, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an HTTP header.
#[must_use]
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![pattern(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// The reason of a condition.
#[must_use]
pub fn condition_reason(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let fine = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|byte| word(byte) || b",:".contains(byte));
    if fine {
        return Vec::new();
    }
    let message = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![pattern(message, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

/// An identifier of C, which attributes of devices are named like.
#[must_use]
pub fn c_identifier(text: &str) -> Vec<String> {
    let mut bytes = text.bytes();
    let fine = bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    if fine {
        return Vec::new();
    }
    let message = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    vec![pattern(message, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// Words that CEL keeps for itself, of which none can name anything.
pub const CEL_WORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether CEL can name a variable like that.
pub fn is_cel_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !CEL_WORDS.contains(&text)
}

const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address like the fields of the first years do: numbers may have leading zeros.
#[must_use]
pub fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let numbers: Option<Vec<u8>> = parts
        .iter()
        .map(|part| {
            let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        })
        .collect();
    let octets: [u8; 4] = numbers?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

/// Reads a network like those fields do; bits below the mask may be set.
#[must_use]
pub fn sloppy_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    IpNet::new(sloppy_ip(address)?, length.parse().ok().filter(|_| is_number)?).ok()
}

/// An IP address in a field from the first years.
#[must_use]
pub fn ip(text: &str) -> Vec<String> {
    if sloppy_ip(text).is_some() { Vec::new() } else { vec![NO_IP.to_owned()] }
}

/// An IP address in its one true form.
#[must_use]
pub fn canonical_ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Err(_) => match sloppy_ip(text) {
            None => vec![NO_IP.to_owned()],
            Some(_) => vec!["must not have leading 0s".to_owned()],
        },
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        Ok(address) if address.to_string() != text => {
            vec![format!("must be in canonical form (\"{address}\")")]
        }
        Ok(_) => Vec::new(),
    }
}

/// A network in CIDR notation, in a field from the first years.
#[must_use]
pub fn cidr(text: &str) -> Vec<String> {
    if sloppy_cidr(text).is_some() { Vec::new() } else { vec![NO_CIDR.to_owned()] }
}

/// A network in its one true form.
#[must_use]
pub fn canonical_cidr(text: &str) -> Vec<String> {
    match text.parse::<IpNet>().ok().filter(|_| text.contains('/')) {
        None => match sloppy_cidr(text) {
            None => vec![NO_CIDR.to_owned()],
            Some(_) => vec!["must not have leading 0s in IP".to_owned()],
        },
        Some(net) if net.trunc() != net => {
            vec!["must not have bits set beyond the prefix length".to_owned()]
        }
        Some(net) if net.to_string() != text => vec![format!("must be in canonical form (\"{net}\")")],
        Some(_) => Vec::new(),
    }
}

/// The address of an interface, with the length of its network, in its one true form.
#[must_use]
pub fn interface_address(text: &str) -> Vec<String> {
    let Some(net) = text.parse::<IpNet>().ok().filter(|_| text.contains('/')) else {
        return vec!["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()];
    };
    let canonical = net.to_string();
    if canonical == text { Vec::new() } else { vec![format!("must be in canonical form (\"{canonical}\")")] }
}

/// A name that can stand in a URL path: roles and their bindings, controller revisions of third parties.
#[must_use]
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => {
            let forbidden = ["/", "%"].into_iter().filter(|c| text.contains(c));
            forbidden.map(|c| format!("may not contain '{c}'")).collect()
        }
    }
}

/// A domain of at least two segments.
#[must_use]
pub fn fully_qualified_domain(text: &str) -> Vec<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let messages = dns_subdomain(name);
    if messages.is_empty() && !name.contains('.') {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    messages
}

/// A domain, a slash and a path: the controller of an ingress class.
#[must_use]
pub fn domain_prefixed_path(text: &str) -> Vec<String> {
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    if path.is_empty() || host.is_empty() {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    }
    let mut messages = dns_subdomain(host);
    if !path.split('/').all(|segment| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_graphic())) {
        messages.push("must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned());
    }
    messages
}

/// Replaces the dash that ends a `generateName`, so that the rest can be judged as a name.
#[must_use]
pub fn without_trailing_dash(prefix: &str) -> String {
    if prefix.len() > 1 && prefix.ends_with('-') {
        format!("{}a", &prefix[..prefix.len() - 2])
    } else {
        prefix.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(judge: fn(&str) -> Vec<String>, fine: &[&str], wrong: &[&str]) {
        for text in fine {
            assert_eq!(judge(text), Vec::<String>::new(), "{text:?}");
        }
        for text in wrong {
            assert!(!judge(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn names_are_judged() {
        let long = "a".repeat(64);
        check(dns_label, &["a", "a-b", "0"], &["", "A", "a_b", "-a", "a-", "a.b", &long]);
        check(dns_subdomain, &["a", "a.b-c.d", &long], &["", "a..b", ".a", "a.", "A", &"a".repeat(254)]);
        check(dns_1035_label, &["a", "a1"], &["1a", "", "a."]);
        check(qualified_name, &["a", "A_b.c", "example.com/a"], &["", "/a", "a/", "a/b/c", "-a", "UP_/a", &long]);
        check(label_value, &["", "a", "A_b.c-1"], &["a ", "-a", &long]);
        check(config_map_key, &["a", ".a", "a..b"], &["", ".", "..", "..a", "a b"]);
        check(port_name, &["http", "a-b"], &["", "A", "123", "a--b", "-a", "sixteen-chars-xx"]);
        check(percent, &["0%", "120%"], &["", "%", "1", "-1%", "a%"]);
        check(ip, &["10.0.0.1", "::1", "010.0.0.1"], &["", "10.0.0", "10.0.0.256", "x"]);
        check(cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33"]);
        check(canonical_ip, &["10.0.0.1", "2001:db8::1"], &["010.0.0.1", "2001:DB8::1", "::ffff:1.2.3.4", "x"]);
        check(canonical_cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.1/8", "010.0.0.0/8", "10.0.0.0", "2001:DB8::/32"]);
        check(env_var_name, &["A", "a.b-c", "1"], &["", "a=b", "ä"]);
        check(path_segment, &["a:b"], &[".", "..", "a/b", "a%b"]);
    }

    #[test]
    fn messages_are_those_of_upstream() {
        assert_eq!(
            dns_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(qualified_name(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
        assert_eq!(qualified_name("")[0], "name part must be non-empty");
    }
}
