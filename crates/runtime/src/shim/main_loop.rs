//! The loop of a running container: output to the log and to attached clients, requests, deaths.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use base::Env;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, WaitStatus};

use super::attach::Sink;
use super::contained::Contained;
use super::exec::{answer, exec};
use super::init::{ContainerIo, InitError, system};
use super::log::{Log, Stream};
use super::protocol::{ExecRequest, Exit, Request, Response, ShimConfig, Started, Streams, decode, receive_some};
use super::sys;
use crate::cgroup::Cgroup;

/// How long output is read after the container's end, in case a process outside holds the other end.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// An output stream of the container.
pub(super) struct Output {
    pub fd: OwnedFd,
    pub stream: Stream,
}

enum Role {
    /// Has not asked for anything that lasts.
    New,
    /// Waits for the container's end.
    Watch,
    /// Waits for the end of a process.
    Exec(i32),
    /// Gets copies of the output.
    Attach { stdout: Option<Sink>, stderr: Option<Sink> },
}

struct Connection {
    socket: UnixStream,
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
    role: Role,
    closed: bool,
}

/// The state of the loop.
pub(super) struct MainLoop {
    bundle: PathBuf,
    config: ShimConfig,
    contained: Contained,
    pid: i32,
    outputs: Vec<Output>,
    stdin: Option<OwnedFd>,
    log: Option<Log>,
    listener: UnixListener,
    signals: SignalFd,
    connections: Vec<Connection>,
    exit_code: Option<i32>,
}

/// What a descriptor in the poll set belongs to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Output(usize),
    Connection(usize),
    Sink,
}

impl MainLoop {
    #[expect(clippy::too_many_arguments, reason = "called once, by the only place that has all of them")]
    pub(super) fn new(
        bundle: PathBuf,
        config: ShimConfig,
        contained: Contained,
        pid: i32,
        io: ContainerIo,
        log: Option<Log>,
        listener: UnixListener,
        signals: SignalFd,
    ) -> Self {
        let ContainerIo { outputs, stdin } = io;
        Self {
            bundle,
            config,
            contained,
            pid,
            outputs,
            stdin,
            log,
            listener,
            signals,
            connections: Vec::new(),
            exit_code: None,
        }
    }

    /// Runs until the container has ended and everything about it is written down.
    pub(super) fn run(mut self, env: &Env) -> Result<(), InitError> {
        // A child that ended before the signal was watched is found here.
        self.reap(env);
        while self.exit_code.is_none() {
            self.turn(env, None)?;
        }
        self.finish(env)
    }

