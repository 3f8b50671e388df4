//! Taking part in a container's own process.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe;

use super::session::{self, Client, Output, Streams, Wanted};
use super::status;
use crate::container::{self, Container, Terminal};

/// Attaches the client until the container ends.
pub(super) async fn run(container: &Container, wanted: Wanted, client: Client) {
    match attach(container, wanted).await {
        Ok((streams, attached)) => {
            let end = async {
                container.ended().await;
                status::success()
            };
            session::run(client, streams, end).await;
            // Only now does the shim learn that the client is gone.
            drop(attached);
        }
        Err(err) => {
            let status = status::failed(&format!("error attaching to container: {err}"));
            session::run(client, Streams::default(), std::future::ready(status)).await;
        }
    }
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
    Ok((Streams { stdin, stdout, stderr, terminal }, attached))
}

fn output(wanted: bool) -> io::Result<(Option<Output>, Option<OwnedFd>)> {
    if !wanted {
        return Ok((None, None));
    }
    let (read, write) = io::pipe()?;
    let read = pipe::Receiver::from_owned_fd(read.into())?;
    Ok((Some(Box::new(read)), Some(write.into())))
}
