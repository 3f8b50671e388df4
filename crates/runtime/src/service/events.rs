//! The stream of events.

use std::pin::Pin;
use std::sync::Arc;

use base::Drain;
use cri::{ContainerEventResponse, Status};
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::engine::Engine;

/// What happens, as it happens.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<ContainerEventResponse, Status>> + Send>>;

/// Everything from now on until `drain` fires.
///
/// A subscriber that is too slow gets an error in place of what it missed; it lists everything anew then.
pub(super) fn stream(engine: &Arc<Engine>, drain: Drain) -> Events {
    let events = BroadcastStream::new(engine.subscribe());
    let events = events.map(|event| {
        event.map_err(|BroadcastStreamRecvError::Lagged(missed)| {
            Status::data_loss(format!("{missed} events were lost because they were not read in time"))
        })
    });
    Box::pin(events.take_until(drain.drained_owned()))
}
