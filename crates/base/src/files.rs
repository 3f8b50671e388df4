//! Following a file that others replace, or a directory of such files.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;

use crate::sys::watch_descriptor;

/// What may change what a file says: its directory is watched, because files are replaced by renaming others, and
/// mounted secrets by turning a link.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);

/// The name of the link that the kubelet turns when it changes a mounted secret or config map.
const MOUNTED: &[u8] = b"..data";

/// Tells when a file, or any file of a directory, may say something else.
#[derive(Debug)]
pub struct FileWatch {
    fd: AsyncFd<OwnedFd>,
    /// The file; without one, every file of the directory.
    name: Option<OsString>,
}

impl FileWatch {
    /// Follows a file, which need not exist; its directory must.
    ///
    /// Must be called inside a tokio runtime.
    pub fn new(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::start(directory, Some(path.file_name().unwrap_or_default().to_owned()))
    }

    /// Follows all files directly in a directory, which must exist.
    ///
    /// Must be called inside a tokio runtime.
    pub fn directory(path: &Path) -> io::Result<Self> {
        Self::start(path, None)
    }

    fn start(directory: &Path, name: Option<OsString>) -> io::Result<Self> {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&fd, directory, CHANGES)?;
        Ok(Self { fd: watch_descriptor(fd)?, name })
    }

    /// Waits until a file that is followed may say something else than at the last call. Cancel safe.
    ///
    /// Fails with [`io::ErrorKind::NotFound`] when the directory is no longer there.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let name = self.name.as_deref().map(OsStrExt::as_bytes);
            // An error here says that nothing of the file was there.
            if let Ok(read) = ready.try_io(|fd| drain_events(fd.get_ref(), name)) {
                return read;
            }
        }
    }
}

/// Reads all events that are there; `WouldBlock` if none of them is of what is followed.
fn drain_events(fd: &OwnedFd, name: Option<&[u8]>) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(fd, &mut buffer);
    let mut is_its = false;
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::IGNORED) => return Err(io::ErrorKind::NotFound.into()),
            Ok(event) => {
                // An event without a name says that some were lost.
                let is_followed = |file: &[u8]| name.is_none_or(|name| [name, MOUNTED].contains(&file));
                is_its |= event.file_name().is_none_or(|file| is_followed(file.to_bytes()));
            }
            Err(rustix::io::Errno::WOULDBLOCK) if is_its => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn change(dir: &Path, change: impl FnOnce(&Path) -> io::Result<()>) {
        change(dir).expect("the directory can be changed");
    }

    #[tokio::test]
    async fn writes_and_replacements_are_seen_and_other_files_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut watch = FileWatch::new(&dir.path().join("file")).expect("it can be watched");
        let deadline = Duration::from_secs(30);
        for number in 0..3 {
            change(dir.path(), |dir| std::fs::write(dir.join("other"), "x"));
            match number {
                0 => change(dir.path(), |dir| std::fs::write(dir.join("file"), "one")),
                1 => {
                    change(dir.path(), |dir| std::fs::write(dir.join("new"), "two"));
                    change(dir.path(), |dir| std::fs::rename(dir.join("new"), dir.join("file")));
                }
                _ => change(dir.path(), |dir| std::os::unix::fs::symlink("x", dir.join("..data"))),
            }
            tokio::time::timeout(deadline, watch.changed()).await.expect("it is seen").expect("it can be read");
        }
        change(dir.path(), |dir| std::fs::write(dir.join("other"), "y"));
        assert!(drain_events(watch.fd.get_ref(), Some(b"file")).is_err(), "nothing of the file is left");
    }

    #[tokio::test]
    async fn all_files_of_a_directory_are_seen_until_it_goes() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("d");
        std::fs::create_dir(&dir).expect("made");
        let mut watch = FileWatch::directory(&dir).expect("it can be watched");
        let deadline = Duration::from_secs(30);
        for number in 0..3 {
            match number {
                0 => change(&dir, |dir| std::fs::write(dir.join("a"), "x")),
                1 => change(&dir, |dir| std::fs::rename(dir.join("a"), dir.with_file_name("b"))),
                _ => change(&dir, |dir| std::fs::write(dir.join("c"), "y")),
            }
            tokio::time::timeout(deadline, watch.changed()).await.expect("it is seen").expect("it can be read");
        }
        std::fs::remove_dir_all(&dir).expect("removed");
        let mut end = Ok(());
        while end.is_ok() {
            end = tokio::time::timeout(deadline, watch.changed()).await.expect("its end is seen");
        }
        assert_eq!(end.map_err(|err| err.kind()), Err(io::ErrorKind::NotFound));
    }
}
