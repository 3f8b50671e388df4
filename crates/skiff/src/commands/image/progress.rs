//! How far an image is, on standard error: a line that changes on a terminal, a line for each blob elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use runtime::image::ImageEvent;
use tokio::io::{AsyncRead, ReadBuf};

use super::human;

/// Digits of a digest that are shown.
const DIGITS: usize = 12;

/// Shows what happens with an image.
pub struct Progress {
    terminal: bool,
    /// How much of each blob has gone, and how much it is.
    blobs: BTreeMap<String, (u64, Option<u64>)>,
    unpacked: usize,
}

impl Progress {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), blobs: BTreeMap::new(), unpacked: 0 }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &ImageEvent) {
        match event {
            ImageEvent::Resolved { digest } => self.line(&format!("{digest}: found")),
            ImageEvent::Exists { digest } => self.line(&format!("{}: there already", short(digest))),
            ImageEvent::Blob { digest, offset, total } => {
                self.blobs.insert(digest.clone(), (*offset, *total));
                if *total == Some(*offset) {
                    self.line(&format!("{}: {}", short(digest), human(*offset)));
                }
            }
            ImageEvent::Unpacked { .. } => self.unpacked += 1,
            ImageEvent::Done { .. } | ImageEvent::Failed { .. } => {}
        }
        if self.terminal {
            let gone: u64 = self.blobs.values().map(|(gone, _)| gone).sum();
            let total: u64 = self.blobs.values().map(|(gone, total)| total.unwrap_or(*gone)).sum();
            eprint!("\r\x1b[K{} of {}, {} layers unpacked", human(gone), human(total), self.unpacked);
        }
    }

    fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{text}");
    }

    /// Leaves the line that changes.
    pub fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// The first digits of a digest.
fn short(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.get(..DIGITS).unwrap_or(digits)
}

/// A file that tells on a terminal how much of it has been read.
pub struct Reading<R> {
    source: R,
    terminal: bool,
    read: u64,
    shown: u64,
    size: Option<u64>,
}

impl<R> Reading<R> {
    /// Of a file of this size.
    pub fn new(source: R, size: Option<u64>) -> Self {
        Self { source, terminal: std::io::stderr().is_terminal(), read: 0, shown: 0, size }
    }

    fn show(&mut self, end: bool) {
        if !self.terminal {
            return;
        }
        let mut output = std::io::stderr().lock();
        let of = self.size.map(|size| format!(" of {}", human(size))).unwrap_or_default();
        // Whoever does not look at it misses nothing.
        let _ = if end { write!(output, "\r\x1b[K") } else { write!(output, "\r\x1b[K{}{of}", human(self.read)) };
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Reading<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.source).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled {
            let read = (buffer.filled().len() - before) as u64;
            self.read += read;
            if read == 0 {
                self.show(true);
            } else if self.read - self.shown >= 8 << 20 {
                self.shown = self.read;
                self.show(false);
            }
        }
        polled
    }
}
