//! A position in a container's log, whose file rotation renames and replaces.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::log_file::{LogOptions, Writer, tail_start};
use super::rotated::{self, Content};

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// A position in a log: it moves on to the next file when its own was rotated.
pub struct Tail {
    path: PathBuf,
    content: Content,
    /// When the file was rotated that is read; `None` of the one that was the newest when it was opened.
    stamp: Option<String>,
    /// What was read and does not yet end with a line's end.
    rest: Vec<u8>,
    writer: Writer,
}

impl Tail {
    /// The beginning of what is wanted of the newest file.
    pub async fn open(path: PathBuf, options: LogOptions) -> io::Result<Self> {
        tokio::task::spawn_blocking(move || Self::open_now(path, options)).await.map_err(io::Error::other)?
    }

    fn open_now(path: PathBuf, options: LogOptions) -> io::Result<Self> {
        let mut file = File::open(&path)?;
        if let Some(count) = options.tail_lines {
            let start = find_tail(&mut file, count)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(Self { path, content: Content::Plain(file), stamp: None, rest: Vec::new(), writer: Writer::new(options) })
    }

    /// What can be read now; empty at the end.
    pub async fn next(self) -> io::Result<(Vec<u8>, Self)> {
        tokio::task::spawn_blocking(move || self.read_next()).await.map_err(io::Error::other)?
    }

    /// Whether as much was read as was asked for.
    pub fn is_done(&self) -> bool {
        self.writer.is_done()
    }

    /// Whether the file was read to its end.
    pub fn is_at_end(&mut self) -> bool {
        // After a compressed one there is another.
        let Content::Plain(file) = &mut self.content else { return false };
        let position = file.stream_position().ok();
        let size = file.metadata().ok().map(|metadata| metadata.len());
        position >= size
    }

    fn read_next(mut self) -> io::Result<(Vec<u8>, Self)> {
        let mut out = Vec::new();
        while out.is_empty() && !self.writer.is_done() {
            if self.read_chunk(&mut out)? {
                continue;
            }
            let Some((next, stamp)) = self.next_file()? else { break };
            // The writer went over to the next file, perhaps after this one's end was seen above.
            while self.read_chunk(&mut out)? {}
            (self.content, self.stamp) = (next, stamp);
        }
        Ok((out, self))
    }

    /// Reads some of the file; false at its end.
    fn read_chunk(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let from = self.rest.len();
        self.rest.resize(from + CHUNK, 0);
        let count = self.content.read(&mut self.rest[from..])?;
        self.rest.truncate(from + count);
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            if self.writer.is_done() {
                break;
            }
            self.writer.write(&self.rest[start..start + length], out);
            start += length + 1;
        }
        self.rest.drain(..start);
        Ok(count > 0 && !self.writer.is_done())
    }

