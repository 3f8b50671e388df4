//! Lines of Docker's logs, and of the kubelet's files.

use jiff::Timestamp;

/// Docker cuts longer lines, also those of terminals, which are not framed.
const MAX_LINE: usize = 16 * 1024;

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub time: Timestamp,
    pub stream: Stream,
    pub text: &'a [u8],
    /// Whether the line ends here.
    pub is_whole: bool,
}

impl<'a> Line<'a> {
    /// Reads the lines that Docker sent at once: each begins with a time.
    pub(super) fn read_docker(stream: Stream, mut message: &'a [u8], mut line: impl FnMut(Line<'a>)) {
        while !message.is_empty() {
            let Some(space) = message.iter().position(|&byte| byte == b' ') else { return };
            let time = std::str::from_utf8(&message[..space]).ok().and_then(|text| text.parse().ok());
            let Some(time) = time else { return };
            let rest = &message[space + 1..];
            let end = rest.iter().take(MAX_LINE + 1).position(|&byte| byte == b'\n');
            let (text, is_whole, next) = match end {
                Some(end) => (&rest[..end], true, end + 1),
                None => (&rest[..rest.len().min(MAX_LINE)], false, rest.len().min(MAX_LINE)),
            };
            line(Line { time, stream, text, is_whole });
            message = &rest[next..];
        }
    }

    /// Reads a line of the kubelet's file, without its end; only what tells how far the file is.
    pub(super) fn read_file(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let mut word = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
        let time = word()?.parse().ok()?;
        let stream = match word()? {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        };
        let is_whole = word()? == "F";
        Some(Self { time, stream, text: parts.next()?, is_whole })
    }

    /// Writes it as a line of the kubelet's file.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let tag = if self.is_whole { 'F' } else { 'P' };
        out.extend_from_slice(format!("{:.9} {} {tag} ", self.time, self.stream.name()).as_bytes());
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.000000006Z";

    #[track_caller]
    fn check(message: &[u8], expected: &[(&[u8], bool)]) {
        let mut lines = Vec::new();
        Line::read_docker(Stream::Stdout, message, |line| lines.push((line.text, line.is_whole)));
        assert_eq!(lines, expected);
    }

    #[test]
    fn dockers_lines_are_read() {
        check(format!("{TIME} hello\n").as_bytes(), &[(b"hello", true)]);
        check(format!("{TIME} hel").as_bytes(), &[(b"hel", false)]);
        check(format!("{TIME} \n").as_bytes(), &[(b"", true)]);
        check(b"nonsense", &[]);
        let long = "x".repeat(MAX_LINE);
        check(format!("{TIME} {long}{TIME} y\n").as_bytes(), &[(long.as_bytes(), false), (b"y", true)]);
        check(format!("{TIME} {long}\n").as_bytes(), &[(long.as_bytes(), true)]);
    }

    #[test]
    fn lines_of_the_file_are_written_and_read() {
        let time = TIME.parse().expect("a time");
        let line = Line { time, stream: Stream::Stderr, text: b"hello you", is_whole: false };
        let mut out = Vec::new();
        line.write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{TIME} stderr P hello you\n"));
        assert_eq!(Line::read_file(&out[..out.len() - 1]), Some(line));
        assert_eq!(Line::read_file(b"what somebody else wrote"), None);
    }
}
