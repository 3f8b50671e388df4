//! Further processes in the container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use base::Env;

use super::contained::{Contained, ProcessStdio};
use super::init::{InitError, OomScore, system};
use super::protocol::{ExecRequest, ShimConfig, Started, receive_some};
use crate::disk;

/// The socket on which libcontainer hands over a new terminal.
pub(super) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in `bundle`.
    pub(super) fn listen(bundle: &Path) -> Result<Self, InitError> {
        let path = bundle.join("console.sock");
        disk::remove_file(&path)?;
        // A socket's path may be too long for the kernel; a name in the working directory never is.
        std::env::set_current_dir(bundle).map_err(system("change to the bundle"))?;
        let listener = UnixListener::bind("console.sock").map_err(system("listen for the terminal"));
        std::env::set_current_dir("/").map_err(system("change to /"))?;
        Ok(Self { listener: listener?, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal, which was sent before the builder returned.
    pub(super) fn accept(self) -> Result<OwnedFd, InitError> {
        let (socket, _) = self.listener.accept().map_err(system("accept the terminal"))?;
        let (mut buffer, mut fds) = (Vec::new(), Vec::new());
        receive_some(&socket, &mut buffer, &mut fds).map_err(system("receive the terminal"))?;
        disk::remove_file(&self.path)?;
        fds.pop().ok_or_else(|| system("receive the terminal")(io::Error::from(io::ErrorKind::UnexpectedEof)))
    }
}

/// Runs a process in the container: what started, and its terminal if it has one.
pub(super) fn exec(
    bundle: &Path,
    config: &ShimConfig,
    contained: &Contained,
    request: &ExecRequest,
    stdio: Vec<OwnedFd>,
    env: &Env,
) -> Result<(Started, Option<OwnedFd>), InitError> {
    let (console, stdio) = if request.process.terminal().unwrap_or(false) {
        let console = Console::listen(bundle)?;
        let path = console.path().to_owned();
        (Some(console), ProcessStdio::Console(path))
    } else {
        let stdio = <[OwnedFd; 3]>::try_from(stdio);
        (None, ProcessStdio::Pipes(stdio.map_err(|_| InitError::Start("three descriptors are needed".to_owned()))?))
    };
    let mut warnings = Vec::new();
    let oom = OomScore::apply(request.oom_score_adj, &mut warnings);
    let result = contained.exec(bundle, config, &request.process, stdio);
    oom.restore();
    let pid = result?;
    let terminal = console.map(Console::accept).transpose()?;
    Ok((Started { pid, started_at: env.now(), warnings }, terminal))
}

/// Sends `terminal`, if there is one, with an answer.
pub(super) fn answer(
    socket: &UnixStream,
    response: &super::protocol::Response,
    terminal: Option<&OwnedFd>,
) -> io::Result<()> {
    let fds: Vec<_> = terminal.iter().map(|fd| fd.as_fd()).collect();
    super::protocol::send(socket, response, &fds)
}
