//! One stream of a connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Shared;
use crate::headers::Headers;

/// A stream of bytes in both directions. Shutting it down says that nothing more is written; dropping it before both
/// ends have done so resets it.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
    headers: Headers,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, id: u32, headers: Headers) -> Self {
        Self { shared, id, headers }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it was opened with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Waits until the peer has taken a stream that this end opened. Cancel safe.
    pub async fn taken(&self) -> io::Result<()> {
        poll_fn(|context| self.shared.with(|session| session.poll_taken(self.id, context))).await
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.shared.with(|session| session.poll_read(self.id, buffer.remaining(), context));
        read.map_ok(|data| buffer.put_slice(&data))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.with(|session| session.poll_write(self.id, data, context))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is sent without being asked for.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|session| session.finish(self.id));
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.with(|session| session.abandon(self.id));
    }
}
