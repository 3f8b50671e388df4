//! What comes before an entry and is about it: PAX records.

use std::io;

use super::invalid;
use super::sparse::Segment;

/// Extended attributes among the records.
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// What is said of the next entry in place of its header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(String, Vec<u8>)>,
    pub sparse: Sparse,
}

/// What is said of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Its name; the entry's own is made up.
    pub name: Option<Vec<u8>>,
    /// Its size with holes.
    pub size: Option<u64>,
    /// Where it has content, if that is said here.
    pub map: Option<Vec<Segment>>,
    /// Where it has content is said at the beginning of the content.
    pub in_content: bool,
    /// An offset whose length has yet to come.
    offset: Option<u64>,
}

impl Extensions {
    /// Reads records, each `LENGTH KEY=VALUE` and a line's end.
    pub(super) fn read_pax(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            let digits = records.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let length = number(&records[..digits]).and_then(|length| usize::try_from(length).ok());
            let record = length.and_then(|length| records.get(digits + 1..length.checked_sub(1)?));
            let ends = length.and_then(|length| records.get(length.checked_sub(1)?)) == Some(&b'\n');
            let (Some(length), Some(record), true) = (length, record, ends) else {
                return Err(invalid("an extended header cannot be read"));
            };
            let at = record.iter().position(|byte| *byte == b'=');
            let (key, value) =
                record.split_at(at.ok_or_else(|| invalid("an extended header has a record without value"))?);
            if let Ok(key) = std::str::from_utf8(key) {
                self.record(key, &value[1..])?;
            }
            records = &records[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        let whole = || number(value).ok_or_else(|| invalid("an extended header has a number that is none"));
        match key {
            "path" if !value.is_empty() => self.path = Some(value.to_vec()),
            "linkpath" if !value.is_empty() => self.link = Some(value.to_vec()),
            "size" => self.size = Some(whole()?),
            "uid" => self.uid = Some(whole()?),
            "gid" => self.gid = Some(whole()?),
            "mtime" => self.mtime = time(value),
            "GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            "GNU.sparse.size" | "GNU.sparse.realsize" => self.sparse.size = Some(whole()?),
            "GNU.sparse.major" => self.sparse.in_content = whole()? == 1,
            "GNU.sparse.map" => self.sparse.map = Some(map(value)?),
            "GNU.sparse.offset" => self.sparse.offset = Some(whole()?),
            "GNU.sparse.numbytes" => {
                let offset =
                    self.sparse.offset.take().ok_or_else(|| invalid("a piece of a sparse file has no place"))?;
                self.sparse.map.get_or_insert_default().push(Segment { offset, length: whole()? });
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattrs.push((name.to_owned(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// `offset,length,offset,length`.
fn map(value: &[u8]) -> io::Result<Vec<Segment>> {
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(number).collect();
    let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0);
    let numbers = numbers.ok_or_else(|| invalid("the map of a sparse file cannot be read"))?;
    Ok(numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

/// Decimal digits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Seconds with decimals, before 1970 with a sign.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    let digits: String = decimals.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    // Nanoseconds count forwards, also where the seconds are negative.
    match nanos {
        0 => Some((whole, 0)),
        nanos if text.starts_with('-') => Some((whole.checked_sub(1)?, 1_000_000_000 - nanos)),
        nanos => Some((whole, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_read() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"7"), Some((7, 0)));
        assert_eq!(time(b"x"), None);
        assert_eq!((number(b"007"), number(b"-1"), number(b"99999999999999999999")), (Some(7), None, None));
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for wrong in ["5 a=b\n", "999 a=b\n", "x a=b\n", "6 ab=\n1", "0 a=b\n", "18446744073709551616 a=b\n"] {
            let told = Extensions::default().read_pax(wrong.as_bytes());
            assert!(told.is_err(), "{wrong}");
        }
        let mut extensions = Extensions::default();
        extensions.read_pax(b"12 path=a/b\n20 SCHILY.xattr.u=v\n").expect("read");
        assert_eq!(extensions.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(extensions.xattrs, [("u".to_owned(), b"v".to_vec())]);
    }
}
