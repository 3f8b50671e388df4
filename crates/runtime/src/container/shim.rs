//! The runtime's side of the conversation with a shim.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

use super::Container;
use crate::disk::{self, DiskError};
use crate::shim::protocol::{self, Exit, Request, Response, Streams, decode};

/// How long a shim may take to answer; it does everything at once, so this is for a machine in trouble.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// How much longer than it may take a start is waited for: a shim gives it up by itself, and is believed.
const GRACE: Duration = Duration::from_secs(20);

/// Why a shim did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// The conversation failed.
    #[error("cannot talk to the shim of container {container}: {source}")]
    Talk {
        /// The container.
        container: String,
        /// What the system said.
        source: io::Error,
    },
    /// It says that it was not possible.
    #[error("{0}")]
    Refused(String),
    /// It answered another question.
    #[error("unexpected answer of the shim of container {container}: {response:?}")]
    Unexpected {
        /// The container.
        container: String,
        /// The answer.
        response: Box<Response>,
    },
}

impl ShimError {
    fn talk(container: &Container) -> impl FnOnce(io::Error) -> Self {
        let container = container.id().to_string();
        move |source| Self::Talk { container, source }
    }

    pub(super) fn unexpected(container: &Container, response: Response) -> Self {
        match response {
            Response::Failed(reason) => Self::Refused(reason),
            response => Self::Unexpected { container: container.id().to_string(), response: Box::new(response) },
        }
    }
}

/// The socket's path through a descriptor of its directory: real paths may be longer than the kernel takes.
fn short_socket_path(bundle: &Path) -> io::Result<(File, PathBuf)> {
    let socket = protocol::socket_file(bundle);
    let dir = File::open(bundle)?;
    let path =
        Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(socket.file_name().unwrap_or_default());
    Ok((dir, path))
}

/// Binds the socket of a shim that is about to be started.
pub(super) fn listen(bundle: &Path) -> io::Result<UnixListener> {
    let (_dir, path) = short_socket_path(bundle)?;
    match std::fs::remove_file(&path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Whether a shim was started here that has not come to its end by itself.
pub(super) fn is_left(bundle: &Path) -> bool {
    protocol::socket_file(bundle).exists()
}

/// Connects to the shim of a bundle; an error if there is none.
pub(super) fn connect(bundle: &Path) -> io::Result<UnixStream> {
    let (_dir, path) = short_socket_path(bundle)?;
    UnixStream::connect(path)
}

/// Forgets the shim that was started here and is gone.
pub(super) fn forget(bundle: &Path) -> Result<(), DiskError> {
    disk::remove_file(&protocol::socket_file(bundle))
}

/// Starts a shim and waits for its answer; it gives the start up after `limit`.
pub(super) async fn launch(program: &Path, bundle: &Path, limit: Duration) -> io::Result<(Child, Response)> {
    let listener = listen(bundle)?;
    let errors = OpenOptions::new().create(true).append(true).open(bundle.join("shim.log"))?;
    let mut command = tokio::process::Command::new(program);
    command
        .arg0("skiff")
        .args(["shim", "run"])
        .arg(bundle)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::piped())
        .stderr(Stdio::from(errors));
    // What runs in the container has the limit from here.
    base::restore_open_files(command.as_std_mut());
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut buffer = Vec::new();
    let answer = async {
        loop {
            if let Some(response) = decode::<Response>(&mut buffer)? {
                return Ok(response);
            }
            if stdout.read_buf(&mut buffer).await? == 0 {
                if child.wait().await?.signal() == Some(Signal::SIGALRM as i32) {
                    let message = format!("it was not started within {limit:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                let log = tokio::fs::read_to_string(bundle.join("shim.log")).await.unwrap_or_default();
                return Err(io::Error::other(format!("the shim ended without an answer: {}", log.trim())));
            }
        }
    };
    let answer = tokio::time::timeout(limit + GRACE, answer).await;
    match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(response) => Ok((child, response)),
        Err(err) => {
            // It may be gone already; either way it is reaped here.
            let _ = child.kill().await;
            Err(err)
        }
    }
}

/// A conversation after its first answer.
pub(crate) struct Conversation {
    pub(super) response: Response,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) socket: UnixStream,
}

/// Asks the container's shim.
pub(super) async fn ask(container: &Container, request: Request, fds: Vec<OwnedFd>) -> Result<Conversation, ShimError> {
    ask_within(ANSWER_TIME, container, request, fds).await
}

/// Waits for the end of a start that is under way: whether the container runs. The shim gives it up after `limit`.
pub(super) async fn comes_to_run(container: &Container, limit: Duration) -> bool {
    // Any question will do: the shim takes none before the container runs, and hangs up when it fails.
    ask_within(limit + GRACE, container, Request::ReopenLog, Vec::new()).await.is_ok()
}

async fn ask_within(
    time: Duration,
    container: &Container,
    request: Request,
    fds: Vec<OwnedFd>,
) -> Result<Conversation, ShimError> {
    let bundle = container.paths().bundle().to_owned();
    let work = move || -> io::Result<Conversation> {
        let socket = connect(&bundle)?;
        socket.set_read_timeout(Some(time))?;
        socket.set_write_timeout(Some(time))?;
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        protocol::send(&socket, &request, &borrowed)?;
        let (response, fds) = protocol::receive(&socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Conversation { response, fds, socket })
    };
    let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|err| Err(io::Error::other(err)));
    result.map_err(ShimError::talk(container))
}

