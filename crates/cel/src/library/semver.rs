//! Semantic versions.

use std::cmp::Ordering;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Extension, Identifier, Outcome, Semver, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("string_to_semver", "semver(string) -> kubernetes.Semver", semver),
    ("string_bool_to_semver", "semver(string, bool) -> kubernetes.Semver", semver),
    ("is_semver_string", "isSemver(string) -> bool", is_semver),
    ("is_semver_string_bool", "isSemver(string, bool) -> bool", is_semver),
    ("semver_is_greater_than", "kubernetes.Semver::isGreaterThan(kubernetes.Semver) -> bool", is_greater),
    ("semver_is_less_than", "kubernetes.Semver::isLessThan(kubernetes.Semver) -> bool", is_less),
    ("semver_compare_to", "kubernetes.Semver::compareTo(kubernetes.Semver) -> int", compare_to),
    ("semver_major", "kubernetes.Semver::major() -> int", major),
    ("semver_minor", "kubernetes.Semver::minor() -> int", minor),
    ("semver_patch", "kubernetes.Semver::patch() -> int", patch),
];

/// Reads a version. Leading zeros and missing numbers are refused.
pub(crate) fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
    let parts: Vec<&str> = numbers.split('.').collect();
    let [major, minor, patch] = parts[..] else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    for part in build.into_iter().flat_map(|build| build.split('.')) {
        if part.is_empty() || !part.bytes().all(word) {
            return Err(format!("Invalid character(s) found in build meta data {}", api::field::quote(part)));
        }
    }
    Ok(Semver {
        major: number(major, "major")?,
        minor: number(minor, "minor")?,
        patch: number(patch, "patch")?,
        pre: pre.map_or(Ok(Vec::new()), |pre| pre.split('.').map(identifier).collect())?,
    })
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    let quoted = api::field::quote(text);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {what} number {quoted}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        let title = what[..1].to_ascii_uppercase() + &what[1..];
        return Err(format!("{title} number must not contain leading zeroes {quoted}"));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {quoted}: value out of range"))
}

fn identifier(text: &str) -> Result<Identifier, String> {
    let quoted = api::field::quote(text);
    if text.is_empty() {
        return Err("prerelease is empty".to_owned());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {quoted}"));
        }
        return text.parse().map(Identifier::Number).map_err(|_| format!("value out of range: {quoted}"));
    }
    if !text.bytes().all(word) {
        return Err(format!("Invalid character(s) found in prerelease {quoted}"));
    }
    Ok(Identifier::Word(text.to_owned()))
}

/// A version without its `v`, without leading zeros, and with the numbers that were left out.
fn normalize(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(str::to_owned).collect();
    for part in &mut parts {
        if part.len() > 1 {
            let trimmed = part.trim_start_matches('0');
            let zero = if trimmed.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
            *part = format!("{zero}{trimmed}");
        }
    }
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
    }
    Ok(parts.join("."))
}

fn read(args: &[Value<'_>]) -> Result<Result<Semver, String>, EvalError> {
    let (text, tolerant) = match args {
        [Value::String(text)] => (text, false),
        [Value::String(text), Value::Bool(tolerant)] => (text, *tolerant),
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok(if tolerant { normalize(text).and_then(|text| parse(&text)) } else { parse(text) })
}

fn semver<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    read(args)?.map(|version| Value::extension(Extension::Semver(version))).map_err(EvalError::Failed)
}

fn is_semver<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(read(args)?.is_ok()))
}

fn of<'v>(value: Option<&'v Value<'_>>) -> Result<&'v Semver, EvalError> {
    match value {
        Some(Value::Extension(extension)) => match &**extension {
            Extension::Semver(version) => Ok(version),
            _ => Err(EvalError::NoSuchOverload),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn order(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    Ok(of(args.first())?.compare(of(args.get(1))?))
}

fn is_greater<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

fn is_less<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_lt()))
}

fn compare_to<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(order(args)? as i64))
}

fn major<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(of(args.first())?.major as i64))
}

fn minor<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(of(args.first())?.minor as i64))
}

fn patch<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(of(args.first())?.patch as i64))
}