    fn turn(&mut self, env: &Env, timeout: Option<Duration>) -> Result<(), InitError> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        for (index, output) in self.outputs.iter().enumerate() {
            sources.push(Source::Output(index));
            fds.push(PollFd::new(&output.fd, PollFlags::IN));
        }
        for (index, connection) in self.connections.iter().enumerate() {
            sources.push(Source::Connection(index));
            fds.push(PollFd::new(&connection.socket, PollFlags::IN));
            if let Role::Attach { stdout, stderr } = &connection.role {
                for sink in [stdout, stderr].into_iter().flatten().filter(|sink| sink.is_pending()) {
                    sources.push(Source::Sink);
                    fds.push(PollFd::new(sink, PollFlags::OUT));
                }
            }
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other.map_err(system("wait for events"))?,
        };
        let ready: Vec<Source> = sources
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(source, _)| source)
            .collect();
        drop(fds);
        // Outputs first: what a process wrote before it ended comes before its end.
        let mut ended = Vec::new();
        for source in &ready {
            if let Source::Output(index) = *source
                && !self.read_output(index, env)
            {
                ended.push(index);
            }
        }
        for index in ended.into_iter().rev() {
            self.end_output(index, env);
        }
        for source in ready {
            match source {
                Source::Signals => self.reap(env),
                Source::Listener => self.accept(),
                Source::Connection(index) => self.read_connection(index, env),
                Source::Sink => self.flush_sinks(),
                Source::Output(_) => {}
            }
        }
        self.connections.retain(|connection| !connection.closed);
        Ok(())
    }

    /// Passes on what is there; false at the end of the stream.
    fn read_output(&mut self, index: usize, env: &Env) -> bool {
        let mut chunk = [0; 64 * 1024];
        let stream = self.outputs[index].stream;
        let bytes = match rustix::io::read(&self.outputs[index].fd, &mut chunk) {
            Ok(0) => return false,
            Ok(read) => &chunk[..read],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
            // A terminal whose last process is gone says EIO.
            Err(_) => return false,
        };
        if let Some(log) = &mut self.log {
            log.write(stream, bytes, env.now());
        }
        for connection in &mut self.connections {
            if let Role::Attach { stdout, stderr } = &mut connection.role {
                let sink = match stream {
                    Stream::Stdout => stdout,
                    Stream::Stderr => stderr,
                };
                if sink.as_mut().is_some_and(|sink| !sink.write(bytes)) {
                    *sink = None;
                }
            }
        }
        true
    }

    fn end_output(&mut self, index: usize, env: &Env) {
        let Output { stream, .. } = self.outputs.remove(index);
        if let Some(log) = &mut self.log {
            log.finish(stream, env.now());
        }
    }

    fn flush_sinks(&mut self) {
        for connection in &mut self.connections {
            if let Role::Attach { stdout, stderr } = &mut connection.role {
                for sink in [stdout, stderr] {
                    if sink.as_mut().is_some_and(|sink| !sink.flush()) {
                        *sink = None;
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if socket.set_nonblocking(true).is_ok() {
                let (buffer, fds) = (Vec::new(), Vec::new());
                self.connections.push(Connection { socket, buffer, fds, role: Role::New, closed: false });
            }
        }
    }

    fn read_connection(&mut self, index: usize, env: &Env) {
        let connection = &mut self.connections[index];
        match receive_some(&connection.socket, &mut connection.buffer, &mut connection.fds) {
            Ok(0) => connection.closed = true,
            Ok(_) => {}
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => connection.closed = true,
        }
        loop {
            match decode::<Request>(&mut self.connections[index].buffer) {
                Ok(Some(request)) => self.handle(index, request, env),
                Ok(None) => return,
                Err(_) => {
                    self.connections[index].closed = true;
                    return;
                }
            }
        }
    }

    fn handle(&mut self, index: usize, request: Request, env: &Env) {
        let fds = std::mem::take(&mut self.connections[index].fds);
        let (response, fd) = match request {
            Request::Watch => {
                self.connections[index].role = Role::Watch;
                (Response::Done, None)
            }
            Request::Exec(request) => match self.exec(&request, fds, env) {
                Ok((started, terminal)) => {
                    self.connections[index].role = Role::Exec(started.pid);
                    (Response::Started(started), terminal)
                }
                Err(err) => (Response::Failed(err.to_string()), None),
            },
            Request::Signal(signal) => {
                let pid = match self.connections[index].role {
                    Role::Exec(pid) => pid,
                    _ => self.pid,
                };
                // The process is a child that has not been reaped, so its number is not another's.
                match sys::kill(pid, signal) {
                    Ok(()) => (Response::Done, None),
                    Err(err) => (Response::Failed(format!("cannot send signal {signal}: {err}")), None),
                }
            }
            Request::Attach(streams) => self.attach(index, streams, fds),
            Request::ReopenLog => match self.log.as_mut().map(Log::reopen) {
                None | Some(Ok(())) => (Response::Done, None),
                Some(Err(err)) => (Response::Failed(format!("cannot reopen the log: {err}")), None),
            },
        };
        let connection = &mut self.connections[index];
        if answer(&connection.socket, &response, fd.as_ref()).is_err() {
            connection.closed = true;
        }
    }

    fn exec(
        &self,
        request: &ExecRequest,
        fds: Vec<OwnedFd>,
        env: &Env,
    ) -> Result<(Started, Option<OwnedFd>), InitError> {
        exec(&self.bundle, &self.config, &self.contained, request, fds, env)
    }

    fn attach(&mut self, index: usize, streams: Streams, fds: Vec<OwnedFd>) -> (Response, Option<OwnedFd>) {
        let mut fds = fds.into_iter();
        let mut sink = |wanted: bool| -> io::Result<Option<Sink>> {
            if !wanted {
                return Ok(None);
            }
            let fd = fds.next().ok_or(ErrorKind::InvalidInput)?;
            Ok(Some(Sink::new(fd)?))
        };
        let sinks = sink(streams.stdout).and_then(|stdout| Ok((stdout, sink(streams.stderr)?)));
        let (stdout, stderr) = match sinks {
            Ok(sinks) => sinks,
            Err(err) => return (Response::Failed(format!("cannot attach: {err}")), None),
        };
        let stdin = match &self.stdin {
            Some(_) if !streams.stdin => Ok(None),
            // Goes to the first who asks for it: the process's input ends with what that client has to say.
            Some(_) if self.config.stdin_once && !self.config.tty => Ok(self.stdin.take()),
            stdin => stdin.as_ref().map(OwnedFd::try_clone).transpose(),
        };
        match stdin {
            Ok(stdin) => {
                self.connections[index].role = Role::Attach { stdout, stderr };
                (Response::Attached, stdin)
            }
            Err(err) => (Response::Failed(format!("cannot attach: {err}")), None),
        }
    }

    /// Takes leave of every child that has ended.
    fn reap(&mut self, env: &Env) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let Some(exit_code) = exit_code(status) else { continue };
            if pid == self.pid {
                self.exit_code = Some(exit_code);
            }
            for connection in &mut self.connections {
                if matches!(connection.role, Role::Exec(exec) if exec == pid) {
                    let exit = Exit { exit_code, oom_killed: false, finished_at: env.now(), failure: None };
                    // Gone or not, the connection has served its purpose.
                    let _ = answer(&connection.socket, &Response::Exited(exit), None);
                    connection.closed = true;
                }
            }
        }
    }

    fn finish(mut self, env: &Env) -> Result<(), InitError> {
        let cgroup = Cgroup::new(&self.config.cgroup);
        if !self.config.own_pid_namespace {
            // Nothing else ends what the first process left behind.
            let _ = cgroup.kill_all();
        }
        let finished_at = env.now();
        let deadline = env.instant() + DRAIN_TIME;
        while !self.outputs.is_empty() || self.connections.iter().any(|c| matches!(c.role, Role::Exec(_))) {
            let left = deadline.saturating_duration_since(env.instant());
            if left.is_zero() {
                break;
            }
            self.turn(env, Some(left))?;
        }
        for index in (0..self.outputs.len()).rev() {
            self.end_output(index, env);
        }
        let exit = Exit {
            exit_code: self.exit_code.unwrap_or(255),
            oom_killed: cgroup.oom_kills() > 0,
            finished_at,
            failure: None,
        };
        if let Err(err) = exit.write(&self.config.state_dir, &self.bundle) {
            // Whoever watches is told all the same.
            eprintln!("{err}");
        }
        self.contained.delete();
        let _ = fs::remove_file(super::protocol::socket_file(&self.bundle));
        for connection in &self.connections {
            if matches!(connection.role, Role::Watch) {
                let _ = answer(&connection.socket, &Response::Exited(exit.clone()), None);
            }
        }
        let deadline = env.instant() + DRAIN_TIME;
        while self.has_pending_sink() && env.instant() < deadline {
            self.turn(env, Some(deadline.saturating_duration_since(env.instant())))?;
        }
        Ok(())
    }

    fn has_pending_sink(&self) -> bool {
        self.connections.iter().any(|connection| match &connection.role {
            Role::Attach { stdout, stderr } => [stdout, stderr].into_iter().flatten().any(Sink::is_pending),
            _ => false,
        })
    }
}

fn exit_code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}
