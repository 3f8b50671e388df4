//! A process run for a client.

use super::session::{self, Client, Streams, Wanted};
use super::status;
use crate::container::{self, Container, Exec, ExecSpec};

/// Runs the process of `spec` for a client.
pub(super) async fn run(container: &Container, spec: &ExecSpec, wanted: Wanted, client: Client) {
    let failed = |err: &dyn std::fmt::Display| {
        let status = status::failed(&format!("error executing command in container: {err}"));
        std::future::ready(status)
    };
    let mut running = match container::exec(container, spec).await {
        Ok(running) => running,
        Err(err) => return session::run(client, Streams::default(), failed(&err)).await,
    };
    let streams = match streams(&mut running, spec, wanted) {
        Ok(streams) => streams,
        Err(err) => return session::run(client, Streams::default(), failed(&err)).await,
    };
    let end = async {
        match running.exit().await {
            Ok(exit) => status::exited(&spec.cmd, exit.exit_code),
            Err(err) => status::failed(&format!("error executing command in container: {err}")),
        }
    };
    session::run(client, streams, end).await;
}

fn streams(running: &mut Exec, spec: &ExecSpec, wanted: Wanted) -> std::io::Result<Streams> {
    if let Some(terminal) = running.terminal.take() {
        let input = if spec.stdin { Some(terminal.try_clone()?) } else { None };
        let output = if wanted.stdout { Some(terminal.try_clone()?) } else { None };
        return Ok(Streams {
            stdin: input.map(|input| Box::new(input) as _),
            stdout: output.map(|output| Box::new(output) as _),
            stderr: None,
            terminal: Some(terminal),
        });
    }
    // A process that writes what nobody wants finds its pipe closed.
    let output = running.stdout.take().filter(|_| wanted.stdout);
    let errors = running.stderr.take().filter(|_| wanted.stderr);
    Ok(Streams {
        stdin: running.stdin.take().map(|stdin| Box::new(stdin) as _),
        stdout: output.map(|output| Box::new(output) as _),
        stderr: errors.map(|errors| Box::new(errors) as _),
        terminal: None,
    })
}
