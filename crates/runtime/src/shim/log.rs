//! The container's log file in CRI's format: one line is a time, a stream, `F` or `P`, and the text.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// The longest text in one line of the file; what is longer is continued in the next (`P` for partial).
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

/// The log file of a container.
///
/// A disk that takes nothing does not stop the container: what it writes meanwhile is lost, whole lines of it.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    pending: [Vec<u8>; 2],
    /// How much was lost since the disk last took something.
    lost: usize,
}

impl Log {
    /// Opens `path` for appending.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, pending: Default::default(), lost: 0 })
    }

    /// Opens the path anew, because the file was renamed. On failure the old file stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Writes the lines that `bytes` complete, and keeps the rest for later.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        let mut lines = Vec::with_capacity(bytes.len() + 64);
        let pending = &mut self.pending[stream as usize];
        split_lines(pending, bytes, |text, whole| format_line(&mut lines, stream, now, text, whole));
        self.append(&lines);
    }

    /// Writes what came after the last line's end, because nothing more will come.
    pub(super) fn finish(&mut self, stream: Stream, now: Timestamp) {
        let text = std::mem::take(&mut self.pending[stream as usize]);
        if text.is_empty() {
            return;
        }
        let mut line = Vec::with_capacity(text.len() + 64);
        format_line(&mut line, stream, now, &text, false);
        self.append(&line);
    }

    /// Writes lines, all or none. The first that are lost, and how much it was in the end, is told on standard error.
    fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        match write_whole(&mut self.file, lines) {
            Ok(()) if self.lost == 0 => {}
            Ok(()) => eprintln!("the log can be written again; {} bytes were lost", std::mem::take(&mut self.lost)),
            Err(err) => {
                if self.lost == 0 {
                    eprintln!("cannot write the log {}: {err}", self.path.display());
                }
                self.lost += lines.len();
            }
        }
    }
}

/// Appends all of `bytes` or nothing.
fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(count @ 1..) => written += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            failed => {
                if written > 0 {
                    let before = file.metadata()?.len().saturating_sub(written as u64);
                    file.set_len(before)?;
                }
                return failed.and(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Calls `line` for each text that is complete: by a line feed (true), or by its length (false).
fn split_lines(pending: &mut Vec<u8>, mut bytes: &[u8], mut line: impl FnMut(&[u8], bool)) {
    while !bytes.is_empty() {
        let room = MAX_LINE - pending.len();
        let window = &bytes[..bytes.len().min(room + 1)];
        match window.iter().position(|&byte| byte == b'\n') {
            Some(end) if pending.is_empty() => {
                line(&bytes[..end], true);
                bytes = &bytes[end + 1..];
            }
            Some(end) => {
                pending.extend_from_slice(&bytes[..end]);
                line(pending, true);
                pending.clear();
                bytes = &bytes[end + 1..];
            }
            None if bytes.len() > room => {
                pending.extend_from_slice(&bytes[..room]);
                line(pending, false);
                pending.clear();
                bytes = &bytes[room..];
            }
            None => {
                pending.extend_from_slice(bytes);
                bytes = &[];
            }
        }
    }
}

fn format_line(out: &mut Vec<u8>, stream: Stream, now: Timestamp, text: &[u8], whole: bool) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{now:.9} {} {} ", stream.name(), if whole { 'F' } else { 'P' });
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: &[(&[u8], bool)]) {
        let mut pending = Vec::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            split_lines(&mut pending, chunk, |text, whole| lines.push((text.to_vec(), whole)));
        }
        if !pending.is_empty() {
            lines.push((pending, false));
        }
        let expected: Vec<(Vec<u8>, bool)> = expected.iter().map(|(text, whole)| (text.to_vec(), *whole)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_are_put_together_and_cut() {
        check(&[b"a\nb\n"], &[(b"a", true), (b"b", true)]);
        check(&[b"a", b"b\n\n"], &[(b"ab", true), (b"", true)]);
        check(&[b"a\nb"], &[(b"a", true), (b"b", false)]);
        let long = vec![b'x'; MAX_LINE];
        let mut exact = long.clone();
        exact.push(b'\n');
        check(&[&exact], &[(&long, true)]);
        let mut longer = long.clone();
        longer.extend(b"yz\n");
        check(&[&longer], &[(&long, false), (b"yz", true)]);
        check(&[&long, b"y\n"], &[(&long, false), (b"y", true)]);
    }

    #[test]
    fn a_line_reads_as_cri_says() {
        let mut out = Vec::new();
        let now: Timestamp = "2026-01-02T03:04:05.000000006Z".parse().expect("a time");
        format_line(&mut out, Stream::Stderr, now, b"hello", true);
        assert_eq!(String::from_utf8_lossy(&out), "2026-01-02T03:04:05.000000006Z stderr F hello\n");
    }
}
