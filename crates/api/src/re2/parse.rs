//! Reads an expression as Go does and writes it as Rust's engine reads it.

use std::collections::HashSet;

use super::Error;
use super::class::{self, escaped};

/// Go repeats nothing more often than this.
const MAX_REPEAT: u32 = 1000;

/// The expression in Rust's syntax.
pub(super) fn translate(source: &str) -> Result<String, Error> {
    let mut reader = Reader {
        source,
        rest: source,
        out: String::with_capacity(source.len() + 8),
        depth: 0,
        can_repeat: false,
        repetition: None,
        names: HashSet::new(),
    };
    while !reader.rest.is_empty() {
        reader.step()?;
    }
    if reader.depth > 0 {
        return Err(Error::new("missing closing )", source));
    }
    Ok(reader.out)
}

struct Reader<'a> {
    source: &'a str,
    rest: &'a str,
    out: String,
    /// How many groups are open.
    depth: usize,
    /// Whether there is something before that can be repeated.
    can_repeat: bool,
    /// Where the repetition begins that has just been read.
    repetition: Option<&'a str>,
    names: HashSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn step(&mut self) -> Result<(), Error> {
        let start = self.rest;
        let last_repetition = self.repetition.take();
        let Some(c) = start.chars().next() else { return Ok(()) };
        match c {
            '(' => self.open()?,
            ')' => {
                if self.depth == 0 {
                    return Err(Error::new("unexpected )", self.source));
                }
                self.depth -= 1;
                self.copy(1, true);
            }
            '|' => self.copy(1, false),
            '[' => {
                let (class, rest) = class::read(start)?;
                self.write(&class, rest, true);
            }
            '*' | '+' | '?' => self.repeat(start, 1, last_repetition)?,
            '{' => match repetition(start)? {
                Some(length) => self.repeat(start, length, last_repetition)?,
                None => self.write("\\{", &start[1..], true),
            },
            '\\' => self.escape()?,
            '^' | '$' | '.' => self.copy(1, true),
            c => self.write(&escaped(c), &start[c.len_utf8()..], true),
        }
        Ok(())
    }

    fn copy(&mut self, length: usize, can_repeat: bool) {
        let (taken, rest) = self.rest.split_at(length);
        self.write(taken, rest, can_repeat);
    }

    fn write(&mut self, text: &str, rest: &'a str, can_repeat: bool) {
        self.out.push_str(text);
        self.rest = rest;
        self.can_repeat = can_repeat;
    }

    fn repeat(&mut self, start: &'a str, length: usize, last: Option<&'a str>) -> Result<(), Error> {
        if !self.can_repeat {
            return Err(Error::new("missing argument to repetition operator", &start[..length]));
        }
        let mut end = length;
        if start[end..].starts_with('?') {
            end += 1;
        }
        if let Some(last) = last {
            let both = &last[..last.len() - start.len() + end];
            return Err(Error::new("invalid nested repetition operator", both));
        }
        self.out.push_str(&start[..end]);
        self.rest = &start[end..];
        self.repetition = Some(start);
        Ok(())
    }

    fn open(&mut self) -> Result<(), Error> {
        self.depth += 1;
        let Some(after) = self.rest.strip_prefix("(?") else {
            self.copy(1, false);
            return Ok(());
        };
        if let Some(name) = after.strip_prefix("P<").or_else(|| after.strip_prefix('<')) {
            return self.named(name);
        }
        let (mut is_negative, mut has_flag) = (false, false);
        for (at, c) in after.char_indices() {
            match c {
                'i' | 'm' | 's' | 'U' => has_flag = true,
                '-' if !is_negative => {
                    (is_negative, has_flag) = (true, false);
                }
                ':' | ')' if !is_negative || has_flag => {
                    // Flags without a group are over at once.
                    self.depth -= usize::from(c == ')');
                    if (at, c) == (0, ')') {
                        self.write("", &after[1..], false);
                    } else {
                        self.copy(at + 3, false);
                    }
                    return Ok(());
                }
                c => return Err(self.perl(at + 2 + c.len_utf8())),
            }
        }
        Err(Error::new("missing closing )", self.source))
    }

    fn perl(&self, length: usize) -> Error {
        Error::new("invalid or unsupported Perl syntax", &self.rest[..length])
    }

    fn named(&mut self, after: &'a str) -> Result<(), Error> {
        if after.starts_with(['=', '!']) {
            return Err(self.perl(3));
        }
        let begin = self.rest.len() - after.len();
        let Some(end) = after.find('>') else { return Err(Error::new("invalid named capture", self.rest)) };
        let name = &after[..end];
        let is_valid = !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        if !is_valid {
            return Err(Error::new("invalid named capture", &self.rest[..begin + end + 1]));
        }
        if !self.names.insert(name) {
            return Err(Error::new("duplicate capture group name", name));
        }
        // Nothing asks for the groups, and Rust would not take all the names.
        self.write("(", &after[end + 1..], false);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Error> {
        let start = self.rest;
        let mut chars = start.chars();
        let (_, second) = (chars.next(), chars.next());
        match second {
            Some('A' | 'z') => self.copy(2, true),
            Some('b') => self.write(r"(?-u:\b)", chars.as_str(), true),
            Some('B') => self.write(r"\B", chars.as_str(), true),
            Some('Q') => {
                let quoted = &start[2..];
                let end = quoted.find("\\E").unwrap_or(quoted.len());
                let text: String = quoted[..end].chars().map(escaped).collect();
                let rest = quoted.get(end + 2..).unwrap_or_default();
                let can_repeat = self.can_repeat || !text.is_empty();
                self.write(&text, rest, can_repeat);
            }
            _ => {
                if let Some((class, rest)) = class::perl_or_unicode(start)? {
                    self.write(&format!("[{class}]"), rest, true);
                } else {
                    let (c, rest) = class::escape(start)?;
                    self.write(&escaped(c), rest, true);
                }
            }
        }
        Ok(())
    }
}

/// How long the repetition is that the text begins with, if it does.
fn repetition(text: &str) -> Result<Option<usize>, Error> {
    let Some(end) = text.find('}') else { return Ok(None) };
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Go takes no leading zeros, and a number too large for it as one that is too large.
        let is_plain = is_number && (digits == "0" || !digits.starts_with('0'));
        is_plain.then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
    };
    let (low, high) = match text[1..end].split_once(',') {
        None => (number(&text[1..end]), number(&text[1..end])),
        Some((low, "")) => (number(low), number(low)),
        Some((low, high)) => (number(low), number(high)),
    };
    let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
    if low > MAX_REPEAT || high > MAX_REPEAT || low > high {
        return Err(Error::new("invalid repeat count", &text[..=end]));
    }
    Ok(Some(end + 1))
}