    /// The file that was begun when this one was rotated. A reader that is slow may be several files behind.
    fn next_file(&self) -> io::Result<Option<(Content, Option<String>)>> {
        loop {
            let newest = match File::open(&self.path) {
                Ok(newest) => newest,
                // Rotated, and the new file is not there yet.
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(err) => return Err(err),
            };
            let rotated = rotated::all(&self.path)?;
            // Oldest first. One that is removed meanwhile was older than those that stay.
            let behind = match (&self.stamp, &self.content) {
                (Some(stamp), _) => rotated.iter().take_while(|one| one.stamp <= *stamp).count(),
                (None, Content::Plain(file)) if file.metadata()?.ino() == newest.metadata()?.ino() => return Ok(None),
                (None, Content::Plain(file)) => rotated.iter().rposition(|one| one.is_of(file)).map_or(0, |at| at + 1),
                (None, Content::Compressed(_)) => 0,
            };
            let Some(next) = rotated.into_iter().nth(behind) else {
                return Ok(Some((Content::Plain(newest), None)));
            };
            match next.open() {
                Ok(content) => return Ok(Some((content, Some(next.stamp)))),
                // Compressed or removed since it was listed.
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
    }
}

/// Where the last lines begin, reading from the end until enough are found.
fn find_tail(file: &mut File, count: usize) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut window = 64 * 1024u64;
    loop {
        let from = size.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut content = Vec::new();
        file.take(size - from).read_to_end(&mut content)?;
        let start = tail_start(&content, count);
        // A start at the window's own beginning may be in the middle of a line.
        if start > 0 || from == 0 {
            return Ok(from + start as u64);
        }
        window *= 4;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn append(path: &Path, texts: &[&str]) {
        use std::io::Write;
        let mut file = File::options().create(true).append(true).open(path).expect("opened");
        for text in texts {
            writeln!(file, "2024-01-01T00:00:00.000000001Z stdout F {text}").expect("written");
        }
    }

    fn rotate(path: &Path, stamp: &str) {
        // Logs are not rotated as fast as that, within one tick of the kernel's clock for files.
        let second: u64 = stamp.replace('-', "").parse().expect("digits");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second % 1000);
        File::options().append(true).open(path).and_then(|file| file.set_modified(time)).expect("set");
        std::fs::rename(path, rotated::name(path, stamp)).expect("renamed");
    }

    /// All that can be read now.
    fn drain(mut tail: Tail) -> (String, Tail) {
        let mut text = Vec::new();
        loop {
            let (chunk, back) = tail.read_next().expect("read");
            tail = back;
            if chunk.is_empty() {
                return (String::from_utf8(text).expect("text"), tail);
            }
            text.extend(chunk);
        }
    }

    #[test]
    fn a_follower_reads_every_line_over_rotations() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        append(&path, &["one"]);
        let tail = Tail::open_now(path.clone(), LogOptions::default()).expect("opened");
        let (text, tail) = drain(tail);
        assert_eq!(text, "one\n");

        // Lines between the rename and the new file still go into the old one.
        rotate(&path, "20240101-000001");
        let (text, tail) = drain(tail);
        assert_eq!(text, "");
        append(&rotated::name(&path, "20240101-000001"), &["two"]);
        append(&path, &["three"]);
        let (text, tail) = drain(tail);
        assert_eq!(text, "two\nthree\n");

        // Two rotations since the last look, the first of which is gone already.
        rotate(&path, "20240101-000002");
        append(&path, &["four"]);
        rotate(&path, "20240101-000003");
        append(&path, &["five"]);
        std::fs::remove_file(rotated::name(&path, "20240101-000001")).expect("removed");
        std::fs::remove_file(rotated::name(&path, "20240101-000002")).expect("removed");
        let (text, _) = drain(tail);
        assert_eq!(text, "four\nfive\n");
    }

    #[test]
    fn a_follower_that_is_slow_reads_what_was_compressed_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        append(&path, &["one"]);
        let (text, tail) = drain(Tail::open_now(path.clone(), LogOptions::default()).expect("opened"));
        assert_eq!(text, "one\n");
        for (stamp, line) in [("1", "two"), ("2", "three"), ("3", "four")] {
            rotate(&path, stamp);
            append(&path, &[line]);
        }
        rotated::settle(&path, 9).expect("settled");
        assert!(!rotated::name(&path, "1").exists() && rotated::name(&path, "3").exists());
        let (text, tail) = drain(tail);
        assert_eq!(text, "two\nthree\nfour\n");

        // What it has read last goes while it reads what came before that.
        rotate(&path, "4");
        append(&path, &["five"]);
        let (text, tail) = drain(tail);
        assert_eq!(text, "five\n");
        rotate(&path, "5");
        append(&path, &["six"]);
        rotated::settle(&path, 1).expect("settled");
        let (text, _) = drain(tail);
        assert_eq!(text, "six\n");
    }

    #[test]
    fn a_tail_begins_at_its_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        append(&path, &["one", "two", "three"]);
        let options = LogOptions { tail_lines: Some(2), ..LogOptions::default() };
        assert_eq!(drain(Tail::open_now(path, options).expect("opened")).0, "two\nthree\n");
    }
}
