//! The files that the rotation of a log leaves: the newest as it was written, older ones compressed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// The end of a compressed file's name.
const COMPRESSED: &str = "gz";
/// The end of the name of one that is not complete.
const INCOMPLETE: &str = "tmp";

/// A file that was the log until it was rotated.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotated {
    /// When it was rotated. These sort by time.
    pub stamp: String,
    /// Where it is.
    pub path: PathBuf,
    is_compressed: bool,
}

impl Rotated {
    /// Opens it to be read.
    pub fn open(&self) -> io::Result<Content> {
        let file = File::open(&self.path)?;
        Ok(match self.is_compressed {
            true => Content::Compressed(Box::new(MultiGzDecoder::new(BufReader::new(file)))),
            false => Content::Plain(file),
        })
    }

    /// Whether it has what a file has that was opened before: what is compressed was last written when the other was.
    pub fn is_of(&self, file: &File) -> bool {
        let (Ok(this), Ok(other)) = (fs::metadata(&self.path), file.metadata()) else { return false };
        match self.is_compressed {
            true => (this.mtime(), this.mtime_nsec()) == (other.mtime(), other.mtime_nsec()),
            false => this.ino() == other.ino(),
        }
    }
}

/// What is in a file of a log.
#[derive(Debug)]
pub enum Content {
    /// As it was written.
    Plain(File),
    /// Compressed.
    Compressed(Box<MultiGzDecoder<BufReader<File>>>),
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Compressed(decoder) => decoder.read(buffer),
        }
    }
}

/// What a log is called once it was rotated at the given time.
pub fn name(path: &Path, stamp: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    PathBuf::from(name)
}

/// The rotated files of a log, the oldest first, each once.
pub fn all(path: &Path) -> io::Result<Vec<Rotated>> {
    let mut rotated = parts(path)?.0;
    rotated.dedup_by(|later, first| later.stamp == first.stamp);
    Ok(rotated)
}

/// The rotated files, of two of the same time the compressed one first, and what is not complete.
fn parts(path: &Path) -> io::Result<(Vec<Rotated>, Vec<PathBuf>)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Default::default()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let (mut rotated, mut incomplete) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        match rest.split_once('.') {
            None => rotated.push(Rotated { stamp: rest.to_owned(), path, is_compressed: false }),
            Some((stamp, COMPRESSED)) => rotated.push(Rotated { stamp: stamp.to_owned(), path, is_compressed: true }),
            Some((_, INCOMPLETE)) => incomplete.push(path),
            Some(_) => {}
        }
    }
    rotated.sort_by(|a, b| (&a.stamp, b.is_compressed).cmp(&(&b.stamp, a.is_compressed)));
    Ok((rotated, incomplete))
}

/// Brings the rotated files of a log in order, of which `keep` stay: removes the oldest, and compresses all but the
/// newest. What was broken off before is done again. Takes its time.
pub fn settle(path: &Path, keep: usize) -> io::Result<()> {
    let (mut rotated, incomplete) = parts(path)?;
    incomplete.iter().try_for_each(fs::remove_file)?;
    let mut stamps = std::collections::HashSet::new();
    let (kept, packed): (Vec<Rotated>, Vec<Rotated>) =
        rotated.drain(..).partition(|one| stamps.insert(one.stamp.clone()));
    packed.iter().try_for_each(|one| fs::remove_file(&one.path))?;
    let surplus = kept.len().saturating_sub(keep);
    kept.iter().take(surplus).try_for_each(|one| fs::remove_file(&one.path))?;
    let older = kept.len().saturating_sub(1);
    kept.iter().take(older).skip(surplus).filter(|one| !one.is_compressed).try_for_each(|one| compress(&one.path))
}

/// Puts a compressed file in the place of one. What does not come of it is not left behind: the disk may be full.
fn compress(path: &Path) -> io::Result<()> {
    let other = |end: &str| path.with_file_name(format!("{}.{end}", path.file_name().unwrap_or_default().display()));
    let incomplete = other(INCOMPLETE);
    let packed = pack(path, &incomplete).and_then(|()| fs::rename(&incomplete, other(COMPRESSED)));
    if packed.is_err() {
        // What cannot be removed either is found the next time.
        let _ = fs::remove_file(&incomplete);
    }
    packed?;
    fs::remove_file(path)
}

