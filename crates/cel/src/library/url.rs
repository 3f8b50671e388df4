//! URLs, read as Go's `url.ParseRequestURI` reads them.

use std::collections::BTreeMap;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Extension, Key, Map, Outcome, Str, Url, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("string_to_url", "url(string) -> kubernetes.URL", url),
    ("is_url_string", "isURL(string) -> bool", is_url),
    ("url_get_scheme", "kubernetes.URL::getScheme() -> string", scheme),
    ("url_get_host", "kubernetes.URL::getHost() -> string", host),
    ("url_get_hostname", "kubernetes.URL::getHostname() -> string", hostname),
    ("url_get_port", "kubernetes.URL::getPort() -> string", port),
    ("url_get_escaped_path", "kubernetes.URL::getEscapedPath() -> string", escaped_path),
    ("url_get_query", "kubernetes.URL::getQuery() -> map(string, list(string))", query),
];

/// Reads an absolute URL or an absolute path; says in Go's words what is wrong.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("parse {}: {why}", api::field::quote(text));
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    if text.is_empty() {
        return Err(wrong("empty url"));
    }
    if text == "*" {
        return Ok(Url { scheme: String::new(), host: String::new(), escaped_path: "*".into(), query: String::new() });
    }
    let (scheme, rest) = split_scheme(text).map_err(wrong)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        // An opaque URL such as mailto:a@b has a scheme and nothing that expressions could ask for.
        if scheme.is_empty() {
            return Err(wrong("invalid URI for request"));
        }
        return Ok(Url { scheme, host: String::new(), escaped_path: String::new(), query: query.to_owned() });
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) if !scheme.is_empty() => after.split_at(after.find('/').unwrap_or(after.len())),
        _ => ("", rest),
    };
    let host = host_of(authority).map_err(|why| wrong(&why))?;
    if let Some(bad) = bad_escape(path) {
        return Err(wrong(&format!("invalid URL escape {}", api::field::quote(bad))));
    }
    Ok(Url { scheme, host, escaped_path: escaped(path), query: query.to_owned() })
}

fn split_scheme(text: &str) -> Result<(String, &str), &'static str> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    if text.split('/').next().is_some_and(|first| first.contains(':')) && !text.starts_with('/') {
        return Err("first path segment in URL cannot contain colon");
    }
    Ok((String::new(), text))
}

fn host_of(authority: &str) -> Result<String, String> {
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if user.is_some_and(|user| !user.chars().all(plain)) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let port = match host.strip_prefix('[') {
        Some(after) => {
            let (_, port) = after.split_once(']').ok_or("missing ']' in host")?;
            port
        }
        None => host.find(':').map_or("", |colon| &host[host.rfind(':').unwrap_or(colon)..]),
    };
    let valid_port = port.is_empty() || port.strip_prefix(':').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    if !valid_port {
        return Err(format!("invalid port {} after host", api::field::quote(port)));
    }
    if let Some(bad) = host.chars().find(|c| c.is_ascii() && !plain(*c) && !"[]<>\"".contains(*c)) {
        return Err(format!("invalid character {} in host name", api::field::quote(&bad.to_string())));
    }
    if let Some(bad) = bad_escape(host) {
        return Err(format!("invalid URL escape {}", api::field::quote(bad)));
    }
    Ok(host.to_owned())
}

/// The first percent sign that two hexadecimal digits do not follow, and what stands there instead.
fn bad_escape(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let after = &rest[at..];
        let valid = after.as_bytes().get(1..3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if !valid {
            return Some(after.char_indices().nth(3).map_or(after, |(end, _)| &after[..end]));
        }
        rest = &after[3..];
    }
    None
}

/// The path with everything escaped that may not stand in one.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
                bytes.push((digit(rest.next())? * 16 + digit(rest.next())?) as u8);
            }
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn url<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    let parsed = parse(text)
        .map_err(|why| EvalError::failed(format!("URL parse error during conversion from string: {why}")))?;
    Ok(Value::extension(Extension::Url(parsed)))
}

fn is_url<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(parse(text).is_ok()))
}

fn part<'a>(args: &[Value<'a>], of: fn(&Url) -> Value<'static>) -> Outcome<'a> {
    match args {
        [Value::Extension(extension)] => match &**extension {
            Extension::Url(url) => Ok(of(url)),
            _ => Err(EvalError::NoSuchOverload),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn scheme<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |url| Value::text(url.scheme.as_str()))
}

fn host<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |url| Value::text(url.host.as_str()))
}

/// The name or address and the port of a host.
fn split_port(host: &str) -> (&str, &str) {
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|after| after.split_once(']')) {
        return (address, rest.strip_prefix(':').unwrap_or_default());
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn hostname<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |url| Value::text(split_port(&url.host).0))
}

fn port<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |url| Value::text(split_port(&url.host).1))
}

fn escaped_path<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |url| Value::text(url.escaped_path.as_str()))
}

fn query<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |url| {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) {
                values.entry(key).or_default().push(value);
            }
        }
        let entry = |(key, values): (String, Vec<String>)| (Key::String(Str::Shared(key.into())), Value::texts(values));
        Value::Map(Map::owned(values.into_iter().map(entry).collect()))
    })
}
