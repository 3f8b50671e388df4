//! A log file of the kubelet's, which tells by itself how far it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::line::{Line, Stream};

/// So much of the end of a file is read to find out how far it is: more than a line of either stream takes.
const TAIL: u64 = 256 * 1024;

/// How far a log is: what was written last of each stream. Docker gives each line a time of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    stdout: Option<Timestamp>,
    stderr: Option<Timestamp>,
}

impl Position {
    /// Whether a line is later. Goes on to it if it is.
    pub(super) fn advance(&mut self, line: &Line<'_>) -> bool {
        let last = match line.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if last.is_some_and(|last| last >= line.time) {
            return false;
        }
        *last = Some(line.time);
        true
    }

    /// From when on lines may be missing, in seconds since 1970.
    pub(super) fn since(&self) -> i32 {
        let earliest = self.stdout.min(self.stderr);
        earliest.map_or(0, |time| i32::try_from(time.as_second()).unwrap_or(0))
    }

    /// Reads the end of a file. What is not in it of one stream was written before the end begins.
    fn read(tail: &[u8]) -> Self {
        let mut position = Self::default();
        let mut first = None;
        for line in tail.split(|&byte| byte == b'\n').filter_map(Line::read_file) {
            first.get_or_insert(line.time);
            position.advance(&line);
        }
        Self { stdout: position.stdout.or(first), stderr: position.stderr.or(first) }
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens the file, or makes it, and says how far it is.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Position)> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = open(path)?;
        let mut tail = read_tail(&mut file)?;
        // Whoever was killed while it wrote left half a line.
        let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole < tail.len() {
            let torn = (tail.len() - whole) as u64;
            file.set_len(file.metadata()?.len() - torn)?;
            tail.truncate(whole);
        }
        if tail.is_empty() {
            tail = rotated(path)?;
        }
        Ok((Self { path: path.to_owned(), file }, Position::read(&tail)))
    }

    /// Opens the path anew, because the file has another name now. On failure the old one stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Appends whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

fn read_tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(tail)
}

/// The end of the file that was the log before the kubelet gave it another name; it packs older ones.
fn rotated(path: &Path) -> io::Result<Vec<u8>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let names = fs::read_dir(parent)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let rotated = names.filter(|name| name.starts_with(&prefix) && !name.ends_with(".gz") && !name.ends_with(".tmp"));
    match rotated.max() {
        Some(last) => read_tail(&mut File::open(parent.join(last))?),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(nanosecond: i128) -> Timestamp {
        Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanosecond).expect("a time")
    }

    fn text(lines: &[(i128, Stream)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (nanosecond, stream) in lines {
            Line { time: time(*nanosecond), stream: *stream, text: b"x", is_whole: true }.write(&mut text);
        }
        text
    }

    #[track_caller]
    fn check(position: &mut Position, nanosecond: i128, stream: Stream, is_new: bool) {
        let line = Line { time: time(nanosecond), stream, text: b"x", is_whole: true };
        assert_eq!(position.advance(&line), is_new);
    }

    #[test]
    fn each_stream_goes_on_where_it_was() {
        let mut position = Position::read(&text(&[(1, Stream::Stdout), (5, Stream::Stderr), (3, Stream::Stdout)]));
        assert_eq!(position.since(), 1_700_000_000);
        check(&mut position, 3, Stream::Stdout, false);
        check(&mut position, 4, Stream::Stdout, true);
        check(&mut position, 4, Stream::Stderr, false);
        check(&mut position, 6, Stream::Stderr, true);
        check(&mut position, 6, Stream::Stderr, false);
        let mut position = Position::read(&text(&[(2, Stream::Stdout)]));
        check(&mut position, 1, Stream::Stderr, false);
        check(&mut position, 3, Stream::Stderr, true);
        assert_eq!(Position::read(b"").since(), 0);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_written_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pod/0.log");
        fs::create_dir(dir.path().join("pod")).expect("a directory");
        let whole = text(&[(1, Stream::Stdout)]);
        fs::write(&path, [&whole[..], b"2026-01-0"].concat()).expect("written");
        let (mut file, mut position) = LogFile::open(&path).expect("opened");
        check(&mut position, 1, Stream::Stdout, false);
        file.append(&text(&[(2, Stream::Stdout)])).expect("written");
        assert_eq!(fs::read(&path).expect("there"), text(&[(1, Stream::Stdout), (2, Stream::Stdout)]));
    }

    #[test]
    fn a_file_that_was_just_rotated_is_gone_on_with() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        fs::write(dir.path().join("0.log.20260101-000000"), text(&[(1, Stream::Stdout)])).expect("written");
        fs::write(dir.path().join("0.log.20260102-000000"), text(&[(7, Stream::Stdout)])).expect("written");
        let (mut file, mut position) = LogFile::open(&path).expect("opened");
        check(&mut position, 7, Stream::Stdout, false);
        fs::rename(&path, dir.path().join("0.log.20260103-000000")).expect("renamed");
        file.reopen().expect("opened");
        file.append(b"new\n").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"new\n");
    }
}