/// Writes a file compressed to another one, with its rights and the time of its last change.
fn pack(path: &Path, to: &Path) -> io::Result<()> {
    let mut plain = File::open(path)?;
    let metadata = plain.metadata()?;
    let mut encoder = GzEncoder::new(File::create(to)?, Compression::default());
    io::copy(&mut plain, &mut encoder)?;
    let file = encoder.finish()?;
    file.set_permissions(metadata.permissions())?;
    file.set_modified(metadata.modified()?)?;
    // The other one goes only when this one is on the disk.
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rotated files have, by the ends of their names.
    fn ends(path: &Path) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().strip_prefix("0.log").map(str::to_owned);
        let entries = fs::read_dir(path.parent().expect("a directory")).expect("read").flatten();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// Which files there are after so many were kept, where those with the given ends were there; all can be read as they
    /// were.
    #[track_caller]
    fn check(before: &[&str], keep: usize, expected: &[&str]) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        for end in before {
            let file = dir.path().join(format!("0.log{end}"));
            fs::write(&file, end.get(..2).unwrap_or("newest")).expect("written");
            if end.ends_with(".gz") {
                fs::rename(&file, file.with_extension("")).expect("renamed");
                compress(&file.with_extension("")).expect("compressed");
            }
        }
        settle(&path, keep).expect("settled");
        assert_eq!(ends(&path), expected, "{before:?}");
        for one in all(&path).expect("listed") {
            let mut text = String::new();
            one.open().and_then(|mut content| content.read_to_string(&mut text)).expect("read");
            assert_eq!(text, format!(".{}", one.stamp));
        }
        settle(&path, keep).expect("settled");
        assert_eq!(ends(&path), expected, "again");
    }

    #[test]
    fn the_newest_stays_as_it_is_and_older_ones_are_compressed() {
        check(&[""], 4, &[""]);
        check(&["", ".1"], 4, &["", ".1"]);
        check(&["", ".1", ".2", ".3"], 4, &["", ".1.gz", ".2.gz", ".3"]);
        check(&["", ".1.gz", ".2", ".3"], 4, &["", ".1.gz", ".2.gz", ".3"]);
        check(&["", ".1.gz", ".2.gz", ".3.gz", ".4", ".5"], 4, &["", ".2.gz", ".3.gz", ".4.gz", ".5"]);
        check(&["", ".1", ".2"], 1, &["", ".2"]);
        check(&["", ".1", ".2"], 0, &[""]);
    }

    #[test]
    fn what_was_broken_off_is_done_again() {
        check(&["", ".1", ".1.tmp", ".2"], 4, &["", ".1.gz", ".2"]);
        check(&["", ".1.tmp"], 4, &[""]);
        // Killed after the compressed file had its name, before the other one was removed.
        check(&["", ".1.gz", ".1", ".2"], 4, &["", ".1.gz", ".2"]);
        check(&["", ".1", ".2.gz", ".2"], 4, &["", ".1.gz", ".2.gz"]);
    }

    #[test]
    fn a_compressed_file_is_told_from_others_by_when_it_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let [first, second] = [("1", 1), ("2", 2)].map(|(stamp, nanos)| {
            fs::write(name(&path, stamp), stamp).expect("written");
            let file = File::options().write(true).open(name(&path, stamp)).expect("opened");
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos)).expect("set");
            file
        });
        let is_of = |file: &File| all(&path).expect("listed").iter().map(|one| one.is_of(file)).collect::<Vec<_>>();
        assert_eq!((is_of(&first), is_of(&second)), (vec![true, false], vec![false, true]));
        compress(&name(&path, "1")).expect("compressed");
        assert_eq!((is_of(&first), is_of(&second)), (vec![true, false], vec![false, true]));
    }

    #[test]
    fn a_full_disk_keeps_the_log_and_nothing_besides() {
        let dir = tempfile::tempdir().expect("a directory");
        let flags = nix::mount::MsFlags::empty();
        if nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some("size=1m")).is_err() {
            return eprintln!("skipped: this user may not mount");
        }
        let path = dir.path().join("0.log");
        // Bytes that do not get fewer, and more than there is room for twice.
        let mixed = |at: u64| {
            let one = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let two = (one ^ (one >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (two ^ (two >> 27)).to_le_bytes()[3]
        };
        let noise: Vec<u8> = (0..700_000).map(mixed).collect();
        for stamp in ["1", "2"] {
            fs::write(name(&path, stamp), if stamp == "1" { &noise[..] } else { b"x" }).expect("written");
        }
        let settled = settle(&path, 4);
        let left = ends(&path);
        nix::mount::umount(dir.path()).expect("unmounted");
        assert_eq!(settled.expect_err("there is no room").kind(), io::ErrorKind::StorageFull);
        assert_eq!(left, [".1", ".2"]);
    }
}
