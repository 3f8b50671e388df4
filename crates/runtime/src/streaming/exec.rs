//! A process run for a client.

use super::channels::Version;
use super::server::Socket;
use super::session::{self, Streams};
use super::status;
use crate::container::{self, Container, Exec, ExecSpec};

/// Runs the process of `spec`; `wanted` says whether its output and its error output are.
pub(super) async fn run(
    container: &Container,
    spec: &ExecSpec,
    wanted: (bool, bool),
    version: Version,
    socket: Socket,
) {
    let none = || Streams { stdin: None, stdout: None, stderr: None, terminal: None };
    let failed = |err: &dyn std::fmt::Display| {
        let status = status::failed(&format!("error executing command in container: {err}"));
        std::future::ready(status)
    };
    let mut running = match container::exec(container, spec).await {
        Ok(running) => running,
        Err(err) => return session::run(socket, version, none(), failed(&err)).await,
    };
    let streams = match streams(&mut running, spec, wanted) {
        Ok(streams) => streams,
        Err(err) => return session::run(socket, version, none(), failed(&err)).await,
    };
    let end = async {
        match running.exit().await {
            Ok(exit) => status::exited(&spec.cmd, exit.exit_code),
            Err(err) => status::failed(&format!("error executing command in container: {err}")),
        }
    };
    session::run(socket, version, streams, end).await;
}

fn streams(running: &mut Exec, spec: &ExecSpec, (stdout, stderr): (bool, bool)) -> std::io::Result<Streams> {
    if let Some(terminal) = running.terminal.take() {
        let input = if spec.stdin { Some(terminal.try_clone()?) } else { None };
        let output = if stdout { Some(terminal.try_clone()?) } else { None };
        return Ok(Streams {
            stdin: input.map(|input| Box::new(input) as _),
            stdout: output.map(|output| Box::new(output) as _),
            stderr: None,
            terminal: Some(terminal),
        });
    }
    // A process that writes what nobody wants finds its pipe closed.
    let output = running.stdout.take().filter(|_| stdout);
    let errors = running.stderr.take().filter(|_| stderr);
    Ok(Streams {
        stdin: running.stdin.take().map(|stdin| Box::new(stdin) as _),
        stdout: output.map(|output| Box::new(output) as _),
        stderr: errors.map(|errors| Box::new(errors) as _),
        terminal: None,
    })
}
