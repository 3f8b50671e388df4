//! A connection that breaks when its client reads nothing of what waits for it: what the server holds for such a client
//! would be held for as long as that one likes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Whether a connection may stall, because what is sent on it is another's who waits for as long: `kubectl logs` stands
/// still while its user reads a page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience(Arc<AtomicBool>);

impl Patience {
    /// From now on it may.
    pub(crate) fn have(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream of which no write may wait longer than a limit.
pub(crate) struct Stalling<S> {
    stream: S,
    limit: Duration,
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether a write waits, and the timer runs.
    waits: bool,
}

impl<S> Stalling<S> {
    pub(crate) fn new(stream: S, limit: Duration, patience: Patience) -> Self {
        Self { stream, limit, patience, timer: None, waits: false }
    }

    /// What a write has come to, unless it has waited for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waits {
            timer.as_mut().reset(Instant::now() + limit);
            self.waits = true;
        }
        ready!(timer.as_mut().poll(cx));
        if self.patience.0.load(Ordering::Relaxed) {
            self.waits = false;
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_loses_its_connection() {
        let (_client, server) = tokio::io::duplex(100);
        let began = Instant::now();
        let err =
            Stalling::new(server, LIMIT, Patience::default()).write_all(&[0; 200]).await.expect_err("nobody reads");
        assert_eq!((err.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, LIMIT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_keeps_it() {
        let (mut client, server) = tokio::io::duplex(100);
        let mut server = Stalling::new(server, LIMIT, Patience::default());
        let reads = async {
            let mut read = [0; 50];
            for _ in 0..20 {
                tokio::time::sleep_until(Instant::now() + LIMIT - Duration::from_secs(1)).await;
                client.read_exact(&mut read).await.expect("it goes on");
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 1000]), reads);
        written.expect("it is read in the end");
    }
    #[tokio::test(start_paused = true)]
    async fn what_is_passed_on_waits_for_its_reader() {
        let (mut client, server) = tokio::io::duplex(100);
        let patience = Patience::default();
        let mut server = Stalling::new(server, LIMIT, patience.clone());
        patience.have();
        let reads = async {
            tokio::time::sleep_until(Instant::now() + 100 * LIMIT).await;
            client.read_exact(&mut [0; 1000]).await.expect("it goes on");
        };
        let (written, _) = tokio::join!(server.write_all(&[0; 1000]), reads);
        written.expect("it is read in the end");
    }
}
