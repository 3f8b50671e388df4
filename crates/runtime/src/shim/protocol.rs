//! What runtime and shim say to each other: one typed message set per direction, and the files that they share.
//!
//! A message is a 32-bit little-endian length and JSON; file descriptors travel with its first byte. A connection
//! carries one request, its answer, and for [`Request::Watch`] and [`Request::Exec`] one [`Response::Exited`] later.
//! [`Request::Signal`] may follow on any connection.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::{self, DiskError};
use crate::seccomp::Filter;

/// The most descriptors in one message.
const MAX_FDS: usize = 3;

/// The longest message; a command line with its environment is far below.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// What the shim must know, in [`ShimConfig::file`] of the bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    /// The container's identifier.
    pub id: String,
    /// The durable directory of the container, for [`started_file`] and [`exit_file`].
    pub state_dir: PathBuf,
    /// The cgroup that the shim moves itself to.
    pub shim_cgroup: PathBuf,
    /// The cgroup of the container.
    pub cgroup: PathBuf,
    /// Where the container's output goes, if anywhere.
    pub log_path: Option<PathBuf>,
    /// Whether the container has a terminal.
    pub tty: bool,
    /// Whether its standard input can be attached to.
    pub stdin: bool,
    /// Whether that ends with the first attached client.
    pub stdin_once: bool,
    /// Whether the end of the container's first process ends all of them.
    pub own_pid_namespace: bool,
    /// The wanted `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// The filter of the system calls of all processes in the container.
    pub filter: Option<Filter>,
    /// The user that the container's processes are.
    pub uid: u32,
    /// Where the namespace of the pod's users is bound, if they are not the machine's.
    pub users: Option<PathBuf>,
    /// After so many seconds a start is given up.
    pub start_timeout: u32,
    /// The program that runs the container, unless libcontainer does.
    pub oci_runtime: Option<PathBuf>,
}

impl ShimConfig {
    /// The file in a bundle that holds the configuration.
    pub(crate) fn file(bundle: &Path) -> PathBuf {
        bundle.join("shim.json")
    }
}

/// The socket of the shim of a bundle.
pub(crate) fn socket_file(bundle: &Path) -> PathBuf {
    bundle.join("shim.sock")
}

/// Where in a bundle libcontainer, or another program, keeps what it knows of the container.
pub(crate) fn state_dir(bundle: &Path) -> PathBuf {
    bundle.join("state")
}

/// The mount point of the container's root in a bundle.
pub(crate) fn rootfs(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}

/// The file that tells that the container was started.
pub(crate) fn started_file(state_dir: &Path) -> PathBuf {
    state_dir.join("started.json")
}

/// The file that tells how the container ended.
fn exit_file(dir: &Path) -> PathBuf {
    dir.join("exit.json")
}

/// A start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The container's first process, as this machine numbers it.
    pub pid: i32,
    /// When.
    pub started_at: Timestamp,
    /// What could not be done as asked.
    pub warnings: Vec<String>,
}

/// An end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The exit status, or 128 and the signal's number.
    pub exit_code: i32,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// When.
    pub finished_at: Timestamp,
    /// Why it never ran, or why nobody knows how it ended.
    #[serde(default)]
    pub failure: Option<Failure>,
}

impl Exit {
    /// Writes it down in the container's durable directory; where the disk takes nothing, in its bundle, which is
    /// elsewhere.
    pub(crate) fn write(&self, state_dir: &Path, bundle: &Path) -> Result<(), DiskError> {
        disk::write_json(&exit_file(state_dir), self).or_else(|err| {
            // The first error says more.
            disk::write_json(&exit_file(bundle), self).map_err(|_| err)
        })
    }

    /// What was written down, if anything was.
    pub(crate) fn read(state_dir: &Path, bundle: &Path) -> Result<Option<Self>, DiskError> {
        match disk::read_json(&exit_file(state_dir)) {
            Ok(Some(exit)) => Ok(Some(exit)),
            durable => Ok(disk::read_json(&exit_file(bundle))?.or(durable?)),
        }
    }
}

/// An end that is not the end of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// It could not be started.
    Start(String),
    /// Its shim is gone.
    Lost,
}

/// From the runtime to the shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Tell when the container ends.
    Watch,
    /// Run another process in the container, with the attached descriptors as its stdio unless it has a terminal.
    Exec(Box<ExecRequest>),
    /// Send a signal to the process of this connection: that of [`Request::Exec`], else the container's first.
    Signal(i32),
    /// Copy the container's output to the attached descriptors, and give its standard input.
    Attach(Streams),
    /// Open the log file anew.
    ReopenLog,
}

/// Which of the three streams are meant.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// A process to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    /// The process, as the OCI runtime specification describes it.
    pub process: oci_spec::runtime::Process,
    /// The wanted `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
}

/// From the shim to the runtime.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// The container or the process runs. A process with a terminal brings the terminal's descriptor.
    Started(Started),
    /// Attached; brings the descriptor of the standard input, if asked for and there is one.
    Attached,
    /// Done.
    Done,
    /// The container or the process ended.
    Exited(Exit),
    /// It was not possible.
    Failed(String),
}

/// One whole message as bytes.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let mut frame = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
    frame.extend(body);
    Ok(frame)
}

/// Takes one message off the front of `buffer`, if it is there whole.
pub(crate) fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(header) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let Some(body) = buffer.get(4..4 + length) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// Sends one message with descriptors; blocks until it is sent.
pub(crate) fn send<T: Serialize>(socket: &UnixStream, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let frame = encode(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&frame[sent..])
}

/// Reads what is there into `buffer` and `fds`; the number of bytes read, 0 at the end.
pub(crate) fn receive_some(socket: &UnixStream, buffer: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    buffer.extend_from_slice(&chunk[..received.bytes]);
    Ok(received.bytes)
}

/// Waits for one message and its descriptors; `None` when the other side closed instead.
pub(crate) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let (mut buffer, mut fds) = (Vec::new(), Vec::new());
    // Not a byte more than this message is read, for the next one may be read in another way.
    while buffer.len() < 4 {
        let mut header = vec![0; 4 - buffer.len()];
        let read = receive_exact_some(socket, &mut header, &mut fds)?;
        if read == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&header[..read]);
    }
    let length = u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut body = vec![0; length];
    let mut socket = socket;
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

fn receive_exact_some(socket: &UnixStream, chunk: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(chunk)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_together_and_apart() {
        let (a, b) = UnixStream::pair().expect("a pair of sockets");
        let (mut reader, writer) = io::pipe().expect("a pipe");
        send(&a, &Request::Signal(9), &[writer.as_fd()]).expect("sent");
        send(&a, &Request::Watch, &[]).expect("sent");
        drop(writer);
        let (request, fds) = receive::<Request>(&b).expect("received").expect("a message");
        assert!(matches!(request, Request::Signal(9)));
        assert_eq!(fds.len(), 1);
        rustix::io::write(&fds[0], b"x").expect("the descriptor works");
        drop(fds);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
        let (mut buffer, mut fds) = (Vec::new(), Vec::new());
        while buffer.len() < 4 || decode::<Request>(&mut buffer.clone()).expect("well formed").is_none() {
            receive_some(&b, &mut buffer, &mut fds).expect("received");
        }
        assert!(matches!(decode(&mut buffer).expect("well formed"), Some(Request::Watch)));
        assert!(buffer.is_empty() && fds.is_empty());
        drop(a);
        assert!(receive::<Request>(&b).expect("received").is_none());
    }
}
