//! The file that events are written to: rotated by size, old ones bounded by number and age.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::losses::Losses;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditFormat {
    /// Whole events, each a line of JSON.
    #[default]
    Json,
    /// Upstream's first format: a line of text with the metadata.
    Legacy,
}

impl FromStr for AuditFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "legacy" => Ok(Self::Legacy),
            _ => Err("use json or legacy".to_owned()),
        }
    }
}

/// Where events are written.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// `--audit-log-path`: a file, or `-` for standard output.
    pub path: PathBuf,
    /// `--audit-log-maxsize`: the bytes after which a file is rotated.
    pub max_size: u64,
    /// `--audit-log-maxbackup`: how many old files are kept; 0 keeps all.
    pub max_backups: usize,
    /// `--audit-log-maxage`: how long they are kept; zero keeps them for ever.
    pub max_age: Duration,
    /// `--audit-log-compress`: whether old files are compressed.
    pub compress: bool,
    /// `--audit-log-format`.
    pub format: AuditFormat,
}

/// How many lines are written at a time.
const BATCH: usize = 512;

/// Writes lines until `drain`, and then what is left of them.
pub(super) async fn run(
    log: AuditLog,
    mut receiver: mpsc::Receiver<Bytes>,
    losses: Arc<Losses>,
    env: Env,
    drain: Drain,
) {
    const SINCE: &str = "more were lost since the last message";
    let mut file = Rotating::new(log);
    loop {
        let mut lines = Vec::new();
        let next = tokio::time::timeout(losses.patience(), receiver.recv_many(&mut lines, BATCH));
        match drain.until(next).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                losses.tell(SINCE);
                continue;
            }
            None => {
                receiver.close();
                while receiver.recv_many(&mut lines, BATCH).await > 0 {}
            }
        }
        if lines.is_empty() {
            return losses.tell(SINCE);
        }
        let now = env.now();
        let written = tokio::task::spawn_blocking(move || {
            let failures: Vec<io::Error> = lines.iter().filter_map(|line| file.write(line, now).err()).collect();
            (file, failures)
        });
        match written.await {
            Ok((back, failures)) => {
                file = back;
                if let Some(err) = failures.last() {
                    losses.add(failures.len() as u64, &format!("{}: {err}", file.log.path.display()), &env);
                }
            }
            Err(err) => {
                tracing::error!(%err, "the audit log cannot be written any more");
                return;
            }
        }
    }
}

struct Rotating {
    log: AuditLog,
    /// The open file and its size; opened again after a failure.
    open: Option<(File, u64)>,
}

impl Rotating {
    fn new(log: AuditLog) -> Self {
        Self { log, open: None }
    }

    fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        if self.log.path == Path::new("-") {
            return io::stdout().lock().write_all(line);
        }
        let length = line.len() as u64;
        if self.open.as_ref().is_some_and(|(_, size)| *size > 0 && size + length > self.log.max_size) {
            self.open = None;
            self.rotate(now)?;
        }
        let (file, size) = match self.open.take() {
            Some(open) => open,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log.path)?;
                let size = file.metadata()?.len();
                (file, size)
            }
        };
        (&file).write_all(line)?;
        self.open = Some((file, size + length));
        Ok(())
    }

    /// Gives the file another name, and bounds the files that have one.
    fn rotate(&self, now: Timestamp) -> io::Result<()> {
        let (stem, end) = self.name_parts();
        // Several in one millisecond have a name each.
        let names = (0..).map(|later| {
            let at = now.saturating_add(jiff::SignedDuration::from_millis(later)).unwrap_or(now);
            self.log.path.with_file_name(format!("{stem}{}{end}", at.strftime("%Y-%m-%dT%H-%M-%S.%3f")))
        });
        let free = |name: &PathBuf| !name.exists() && !compressed(name).exists();
        if let Some(name) = names.take(1000).find(free) {
            std::fs::rename(&self.log.path, name)?;
        }
        // What cannot be cleaned up now is, next time.
        if let Err(err) = self.clean(now) {
            tracing::warn!(%err, "old audit logs could not be cleaned up");
        }
        Ok(())
    }

    /// What comes before and after the time in the names of old files.
    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let stem = text(self.log.path.file_stem()).unwrap_or_default();
        let end = text(self.log.path.extension()).map_or_else(String::new, |end| format!(".{end}"));
        (format!("{stem}-"), end)
    }

    fn clean(&self, now: Timestamp) -> io::Result<()> {
        let (stem, end) = self.name_parts();
        let dir = self.log.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut old = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = name.strip_suffix(".gz").unwrap_or(&name).strip_prefix(&stem);
            let time = time.and_then(|time| time.strip_suffix(&end)).and_then(parse_time);
            old.extend(time.map(|time| (time, entry.path())));
        }
        old.sort();
        old.reverse();
        for (index, (time, path)) in old.iter().enumerate() {
            let age = Duration::try_from(now.duration_since(*time)).unwrap_or_default();
            let is_one_too_many = self.log.max_backups > 0 && index >= self.log.max_backups;
            if is_one_too_many || (!self.log.max_age.is_zero() && age > self.log.max_age) {
                std::fs::remove_file(path)?;
            } else if self.log.compress && path.extension().is_none_or(|end| end != "gz") {
                compress(path)?;
            }
        }
        Ok(())
    }
}

