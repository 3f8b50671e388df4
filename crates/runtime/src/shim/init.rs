//! The start: leave the runtime's surroundings, create the container, start it, answer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::Env;
use libcontainer::error::LibcontainerError;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::alarm;

use super::contained::{Contained, ProcessStdio};
use super::exec::Console;
use super::log::{Log, Stream};
use super::main_loop::{MainLoop, Output};
use super::protocol::{Response, ShimConfig, Started, encode, started_file};
use crate::cgroup::{Cgroup, DeviceFilterError};
use crate::disk::{self, DiskError};
use base::error_chain;

/// Why a container could not be created or started.
#[derive(Debug, thiserror::Error)]
pub(super) enum InitError {
    #[error("no configuration in {}", .0.display())]
    NoConfig(PathBuf),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
    #[error("cannot limit the container's devices: {0}")]
    Devices(#[from] DeviceFilterError),
    #[error("cannot open log file {}: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot create container: {0}")]
    Create(String),
    #[error("cannot start container: {0}")]
    Start(String),
    #[error("cannot run {}: {source}", program.display())]
    Program { program: PathBuf, source: io::Error },
}

/// For `map_err`: the error of `action`.
pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> InitError {
    move |err| InitError::System { action, source: err.into() }
}

/// Runs the container of `bundle` from its start to its end.
pub(super) fn run(bundle: &Path) -> ExitCode {
    let env = Env::system();
    keep_log();
    if let Err(err) = base::raise_open_files() {
        eprintln!("cannot raise the limit of open files: {err}");
    }
    let (listener, answer) = match take_stdio() {
        Ok(taken) => taken,
        Err(err) => {
            eprintln!("{err}");
            return ExitCode::FAILURE;
        }
    };
    match start(bundle, listener, &env) {
        Ok((main_loop, started)) => {
            reply(answer, &Response::Started(started));
            match main_loop.run(&env) {
                Ok(()) => ExitCode::SUCCESS,
                Err(err) => {
                    eprintln!("{err}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(err) => {
            reply(answer, &Response::Failed(err.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Sends what libcontainer logs to the shim's log, which is standard error now; it says there what it leaves out of its
/// errors. A descriptor of its own, for in the container's first process standard error is the container's.
fn keep_log() {
    if let Ok(log) = io::stderr().as_fd().try_clone_to_owned() {
        let writer = std::sync::Mutex::new(File::from(log));
        tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_ansi(false).with_writer(writer).init();
    }
}

fn reply(mut answer: File, response: &Response) {
    // The runtime may have died in the meantime; the container runs all the same.
    let _ = encode(response).and_then(|frame| answer.write_all(&frame));
}

/// Takes the socket and the answer's pipe from the standard descriptors, which are `/dev/null` afterwards.
fn take_stdio() -> Result<(UnixListener, File), InitError> {
    let listener = io::stdin().as_fd().try_clone_to_owned().map_err(system("take the socket"))?;
    let answer = io::stdout().as_fd().try_clone_to_owned().map_err(system("take the answer's pipe"))?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(system("open /dev/null"))?;
    nix::unistd::dup2_stdin(&null).map_err(system("replace standard input"))?;
    nix::unistd::dup2_stdout(&null).map_err(system("replace standard output"))?;
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true).map_err(system("make the socket non-blocking"))?;
    Ok((listener, File::from(answer)))
}

fn start(bundle: &Path, listener: UnixListener, env: &Env) -> Result<(MainLoop, Started), InitError> {
    let config: ShimConfig =
        disk::read_json(&ShimConfig::file(bundle))?.ok_or_else(|| InitError::NoConfig(bundle.to_owned()))?;
    leave(&config)?;
    // libcontainer waits for processes of its own, for ever where somebody (the kernel, for want of memory) kills the
    // wrong one of them. The alarm's signal ends this process; what is left then is removed by the runtime.
    alarm::set(config.start_timeout);
    let log = config.log_path.as_deref().map(open_log).transpose()?;
    let mut warnings = Vec::new();
    let Created { signals, mut contained, pid, io } = {
        let oom = OomScore::apply(config.oom_score_adj, &mut warnings);
        let created = create(bundle, &config);
        oom.restore();
        created?
    };
    let started = Started { pid, started_at: env.now(), warnings };
    // Written before the start: a container that runs is never taken for one that was not started.
    disk::write_json(&started_file(&config.state_dir), &started)?;
    let running = contained.limit_devices(bundle, &config).and_then(|()| contained.start());
    if let Err(err) = running {
        contained.delete();
        let _ = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        disk::remove_file(&started_file(&config.state_dir))?;
        return Err(err);
    }
    alarm::cancel();
    let main_loop = MainLoop::new(bundle.to_owned(), config, contained, pid, io, log, listener, signals);
    Ok((main_loop, started))
}

/// Sets this process apart from the runtime that started it.
fn leave(config: &ShimConfig) -> Result<(), InitError> {
    // Names are for people who look at the process list; without it they see the program's.
    let _ = rustix::thread::set_name(c"skiff-shim");
    rustix::process::setsid().map_err(system("start a session"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(system("become a subreaper"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir("/").map_err(system("change to /"))?;
    Cgroup::new(&config.shim_cgroup).join().map_err(system("join the shims' cgroup"))
}

fn open_log(path: &Path) -> Result<Log, InitError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| InitError::Log { path: path.to_owned(), source })?;
    }
    Log::open(path).map_err(|source| InitError::Log { path: path.to_owned(), source })
}

/// The ends of the container's stdio that stay here.
pub(super) struct ContainerIo {
    /// What it writes.
    pub outputs: Vec<Output>,
    /// What it reads, if it reads at all.
    pub stdin: Option<OwnedFd>,
}

struct Created {
    signals: SignalFd,
    contained: Contained,
    pid: i32,
    io: ContainerIo,
}

fn create(bundle: &Path, config: &ShimConfig) -> Result<Created, InitError> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(system("block SIGCHLD"))?;
    let signals =
        SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(system("watch SIGCHLD"))?;
    if config.tty {
        let console = Console::listen(bundle)?;
        let stdio = ProcessStdio::Console(console.path().to_owned());
        let (contained, pid) = Contained::create(bundle, config, stdio)?;
        let terminal = console.accept()?;
        let stdin = terminal.try_clone().map_err(system("duplicate the terminal"))?;
        let outputs = vec![Output { fd: terminal, stream: Stream::Stdout }];
        return Ok(Created { signals, contained, pid, io: ContainerIo { outputs, stdin: Some(stdin) } });
    }
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let (stdin_end, stdin) = if config.stdin {
        let (read, write) = pipe()?;
        (read, Some(write))
    } else {
        (File::open("/dev/null").map_err(system("open /dev/null"))?.into(), None)
    };
    let stdio = ProcessStdio::Pipes([stdin_end, stdout_end, stderr_end]);
    let (contained, pid) = Contained::create(bundle, config, stdio)?;
    let outputs = vec![Output { fd: stdout, stream: Stream::Stdout }, Output { fd: stderr, stream: Stream::Stderr }];
    Ok(Created { signals, contained, pid, io: ContainerIo { outputs, stdin } })
}

/// Waits until the other end is closed, by an exec that worked or after saying why it did not.
pub(super) fn read_report(report: OwnedFd) -> Result<Option<String>, InitError> {
    let mut problem = String::new();
    File::from(report).read_to_string(&mut problem).map_err(system("read the start's result"))?;
    Ok((!problem.is_empty()).then_some(problem))
}

/// A pipe that is closed on exec: the reading and the writing end.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), InitError> {
    let (read, write) = io::pipe().map_err(system("make a pipe"))?;
    Ok((read.into(), write.into()))
}

/// What users need of libcontainer's error: it puts its own steps in front of what the executor says.
pub(super) fn explain(err: &LibcontainerError) -> String {
    let text = error_chain(err);
    match text.rsplit_once("error in executing process : ") {
        Some((_, cause)) => cause.to_owned(),
        None => text,
    }
}

/// The `oom_score_adj` of this process for the time in which a child inherits it.
pub(super) struct OomScore {
    before: Option<String>,
}

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

impl OomScore {
    /// Sets the value. Where the system refuses (no CAP_SYS_RESOURCE), a warning says so and the value stays.
    pub(super) fn apply(wanted: Option<i32>, warnings: &mut Vec<String>) -> Self {
        let Some(wanted) = wanted else { return Self { before: None } };
        let before = fs::read_to_string(OOM_SCORE_ADJ).ok().map(|text| text.trim().to_owned());
        if before.as_deref() == Some(wanted.to_string().as_str()) {
            return Self { before: None };
        }
        match fs::write(OOM_SCORE_ADJ, wanted.to_string()) {
            Ok(()) => Self { before },
            Err(err) => {
                warnings.push(format!("cannot set oom_score_adj to {wanted}: {err}"));
                Self { before: None }
            }
        }
    }

    /// Sets the value of before.
    pub(super) fn restore(self) {
        // The value of before was allowed, so this is refused only if someone else changed the rules meanwhile; the
        // shim lives with either value.
        let _ = self.before.map(|before| fs::write(OOM_SCORE_ADJ, before));
    }
}
