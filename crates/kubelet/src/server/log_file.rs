//! Log files in CRI's format: a time, a stream, a tag and the text in each line.

use jiff::Timestamp;

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as lines are written.
    pub follow: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<usize>,
    /// Only what is not older.
    pub since: Option<Timestamp>,
    /// Only so many bytes.
    pub limit_bytes: Option<usize>,
    /// Only this stream (`stdout` or `stderr`).
    pub stream: Option<&'static str>,
}

/// One line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, as text.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the text goes on in the next line.
    pub partial: bool,
    /// What was written.
    pub text: &'a [u8],
}

/// Takes one line apart; `None` for one that has another form.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = parts.next()?;
    let text = parts.next()?;
    if !matches!(stream, "stdout" | "stderr") {
        return None;
    }
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time, stream, partial, text })
}

/// Where the last `count` whole lines of a file's content begin. Parts of one line count as one.
pub fn tail_start(content: &[u8], count: usize) -> usize {
    if count == 0 {
        return content.len();
    }
    let mut starts: Vec<usize> = vec![0];
    starts.extend(content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
    if starts.last() == Some(&content.len()) {
        starts.pop();
    }
    let mut whole = 0;
    for (index, start) in starts.iter().enumerate().rev() {
        let previous = index.checked_sub(1).map(|index| &content[starts[index]..start.saturating_sub(1)]);
        let continues = previous.and_then(parse).is_some_and(|line| line.partial);
        if !continues {
            whole += 1;
            if whole == count {
                return *start;
            }
        }
    }
    0
}

/// Writes lines for a reader: filters, strips what is not asked for, and stops at the limit.
pub struct Writer {
    options: LogOptions,
    left: usize,
    in_partial: bool,
}

impl Writer {
    /// A writer with the given wishes.
    pub fn new(options: LogOptions) -> Self {
        let left = options.limit_bytes.unwrap_or(usize::MAX);
        Self { options, left, in_partial: false }
    }

    /// Whether the limit is reached.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Appends what is to be shown of a line (without its end) to `out`.
    pub fn write(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(raw) else { return };
        if self.options.stream.is_some_and(|stream| stream != line.stream) {
            return;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        let before = out.len();
        if self.options.timestamps && !self.in_partial {
            out.extend(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.in_partial = line.partial;
        let written = out.len() - before;
        if written > self.left {
            out.truncate(before + self.left);
            self.left = 0;
        } else {
            self.left -= written;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2024-01-01T00:00:00.000000001Z stdout F one\n\
                       2024-01-01T00:00:01.000000001Z stderr F two\n\
                       2024-01-01T00:00:02.000000001Z stdout P thr\n\
                       2024-01-01T00:00:02.000000002Z stdout F ee\n";

    #[track_caller]
    fn check(options: LogOptions, expected: &str) {
        let start = options.tail_lines.map_or(0, |count| tail_start(LOG.as_bytes(), count));
        let mut writer = Writer::new(options);
        let mut out = Vec::new();
        for line in LOG[start..].lines() {
            writer.write(line.as_bytes(), &mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn lines_are_filtered_and_stripped() {
        check(LogOptions::default(), "one\ntwo\nthree\n");
        check(LogOptions { tail_lines: Some(1), ..LogOptions::default() }, "three\n");
        check(LogOptions { tail_lines: Some(2), ..LogOptions::default() }, "two\nthree\n");
        check(LogOptions { tail_lines: Some(9), ..LogOptions::default() }, "one\ntwo\nthree\n");
        check(LogOptions { tail_lines: Some(0), ..LogOptions::default() }, "");
        check(LogOptions { limit_bytes: Some(6), ..LogOptions::default() }, "one\ntw");
        check(LogOptions { stream: Some("stderr"), ..LogOptions::default() }, "two\n");
        let since = "2024-01-01T00:00:01Z".parse().expect("a time");
        check(LogOptions { since: Some(since), ..LogOptions::default() }, "two\nthree\n");
        let timestamps = LogOptions { timestamps: true, tail_lines: Some(1), ..LogOptions::default() };
        check(timestamps, "2024-01-01T00:00:02.000000001Z three\n");
    }
}
