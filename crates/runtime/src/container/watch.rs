//! Waiting for the end of a running container.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::process::Child;

use super::shim::{Later, ask};
use super::{Container, ContainerState};
use crate::cgroup::Cgroup;
use crate::engine::{Engine, EventKind};
use crate::shim::protocol::{Exit, Failure, Request, Response, Started};

/// The exit status of a container of which nobody knows how it ended, as other runtimes give it.
const LOST: i32 = 255;

/// A container that fails within this time may have damaged files.
const SOON: SignedDuration = SignedDuration::from_secs(10);

/// Follows a running container to its end, and notes it. `child` is the shim, if it is a child of this process.
pub(super) async fn watch(engine: Arc<Engine>, container: Arc<Container>, child: Option<Child>) {
    let exit = match wait(&container).await {
        Some(exit) => exit,
        None => recorded_or_lost(&engine, &container).await,
    };
    if let Some(mut child) = child {
        // Reaped, so that no zombie stays; how a shim ends says nothing about the container.
        let _ = child.wait().await;
    }
    note(&engine, &container, exit);
}

async fn wait(container: &Container) -> Option<Exit> {
    let conversation = ask(container, Request::Watch, Vec::new()).await.ok()?;
    if !matches!(conversation.response, Response::Done) {
        return None;
    }
    conversation.socket.set_read_timeout(None).ok()?;
    Later::new(conversation.socket).ok()?.exit().await
}

/// The end that the shim wrote down, or one that says that nobody knows.
pub(super) async fn recorded_or_lost(engine: &Engine, container: &Arc<Container>) -> Exit {
    let paths = container.paths();
    match Exit::read(paths.data(), paths.bundle()) {
        Ok(Some(exit)) => return exit,
        Ok(None) => {}
        Err(err) => tracing::warn!(container = %container.id(), %err, "cannot read how a container ended"),
    }
    // The shim was killed. What it cared for must not go on without it.
    let cgroup = Cgroup::new(&container.record().cgroup);
    let killed = tokio::task::spawn_blocking(move || cgroup.kill_all().and_then(|()| cgroup.remove())).await;
    if let Ok(Err(err)) = killed {
        tracing::warn!(container = %container.id(), %err, "cannot end the processes of a container without a shim");
    }
    let exit = Exit { exit_code: LOST, oom_killed: false, finished_at: engine.env.now(), failure: Some(Failure::Lost) };
    if let Err(err) = exit.write(paths.data(), paths.bundle()) {
        tracing::warn!(container = %container.id(), %err, "cannot write down the end of a container");
    }
    exit
}

/// Whether a container failed so soon that its files may be to blame.
fn fails_at_once(started: Option<&Started>, exit: &Exit) -> bool {
    let lived = started.map(|started| exit.finished_at.duration_since(started.started_at));
    exit.exit_code != 0 && !exit.oom_killed && lived.is_none_or(|lived| lived < SOON)
}

fn note(engine: &Engine, container: &Container, exit: Exit) {
    let started = match container.state() {
        ContainerState::Running(started) => Some(started),
        _ => None,
    };
    if fails_at_once(started.as_ref(), &exit) {
        engine.suspect(&container.record().image);
    }
    container.set_state(ContainerState::Exited { started, exit });
    engine.emit_container(EventKind::ContainerStoppedEvent, container);
}
