//! Network namespaces kept alive by a bind mount on a path.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A namespace that could not be made, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// A file operation failed.
    #[error("{operation} {}: {error}", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The namespace's path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// The thread that enters namespaces could not be started.
    #[error("start a thread for network namespace {}: {error}", path.display())]
    Thread {
        /// The namespace's path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

/// Where the namespaces of an instance's pods are kept; [`cleanup`](crate::cleanup) removes all that is there.
pub fn directory(instance: &base::Instance) -> PathBuf {
    instance.run_dir().join("netns")
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetnsError {
    move |error| NetnsError::File { operation, path: path.to_owned(), error }
}

/// Makes a namespace and binds it to `path`, whose parent directories are made too. Blocking.
pub fn create(path: &Path) -> Result<(), NetnsError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(file_error("create directory of", path))?;
    }
    File::create_new(path).map_err(file_error("create", path))?;
    let bound = on_own_thread(path, || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from).map_err(file_error("unshare", path))?;
        let none: Option<&str> = None;
        mount(Some("/proc/thread-self/ns/net"), path, none, MsFlags::MS_BIND, none)
            .map_err(io::Error::from)
            .map_err(file_error("bind", path))
    });
    if bound.is_err() {
        // The error of the bind is what matters; the empty file is only tidied up.
        let _ = fs::remove_file(path);
    }
    bound
}

/// Unbinds a namespace and removes its path; a path that is gone is no error. The kernel destroys the namespace, and with
/// it every link inside, when its last process has ended. Blocking.
pub fn remove(path: &Path) -> Result<(), NetnsError> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: not a mount point, as after a crash between the two steps of `create`.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(file_error("unmount", path)(errno.into())),
    }
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path)(err)),
        _ => Ok(()),
    }
}

/// Runs `work` inside the namespace at `path`, on a thread of its own that ends with it. Blocking.
pub fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    let namespace = File::open(path).map_err(file_error("open", path))?;
    on_own_thread(path, move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).map_err(file_error("enter", path))?;
        Ok(work())
    })
}

/// A thread that has changed its namespace must never serve anything else, so it is not one of a pool's.
fn on_own_thread<T: Send>(path: &Path, work: impl FnOnce() -> Result<T, NetnsError> + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let spawned = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work);
        let handle = spawned.map_err(|error| NetnsError::Thread { path: path.to_owned(), error })?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
