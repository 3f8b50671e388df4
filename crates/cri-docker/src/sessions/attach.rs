//! `Attach`: taking part in a container's own process.

use std::sync::Arc;

use bollard::container::AttachContainerResults;
use bollard::query_parameters::{AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder};
use cri::{AttachRequest, AttachResponse, Status};
use serde_json::Value;
use streaming::{Command, Process, Session, Streams, Wanted, status};
use tokio::sync::watch;

use super::check_streams;
use super::pump::pump;
use crate::container::{self, Container};
use crate::engine::Engine;
use crate::errors::Doing;

/// An address at which a client takes part.
pub(crate) async fn attach(engine: &Arc<Engine>, request: AttachRequest) -> Result<AttachResponse, Status> {
    let container = Container::running(engine, &request.container_id).await?;
    let wanted = Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    check_streams(request.tty, wanted)?;
    let start = session(engine.clone(), container, wanted);
    Ok(AttachResponse { url: engine.streaming.address(Session::Attach(Command { wanted, start: Box::pin(start) })) })
}

async fn session(engine: Arc<Engine>, container: Container, wanted: Wanted) -> Result<Process, Value> {
    let id = container.id;
    let options = AttachContainerOptionsBuilder::new().stream(true).stdin(wanted.stdin);
    let options = options.stdout(wanted.stdout).stderr(wanted.stderr).build();
    let attached = engine.docker.attach_container(&id, Some(options)).await.doing("attach");
    let AttachContainerResults { output, input } =
        attached.map_err(|err| status::failed(&format!("error attaching to container: {err}")))?;
    let (near, pump) = pump(wanted);
    let (sizes, mut size) = watch::channel(None);
    let end = async move {
        let pass = pump.run(output, input);
        tokio::pin!(pass);
        loop {
            tokio::select! {
                () = &mut pass => break,
                Ok(()) = size.changed() => {
                    let wanted: Option<(u16, u16)> = *size.borrow_and_update();
                    if let Some((width, height)) = wanted {
                        let options = ResizeContainerTTYOptionsBuilder::new().h(height.into()).w(width.into()).build();
                        // A container that has ended has no terminal any more.
                        let _ = engine.docker.resize_container_tty(&id, options).await;
                    }
                }
            }
        }
        match container::ended(&engine, &id).await {
            Ok(()) => status::success(),
            Err(err) => status::failed(&format!("error attaching to container: {err}")),
        }
    };
    let resize = container.record.config.tty.then(|| {
        Box::new(move |columns, rows| {
            // Nobody listens once the container has ended.
            let _ = sizes.send(Some((columns, rows)));
        }) as _
    });
    let streams = Streams { stdin: near.stdin, stdout: near.stdout, stderr: near.stderr, resize };
    Ok(Process { streams, end: Box::pin(end), keep: None })
}
