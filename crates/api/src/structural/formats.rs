//! The formats of texts that schemas can ask for. Others are ignored, as upstream does.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::numbers::{isbn10, isbn13, luhn};
use crate::quantity::Quantity;
use crate::validation::names;

/// A format, and what it takes.
type Format = (&'static str, fn(&str) -> bool);

/// Every format that is checked, by its name without dashes.
const FORMATS: &[Format] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
    ("byte", |text| BASE64.is_match(text)),
    ("cidr", is_cidr),
    ("creditcard", is_credit_card),
    ("date", is_date),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |text| HEX_COLOR.is_match(text)),
    ("hostname", is_hostname),
    ("ipv4", is_ipv4),
    ("ipv6", |text| text.contains(':') && text.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |text| isbn10(text) || isbn13(text)),
    ("isbn10", isbn10),
    ("isbn13", isbn13),
    ("k8slongname", |text| names::dns_subdomain(text).is_empty()),
    ("k8sshortname", |text| names::dns_label(text).is_empty()),
    ("mac", is_mac),
    ("password", |_| true),
    ("quantity", |text| Quantity::parse(text).is_ok()),
    ("rgbcolor", |text| RGB_COLOR.is_match(text)),
    ("ssn", |text| SSN.is_match(text)),
    ("uri", is_uri),
    ("uuid", |text| uuid(text).is_some()),
    ("uuid3", |text| uuid(text).is_some_and(|hex| hex[12] == b'3')),
    ("uuid4", |text| uuid(text).is_some_and(|hex| hex[12] == b'4' && is_variant(hex[16]))),
    ("uuid5", |text| uuid(text).is_some_and(|hex| hex[12] == b'5' && is_variant(hex[16]))),
];

fn check_of(format: &str) -> Option<fn(&str) -> bool> {
    let name = format.replace('-', "");
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}

/// Whether a format is one that is checked.
pub(crate) fn is_known(format: &str) -> bool {
    check_of(format).is_some()
}

/// Whether a text is of the format; all are of one that is not known.
pub(super) fn is_valid(format: &str, text: &str) -> bool {
    check_of(format).is_none_or(|check| check(text))
}

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the pattern is a constant")
}

static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*";
    pattern(&format!(r"^rgb\({part},{part},{part}\)$"))
});
static CREDIT_CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}",
        r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$"
    ))
});
static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    let c = r"[a-zA-Z0-9\p{S}\p{L}]";
    let inner = r"[a-zA-Z0-9\-\p{S}\p{L}]";
    pattern(&format!(r"^({c}((-?{c}{{0,62}})?)|({c}(({inner}{{0,61}}{c})?)(\.)){{1,}}({c})(-?{c}){{1,62}})$"))
});
static BASE64: LazyLock<Regex> = LazyLock::new(|| {
    let c = "[A-Za-z0-9+/]";
    pattern(&format!("^(?:{c}{{4}})*(?:{c}{{2}}==|{c}{{3}}=|{c}{{4}})$"))
});
/// The zone must be there, and its minutes too.
static CLOCK: LazyLock<Regex> =
    LazyLock::new(|| pattern("^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$"));
/// A number and a unit in words.
static DURATION_PART: LazyLock<Regex> = LazyLock::new(|| pattern("([0-9]+)\\s*([A-Za-zµ]+)"));

/// Addresses that are IPv4 inside of IPv6 count as both.
fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || (text.contains('.') && text.parse::<Ipv6Addr>().is_ok())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
        (Ok(_), _) => 32,
        (_, Ok(_)) => 128,
        _ => return false,
    };
    let is_number = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}

fn is_mac(text: &str) -> bool {
    let (separator, width) = match (text.as_bytes().get(2), text.as_bytes().get(4)) {
        (Some(b':' | b'-'), _) => (&text[2..3], 2),
        (_, Some(b'.')) => (".", 4),
        _ => return false,
    };
    let groups: Vec<&str> = text.split(separator).collect();
    let bytes = groups.len() * width / 2;
    let is_group = |group: &&str| group.len() == width && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(bytes, 6 | 8 | 20) && groups.iter().all(is_group)
}

fn is_hostname(text: &str) -> bool {
    HOSTNAME.is_match(text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63)
}

/// The 32 hexadecimal digits of an UUID; a dash may be left out where one belongs.
fn uuid(text: &str) -> Option<Vec<u8>> {
    let mut hex = Vec::with_capacity(32);
    let mut bytes = text.bytes().peekable();
    for group in [8, 4, 4, 4, 12] {
        if group != 8 {
            bytes.next_if_eq(&b'-');
        }
        for _ in 0..group {
            hex.push(bytes.next().filter(u8::is_ascii_hexdigit)?);
        }
    }
    bytes.next().is_none().then_some(hex)
}

fn is_variant(digit: u8) -> bool {
    matches!(digit.to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b')
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    CREDIT_CARD.is_match(&digits) && luhn(&digits)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// A time of RFC 3339.
fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    parts.next().is_some_and(is_date) && parts.next().is_some_and(|clock| CLOCK.is_match(clock))
}

/// A duration of Go, or a text in which some number has a unit of time.
fn is_duration(text: &str) -> bool {
    /// Of each unit the last name may be the beginning of a longer one, as in `days`.
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let is_unit = |word: &str| {
        let word = word.to_lowercase();
        UNITS
            .iter()
            .any(|names| names.contains(&word.as_str()) || names.last().is_some_and(|last| word.starts_with(last)))
    };
    is_go_duration(text) || DURATION_PART.captures_iter(text).any(|part| is_unit(&part[2]))
}

fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let is_number = digits.matches('.').count() <= 1 && digits.bytes().any(|byte| byte.is_ascii_digit());
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].into_iter().find(|unit| after.starts_with(unit));
        let Some(unit) = unit.filter(|_| is_number) else { return false };
        rest = &after[unit.len()..];
        parts += 1;
    }
    parts > 0
}

