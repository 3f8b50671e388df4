//! A process run for a client.

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value;
use streaming::{Command, Process, Session, Streams, Wanted, status};

use super::resize;
use crate::container::{self, Container, Exec, ExecSpec, Terminal};

/// Runs the process of `spec` for a client.
pub(crate) fn session(container: Arc<Container>, spec: ExecSpec, wanted: Wanted) -> Session {
    Session::Exec(Command { wanted, start: Box::pin(start(container, spec, wanted)) })
}

async fn start(container: Arc<Container>, spec: ExecSpec, wanted: Wanted) -> Result<Process, Value> {
    let failed = |err: &dyn std::fmt::Display| status::failed(&format!("error executing command in container: {err}"));
    let mut running = container::exec(&container, &spec).await.map_err(|err| failed(&err))?;
    let unread = running.terminal.as_ref().filter(|_| !wanted.stdout).map(Terminal::try_clone).transpose();
    let unread = unread.map_err(|err| failed(&err))?;
    let streams = streams(&mut running, &spec, wanted).map_err(|err| failed(&err))?;
    let end = async move {
        let exit = tokio::select! {
            exit = running.exit() => exit,
            never = discard(unread) => match never {},
        };
        match exit {
            Ok(exit) => status::exited(&spec.cmd, exit.exit_code),
            Err(err) => status::failed(&format!("error executing command in container: {err}")),
        }
    };
    Ok(Process { streams, end: Box::pin(end), keep: None })
}

/// Reads what a terminal shows though nobody wants it: a process that fills it would wait for ever.
async fn discard(terminal: Option<Terminal>) -> Infallible {
    if let Some(mut terminal) = terminal {
        // It fails when the last process has left the terminal.
        let _ = tokio::io::copy(&mut terminal, &mut tokio::io::sink()).await;
    }
    std::future::pending().await
}

fn streams(running: &mut Exec, spec: &ExecSpec, wanted: Wanted) -> std::io::Result<Streams> {
    if let Some(terminal) = running.terminal.take() {
        let input = if spec.stdin { Some(terminal.try_clone()?) } else { None };
        let output = if wanted.stdout { Some(terminal.try_clone()?) } else { None };
        return Ok(Streams {
            stdin: input.map(|input| Box::new(input) as _),
            stdout: output.map(|output| Box::new(output) as _),
            stderr: None,
            resize: Some(resize(terminal)),
        });
    }
    Ok(Streams {
        stdin: running.stdin.take().map(|stdin| Box::new(stdin) as _),
        stdout: running.stdout.take().map(|output| Box::new(output) as _),
        stderr: running.stderr.take().map(|errors| Box::new(errors) as _),
        resize: None,
    })
}