/// Reads the time in the name of an old file.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y-%m-%dT%H-%M-%S%.3f", text).ok()?;
    time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
}

fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let target = compressed(path);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&target)?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path, compress: bool) -> AuditLog {
        AuditLog {
            path: dir.join("audit.log"),
            max_size: 100,
            max_backups: 2,
            max_age: Duration::from_secs(3600),
            compress,
            format: AuditFormat::Json,
        }
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[test]
    fn files_are_rotated_and_old_ones_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = Rotating::new(log(dir.path(), false));
        for second in 0..12 {
            file.write(&[b'x'; 40], at(second)).expect("written");
        }
        // Two lines a file; of five old files two are left.
        let names = ["audit-2027-01-15T08-00-08.000.log", "audit-2027-01-15T08-00-10.000.log", "audit.log"];
        assert_eq!(files(dir.path()), names);
        let sizes: Vec<u64> =
            names.iter().map(|n| std::fs::metadata(dir.path().join(n)).expect("a file").len()).collect();
        assert_eq!(sizes, [80, 80, 80]);
        // Those that are too old go.
        file.write(&[b'x'; 40], at(10_000)).expect("written");
        assert_eq!(files(dir.path()), ["audit-2027-01-15T10-46-40.000.log", "audit.log"]);
    }

    #[test]
    fn old_files_are_compressed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = Rotating::new(log(dir.path(), true));
        for second in 0..3 {
            file.write(&[b'x'; 60], at(second)).expect("written");
        }
        let names = ["audit-2027-01-15T08-00-01.000.log.gz", "audit-2027-01-15T08-00-02.000.log.gz", "audit.log"];
        assert_eq!(files(dir.path()), names);
        let mut text = Vec::new();
        let compressed = File::open(dir.path().join(names[0])).expect("a file");
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(compressed), &mut text).expect("compressed");
        assert_eq!(text, [b'x'; 60]);
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_with_the_next_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = dir.path().join("later");
        let mut file = Rotating::new(log(&missing, false));
        assert!(file.write(b"one\n", at(0)).is_err());
        std::fs::create_dir(&missing).expect("a directory");
        file.write(b"two\n", at(1)).expect("written");
        assert_eq!(std::fs::read(missing.join("audit.log")).expect("a file"), b"two\n");
    }

    #[tokio::test]
    async fn a_full_disk_loses_events_and_nothing_else() {
        let (sender, receiver) = mpsc::channel(4);
        let (trigger, drain) = base::drain();
        let mut full = log(Path::new("/"), false);
        full.path = "/dev/full".into();
        let losses = Arc::<Losses>::default();
        let writer = tokio::spawn(run(full, receiver, losses.clone(), Env::system(), drain));
        for _ in 0..20 {
            sender.send(Bytes::from_static(b"line\n")).await.expect("the writer goes on");
        }
        trigger.drain();
        writer.await.expect("it ends well");
        assert_eq!(losses.counts(), (20, 20), "each is counted, and the operator knows");
    }
}