/// Sends a signal to the container's first process.
pub(super) async fn signal(container: &Container, signal: i32) -> Result<(), ShimError> {
    match ask(container, Request::Signal(signal), Vec::new()).await?.response {
        Response::Done => Ok(()),
        response => Err(ShimError::unexpected(container, response)),
    }
}

/// Lets the shim open its log file anew.
pub(crate) async fn reopen_log(container: &Container) -> Result<(), ShimError> {
    match ask(container, Request::ReopenLog, Vec::new()).await?.response {
        Response::Done => Ok(()),
        response => Err(ShimError::unexpected(container, response)),
    }
}

/// What comes out of an attachment.
pub(crate) struct Attached {
    /// The container's standard input, if asked for and there is one. A terminal if the container has one.
    pub stdin: Option<OwnedFd>,
    /// Held while attached.
    _conversation: UnixStream,
}

/// Lets the shim copy the container's output to `stdout` and `stderr`.
pub(crate) async fn attach(
    container: &Container,
    stdin: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
) -> Result<Attached, ShimError> {
    let streams = Streams { stdin, stdout: stdout.is_some(), stderr: stderr.is_some() };
    let fds = stdout.into_iter().chain(stderr).collect();
    let Conversation { response, mut fds, socket } = ask(container, Request::Attach(streams), fds).await?;
    match response {
        Response::Attached => Ok(Attached { stdin: fds.pop(), _conversation: socket }),
        response => Err(ShimError::unexpected(container, response)),
    }
}

/// Reads messages after the first, without descriptors.
pub(super) struct Later {
    socket: tokio::net::UnixStream,
    buffer: Vec<u8>,
}

impl Later {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: tokio::net::UnixStream::from_std(socket)?, buffer: Vec::new() })
    }

    /// Waits for the end; `None` if the shim is gone before it said anything. Cancel safe.
    pub(super) async fn exit(&mut self) -> Option<Exit> {
        loop {
            match decode::<Response>(&mut self.buffer) {
                Ok(Some(Response::Exited(exit))) => return Some(exit),
                Ok(Some(_)) => {}
                Ok(None) => match self.socket.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                },
                Err(_) => return None,
            }
        }
    }

    /// Sends a signal to the process of this conversation; the answer is passed over by [`Later::exit`].
    pub(super) async fn signal(&mut self, signal: i32) -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        self.socket.write_all(&protocol::encode(&Request::Signal(signal))?).await
    }
}
