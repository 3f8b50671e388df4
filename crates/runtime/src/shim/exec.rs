//! Further processes in the container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use base::Env;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::executor::ProgramExecutor;
use super::init::{InitError, OomScore, explain, pipe, read_report, system};
use super::protocol::{ExecRequest, Started, receive_some};
use crate::disk;
use crate::seccomp::Filter;

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

/// Runs a process in container `id`: what started, and its terminal if it has one.
pub(super) fn exec(
    bundle: &Path,
    id: &str,
    request: &ExecRequest,
    stdio: Vec<OwnedFd>,
    filter: Option<&Filter>,
    env: &Env,
) -> Result<(Started, Option<OwnedFd>), InitError> {
    let process_file = bundle.join("process.json");
    disk::write_json(&process_file, &request.process)?;
    let mut warnings = Vec::new();
    let oom = OomScore::apply(request.oom_score_adj, &mut warnings);
    let result = build(bundle, id, request, stdio, filter, &process_file);
    oom.restore();
    disk::remove_file(&process_file)?;
    let (pid, terminal) = result?;
    Ok((Started { pid, started_at: env.now(), warnings }, terminal))
}

fn build(
    bundle: &Path,
    id: &str,
    request: &ExecRequest,
    stdio: Vec<OwnedFd>,
    filter: Option<&Filter>,
    process_file: &Path,
) -> Result<(i32, Option<OwnedFd>), InitError> {
    let (report, report_end) = pipe()?;
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(bundle.join("state"))
        .map_err(|err| InitError::Start(explain(&err)))?
        .with_executor(ProgramExecutor::new(report_end, filter.cloned()));
    let mut console = None;
    if request.process.terminal().unwrap_or(false) {
        let listening = Console::listen(bundle)?;
        builder = builder.with_console_socket(Some(listening.path()));
        console = Some(listening);
    } else {
        let mut stdio = stdio.into_iter();
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdio.next(), stdio.next(), stdio.next()) else {
            return Err(InitError::Start("three descriptors are needed".to_owned()));
        };
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    }
    let pid = builder
        .as_tenant()
        .with_process(Some(process_file))
        .with_detach(true)
        .build()
        .map_err(|err| InitError::Start(explain(&err)))?;
    if let Some(problem) = read_report(report)? {
        return Err(InitError::Start(problem));
    }
    let terminal = console.map(Console::accept).transpose()?;
    Ok((pid.as_raw(), terminal))
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
