//! Taking part in a container's own process.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde_json::Value;
use streaming::{Command, Output, Process, Session, Streams, Wanted, status};
use tokio::net::unix::pipe;

use super::resize;
use crate::container::{self, Container, Terminal};

/// Attaches a client until the container ends.
pub(crate) fn session(container: Arc<Container>, wanted: Wanted) -> Session {
    Session::Attach(Command { wanted, start: Box::pin(start(container, wanted)) })
}

async fn start(container: Arc<Container>, wanted: Wanted) -> Result<Process, Value> {
    let attached = attach(&container, wanted).await;
    let (streams, attached) =
        attached.map_err(|err| status::failed(&format!("error attaching to container: {err}")))?;
    let end = async move {
        container.ended().await;
        status::success()
    };
    // Only when the client is gone may the shim learn of it.
    Ok(Process { streams, end: Box::pin(end), keep: Some(Box::new(attached)) })
}

async fn attach(container: &Container, wanted: Wanted) -> io::Result<(Streams, container::Attached)> {
    let tty = container.record().config.tty;
    let (stdout, stdout_end) = output(wanted.stdout)?;
    // A terminal has one output only.
    let (stderr, stderr_end) = output(wanted.stderr && !tty)?;
    // The terminal is needed for its size even by those who write nothing to it.
    let stdin = wanted.stdin || tty;
    let mut attached = container::attach(container, stdin, stdout_end, stderr_end).await.map_err(io::Error::other)?;
    let (mut stdin, mut terminal) = (None, None);
    if let Some(fd) = attached.stdin.take() {
        if tty {
            let own = Terminal::new(fd)?;
            if wanted.stdin {
                stdin = Some(Box::new(own.try_clone()?) as _);
            }
            terminal = Some(own);
        } else {
            stdin = Some(Box::new(pipe::Sender::from_owned_fd(fd)?) as _);
        }
    }
    Ok((Streams { stdin, stdout, stderr, resize: terminal.map(resize) }, attached))
}

fn output(wanted: bool) -> io::Result<(Option<Output>, Option<OwnedFd>)> {
    if !wanted {
        return Ok((None, None));
    }
    let (read, write) = io::pipe()?;
    let read = pipe::Receiver::from_owned_fd(read.into())?;
    Ok((Some(Box::new(read)), Some(write.into())))
}