/// An address of RFC 5322, with or without a name before it in angle brackets.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) if !name.contains(['<', '>', '@']) || name.trim().starts_with('"') => address,
        Some(_) => return false,
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let is_atom = |text: &str| {
        let is_text = |c: char| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.chars().all(is_text))
    };
    let is_quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let is_literal = domain.len() > 2 && domain.starts_with('[') && domain.ends_with(']');
    (is_atom(local) || is_quoted) && (is_atom(domain) || is_literal)
}

/// What can stand in the first line of a request: an absolute URI or an absolute path.
fn is_uri(text: &str) -> bool {
    let has_control = text.chars().any(|c| c.is_ascii_control() || c == ' ');
    let is_escaped = text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if text.is_empty() || has_control || !is_escaped {
        return false;
    }
    if text == "*" || text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    is_scheme && authority.is_none_or(is_authority)
}

fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, after)) => (host, after.strip_prefix(':').or((after.is_empty()).then_some("0"))),
            None => return false,
        },
        None => host.split_once(':').map_or((host, Some("0")), |(host, port)| (host, Some(port))),
    };
    port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        && !host.contains(['<', '>', '"', '\\', '^', '`', '{', '|', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: &str, valid: &[&str], invalid: &[&str]) {
        assert!(check_of(format).is_some(), "{format}");
        for text in valid {
            assert!(is_valid(format, text), "{format}: {text}");
        }
        for text in invalid {
            assert!(!is_valid(format, text), "{format}: {text}");
        }
    }

    #[test]
    fn addresses() {
        check("ipv4", &["1.2.3.4", "::ffff:1.2.3.4"], &["999.1.1.1", "::1", "1.2.3"]);
        check("ipv6", &["::1", "2001:db8::1"], &["1.2.3.4", "2001:zz::"]);
        check("cidr", &["10.0.0.0/8", "::/0", "10.1.2.3/32"], &["10.0.0.0", "10.0.0.0/33", "a/8", "1.2.3.4/+8"]);
        check("mac", &["00:00:5e:00:53:01", "02-00-5e-10-00-00", "0000.5e00.5301"], &["00:00", "0000:5e00", "g"]);
        check("hostname", &["a", "a.example.com", "1a.example", "a-b"], &["", "-a", "a_b", "a..b", "a."]);
        check("email", &["a@b.c", "A B <a@b>", "a+b@c"], &["a", "@b", "a@", "a b@c"]);
        check(
            "uri",
            &["http://a/b?c", "/a", "mailto:a@b", "http://[::1]:80/"],
            &["", "a", "http://a b", "http://a:b/", "%"],
        );
    }

    #[test]
    fn times() {
        check(
            "date-time",
            &["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.6+02:00"],
            &[
                "yesterday",
                "2024-01-02",
                "2024-13-02T03:04:05Z",
                "2024-01-02T03:04:05",
                "2024-01-02T24:00:00Z",
                "2024-01-02T03:04:05+0200",
            ],
        );
        check("datetime", &["2024-01-02T03:04:05Z"], &["03:04"]);
        check("date", &["2024-02-29"], &["2023-02-29", "2024-2-1", "20240201"]);
        check(
            "duration",
            &["1h30m", "1.5s", "-2ms", "0", "3 days", "22 ns", "1week", "2 hours and 3 minutes"],
            &["", "1", "h", "1x", "abc"],
        );
    }

    #[test]
    fn identifiers() {
        let v4 = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
        check("uuid", &[v4, "F47AC10B58CC4372A5670E02B2C3D479"], &["", "f47ac10b", &format!("{v4}0")]);
        check("uuid4", &[v4], &["f47ac10b-58cc-3372-a567-0e02b2c3d479", "f47ac10b-58cc-4372-7567-0e02b2c3d479"]);
        check("uuid3", &["f47ac10b-58cc-3372-a567-0e02b2c3d479"], &[v4]);
        check("uuid5", &["f47ac10b-58cc-5372-a567-0e02b2c3d479"], &[v4]);
        check("bsonobjectid", &["507f1f77bcf86cd799439011"], &["507f1f77"]);
        check("isbn", &["0321751043", "978-0321751041"], &["0321751042", "978-0321751042", "a"]);
        check("isbn10", &["0321751043"], &["978-0321751041"]);
        check("isbn13", &["978-0321751041"], &["0321751043"]);
        check("creditcard", &["4111-1111-1111-1111"], &["4111-1111-1111-1112", "1"]);
        check("ssn", &["111-22-3333", "111223333"], &["111-22-33"]);
        check("k8s-short-name", &["a-b"], &["A", "a.b"]);
        check("k8s-long-name", &["a.b"], &["A", "a..b"]);
    }

    #[test]
    fn the_rest() {
        check("byte", &["aGVsbG8=", "aGVsbG9="], &["!", "", "a", "aGVs\nbG8="]);
        check("hexcolor", &["#fff", "00FF00"], &["#ff", "red"]);
        check("rgbcolor", &["rgb(255, 0, 12)"], &["rgb(256,0,0)", "rgb(1,2)"]);
        check("password", &["", "x"], &[]);
        check("quantity", &["10Gi", "1.5"], &["10 Gi", "x"]);
        assert!(is_valid("int32", "x"));
    }
}
