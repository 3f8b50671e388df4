//! Classes of characters, and escapes.

use std::fmt::Write as _;

use super::Error;

/// A character as Rust's engine takes it anywhere, inside of classes too.
pub(super) fn escaped(c: char) -> String {
    let mut text = String::new();
    push(&mut text, c);
    text
}

fn push(text: &mut String, c: char) {
    if c.is_alphanumeric() || matches!(c, '_' | ' ' | '/' | ':' | ',' | '"' | '\'') {
        text.push(c);
    } else {
        write!(text, "\\x{{{:x}}}", c as u32).expect("writing to a string cannot fail");
    }
}

/// Reads the class that the text begins with; answers it in Rust's syntax, and what follows it.
pub(super) fn read(start: &str) -> Result<(String, &str), Error> {
    let mut class = String::from("[");
    let mut rest = &start[1..];
    if let Some(after) = rest.strip_prefix('^') {
        class.push('^');
        rest = after;
    }
    let mut is_first = true;
    while is_first || !rest.starts_with(']') {
        is_first = false;
        if rest.is_empty() {
            return Err(Error::new("missing closing ]", start));
        }
        if let Some((named, after)) = named(rest)? {
            class.push_str(named);
            rest = after;
        } else if let Some((part, after)) = perl_or_unicode(rest)? {
            class.push_str(&part);
            rest = after;
        } else {
            rest = range(rest, start, &mut class)?;
        }
    }
    class.push(']');
    Ok((class, &rest[1..]))
}

/// Reads a character, or a range of them.
fn range<'a>(begin: &'a str, start: &str, class: &mut String) -> Result<&'a str, Error> {
    let (low, mut rest) = member(begin, start)?;
    push(class, low);
    let after = rest.strip_prefix('-').filter(|after| !after.starts_with(']'));
    if let Some(after) = after {
        let (high, after) = member(after, start)?;
        if high < low {
            let length = begin.len() - after.len();
            return Err(Error::new("invalid character class range", &begin[..length]));
        }
        class.push('-');
        push(class, high);
        rest = after;
    }
    Ok(rest)
}

fn member<'a>(text: &'a str, start: &str) -> Result<(char, &'a str), Error> {
    if text.starts_with('\\') {
        return escape(text);
    }
    let mut chars = text.chars();
    let c = chars.next().ok_or_else(|| Error::new("missing closing ]", start))?;
    Ok((c, chars.as_str()))
}

/// A class such as `[:alpha:]`, within a class.
fn named(text: &str) -> Result<Option<(&str, &str)>, Error> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    let Some(end) = text.strip_prefix("[:").and_then(|inner| inner.find(":]")) else { return Ok(None) };
    let (class, rest) = text.split_at(end + 4);
    let name = &text[2..end + 2];
    if NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        Ok(Some((class, rest)))
    } else {
        Err(Error::new("invalid character class range", class))
    }
}

/// A class such as `\d` or `\p{Greek}`; answers what stands for it inside of a class.
pub(super) fn perl_or_unicode(text: &str) -> Result<Option<(String, &str)>, Error> {
    let mut chars = text.chars();
    if chars.next() != Some('\\') {
        return Ok(None);
    }
    let perl = match chars.next() {
        Some('d') => "0-9",
        Some('D') => "[^0-9]",
        Some('w') => "0-9A-Za-z_",
        Some('W') => "[^0-9A-Za-z_]",
        Some('s') => r"\t\n\x0c\r ",
        Some('S') => r"[^\t\n\x0c\r ]",
        Some('p' | 'P') => return unicode(text).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((perl.to_owned(), chars.as_str())))
}

fn unicode(text: &str) -> Result<(String, &str), Error> {
    let after = &text[2..];
    let length = match after.chars().next() {
        Some('{') => after.find('}').map(|end| end + 1),
        c => c.map(char::len_utf8),
    };
    let refused = |part: &str| Error::new("invalid character class range", part);
    let Some(length) = length else { return Err(refused(text)) };
    let (class, rest) = text.split_at(2 + length);
    // Go knows general categories and scripts by their names, and nothing else of Unicode.
    let name = class[2..].trim_start_matches('{').trim_end_matches('}');
    let name = name.strip_prefix('^').unwrap_or(name);
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    if !is_name || (name != "Any" && regex::Regex::new(&rust_class(class)).is_err()) {
        return Err(refused(class));
    }
    Ok((rust_class(class), rest))
}

/// `\p{^Greek}` is written `\P{Greek}`.
fn rust_class(class: &str) -> String {
    match class.split_once("{^") {
        Some((r"\p", name)) => format!(r"\P{{{name}"),
        Some((_, name)) => format!(r"\p{{{name}"),
        None => class.to_owned(),
    }
}

/// The character that an escape stands for, and what follows it.
pub(super) fn escape(text: &str) -> Result<(char, &str), Error> {
    let mut chars = text.chars();
    chars.next();
    let Some(c) = chars.next() else { return Err(Error::new("trailing backslash at end of expression", "")) };
    let rest = chars.as_str();
    let refused = |length: usize| Error::new("invalid escape sequence", &text[..length]);
    let c = match c {
        '1'..='7' if !rest.starts_with(|c: char| ('0'..='7').contains(&c)) => return Err(refused(2)),
        '0'..='7' => return octal(text),
        'x' => {
            let digits: usize = rest.chars().take(2).map(char::len_utf8).sum();
            return hexadecimal(text).ok_or_else(|| refused(2 + digits));
        }
        'a' => '\u{7}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        c if c.is_ascii_punctuation() => c,
        c => return Err(refused(1 + c.len_utf8())),
    };
    Ok((c, rest))
}

fn octal(text: &str) -> Result<(char, &str), Error> {
    let digits = text[1..].bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let (number, rest) = text[1..].split_at(digits);
    let c = u32::from_str_radix(number, 8).ok().and_then(char::from_u32);
    c.map(|c| (c, rest)).ok_or_else(|| Error::new("invalid escape sequence", text))
}

fn hexadecimal(text: &str) -> Option<(char, &str)> {
    let after = &text[2..];
    let (digits, rest) = match after.strip_prefix('{') {
        Some(inner) => inner.split_once('}')?,
        None => after.split_at_checked(2)?,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_number)?;
    Some((char::from_u32(number)?, rest))
}
