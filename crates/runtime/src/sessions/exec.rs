//! A process run for a client.

use std::sync::Arc;

use serde_json::Value;
use streaming::{Command, Process, Session, Streams, Wanted, status};

use super::resize;
use crate::container::{self, Container, Exec, ExecSpec};

/// Runs the process of `spec` for a client.
pub(crate) fn session(container: Arc<Container>, spec: ExecSpec, wanted: Wanted) -> Session {
    Session::Exec(Command { wanted, start: Box::pin(start(container, spec, wanted)) })
}

async fn start(container: Arc<Container>, spec: ExecSpec, wanted: Wanted) -> Result<Process, Value> {
    let failed = |err: &dyn std::fmt::Display| status::failed(&format!("error executing command in container: {err}"));
    let mut running = container::exec(&container, &spec).await.map_err(|err| failed(&err))?;
    let streams = streams(&mut running, &spec, wanted).map_err(|err| failed(&err))?;
    let end = async move {
        match running.exit().await {
            Ok(exit) => status::exited(&spec.cmd, exit.exit_code),
            Err(err) => status::failed(&format!("error executing command in container: {err}")),
        }
    };
    Ok(Process { streams, end: Box::pin(end), keep: None })
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
    // A process that writes what nobody wants finds its pipe closed.
    let output = running.stdout.take().filter(|_| wanted.stdout);
    let errors = running.stderr.take().filter(|_| wanted.stderr);
    Ok(Streams {
        stdin: running.stdin.take().map(|stdin| Box::new(stdin) as _),
        stdout: output.map(|output| Box::new(output) as _),
        stderr: errors.map(|errors| Box::new(errors) as _),
        resize: None,
    })
}
