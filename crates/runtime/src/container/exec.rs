//! Running further processes in a container.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

use super::shim::{Conversation, Later, ask};
use super::{Container, ContainerState, ShimError};
use crate::disk::{self, DiskError};
use crate::engine::Engine;
use crate::shim::protocol::{ExecRequest, Exit, Request, Response};

/// The most output that is kept of a synchronous execution, per stream, as other runtimes have it.
const MAX_OUTPUT: u64 = 16 * 1024 * 1024;

/// How long output is read after the process's end, in case it left others behind that hold the pipe.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How long a killed process may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);

/// SIGKILL.
const KILL: i32 = 9;

/// Why a process was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// There is nothing to run.
    #[error("no command given")]
    NoCommand,
    /// The container's specification is gone.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The specification makes no sense any more.
    #[error("the container's specification has no usable process: {0}")]
    Spec(String),
    /// The shim could not do it.
    #[error("failed to exec in container: {0}")]
    Shim(#[from] ShimError),
    /// A pipe failed.
    #[error("cannot exchange data with the process: {0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("command timed out: timeout {0:?} exceeded")]
    Timeout(Duration),
    /// The shim went away with the container.
    #[error("the container ended before the process")]
    ContainerEnded,
}

/// What to run and with which streams.
#[derive(Clone, Debug)]
pub(crate) struct ExecSpec {
    pub cmd: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    /// Whether anybody reads its standard output, and its standard error. Unread, they are `/dev/null`.
    pub output: [bool; 2],
}

/// A process that runs.
pub(crate) struct Exec {
    /// Its standard input, if asked for and it has no terminal.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output, if asked for and it has no terminal.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error, if asked for and it has no terminal.
    pub stderr: Option<pipe::Receiver>,
    /// Its terminal.
    pub terminal: Option<Terminal>,
    later: Later,
}

impl Exec {
    /// Waits for its end. Cancel safe.
    pub(crate) async fn exit(&mut self) -> Result<Exit, ExecError> {
        self.later.exit().await.ok_or(ExecError::ContainerEnded)
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.later.signal(KILL).await
    }
}

/// Starts a process in a running container.
pub(crate) async fn exec(container: &Container, spec: &ExecSpec) -> Result<Exec, ExecError> {
    if !matches!(container.state(), ContainerState::Running(_)) {
        return Err(ExecError::NotRunning(container.id().to_string()));
    }
    if spec.cmd.is_empty() {
        return Err(ExecError::NoCommand);
    }
    let request = Request::Exec(Box::new(request(container, spec)?));
    let (mut stdin, mut stdout, mut stderr) = (None, None, None);
    let mut fds: Vec<OwnedFd> = Vec::new();
    if !spec.tty {
        if spec.stdin {
            let (read, write) = io::pipe()?;
            stdin = Some(pipe::Sender::from_owned_fd(write.into())?);
            fds.push(read.into());
        } else {
            fds.push(std::fs::File::open("/dev/null")?.into());
        }
        for (stream, is_read) in [&mut stdout, &mut stderr].into_iter().zip(spec.output) {
            if is_read {
                let (read, write) = io::pipe()?;
                *stream = Some(pipe::Receiver::from_owned_fd(read.into())?);
                fds.push(write.into());
            } else {
                fds.push(std::fs::File::options().write(true).open("/dev/null")?.into());
            }
        }
    }
    let Conversation { response, mut fds, socket } = ask(container, request, fds).await?;
    if !matches!(response, Response::Started(_)) {
        return Err(ShimError::unexpected(container, response).into());
    }
    let terminal = fds.pop().map(Terminal::new).transpose()?;
    Ok(Exec { stdin, stdout, stderr, terminal, later: Later::new(socket)? })
}

fn request(container: &Container, spec: &ExecSpec) -> Result<ExecRequest, ExecError> {
    let mut document: Value = disk::read_json(&container.paths().spec())?
        .ok_or_else(|| ExecError::Spec("the specification is not there".to_owned()))?;
    let mut process = document["process"].take();
    process["args"] = json!(spec.cmd);
    process["terminal"] = json!(spec.tty);
    let has_term =
        |env: &Vec<Value>| env.iter().any(|entry| entry.as_str().is_some_and(|text| text.starts_with("TERM=")));
    if spec.tty
        && let Some(env) = process["env"].as_array_mut()
        && !has_term(env)
    {
        env.push(json!("TERM=xterm"));
    }
    let process = serde_json::from_value(process).map_err(|err| ExecError::Spec(err.to_string()))?;
    let linux = container.record().config.linux.as_ref();
    let resources = linux.and_then(|linux| linux.resources.as_ref());
    let oom_score_adj = i32::try_from(resources.map_or(0, |resources| resources.oom_score_adj)).ok();
    Ok(ExecRequest { process, oom_score_adj })
}

/// What a process wrote and how it ended.
pub(crate) struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// Runs a process to its end, for at most `timeout`.
pub(crate) async fn exec_sync(
    engine: &Engine,
    container: &Container,
    cmd: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, ExecError> {
    let mut running = exec(container, &ExecSpec { cmd, tty: false, stdin: false, output: [true; 2] }).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = (running.stdout.take(), running.stderr.take());
    let exit_code = {
        let read = async {
            tokio::join!(collect(streams.0, &mut stdout), collect(streams.1, &mut stderr));
        };
        tokio::pin!(read);
        let mut read_all = false;
        let expired = async {
            match timeout {
                Some(timeout) => engine.env.sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(expired);
        let exit = loop {
            tokio::select! {
                exit = running.exit() => break exit?,
                () = &mut read, if !read_all => read_all = true,
                () = &mut expired => {
                    running.kill().await?;
                    // Nobody shall see it any more once this is known to have failed.
                    tokio::select! {
                        _ = running.exit() => {}
                        () = engine.env.sleep(KILL_TIME) => {}
                    }
                    return Err(ExecError::Timeout(timeout.unwrap_or_default()));
                }
            }
        };
        if !read_all {
            tokio::select! {
                () = &mut read => {}
                () = engine.env.sleep(DRAIN_TIME) => {}
            }
        }
        exit.exit_code
    };
    Ok(ExecOutput { stdout, stderr, exit_code })
}

async fn collect(stream: Option<pipe::Receiver>, into: &mut Vec<u8>) {
    if let Some(mut stream) = stream {
        // An error ends the stream like its end does. What is beyond the limit is read and dropped, for a process
        // whose pipe is full would hang.
        let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(into).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

/// The near end of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    /// Takes the descriptor over and makes it non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(base::watch_descriptor(fd)?))
    }

    /// Another handle of the same terminal.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Self::new(self.0.get_ref().try_clone()?)
    }

    /// Tells the processes on the terminal how large it is.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let result = guard.try_io(|fd| {
                let read = rustix::io::read(fd.get_ref(), buffer.initialize_unfilled());
                // A terminal that nobody has open any more says EIO: that is its end.
                match read {
                    Err(rustix::io::Errno::IO) => Ok(0),
                    other => other.map_err(io::Error::from),
                }
            });
            if let Ok(result) = result {
                return Poll::Ready(result.map(|read| buffer.advance(read)));
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            let result = guard.try_io(|fd| rustix::io::write(fd.get_ref(), bytes).map_err(io::Error::from));
            if let Ok(result) = result {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
