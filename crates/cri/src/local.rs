//! Connections of unix sockets.
//!
//! A client that knows nothing but a path calls the host by that path: `:authority` is `/run/x.sock` for older clients in
//! Go, `%2Frun%2Fx.sock` for newer ones and for those in C++ and Python, unless they were told better. Neither is an
//! authority, and the HTTP/2 server refuses such requests as malformed. So what arrives is mended on the way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

use crate::hpack;

/// With what a connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes before a frame's content: its length in three, its kind, its flags, its stream.
const FRAME_HEAD: usize = 9;

/// The largest content of a frame that a server takes unless it says more.
const MAX_FRAME: usize = 16 * 1024;

/// The kind of frame that a request begins with.
const HEADERS: u8 = 1;

/// A flag: the content begins with the length of padding at its end.
const PADDED: u8 = 8;

/// A flag: the content has a priority of five bytes.
const PRIORITY: u8 = 0x20;

/// How much is read at once.
const CHUNK: usize = 8 * 1024;

/// The connections that come to a socket.
pub fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<Local>> {
    UnixListenerStream::new(listener).map(|stream| stream.map(Local::new))
}

/// A connection whose client may call the host what it likes.
#[derive(Debug)]
pub struct Local {
    stream: UnixStream,
    filter: Filter,
    ended: bool,
}

impl Local {
    fn new(stream: UnixStream) -> Self {
        Self { stream, filter: Filter::default(), ended: false }
    }
}

/// What comes next.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Preface,
    Frame,
    /// So much of a frame's content.
    Content(usize),
    /// What is no HTTP/2.
    Other,
}

#[derive(Debug, Default)]
struct Filter {
    next: Next,
    /// What was read and not looked at.
    input: BytesMut,
    /// What may be taken.
    output: BytesMut,
}

impl Filter {
    /// Looks at what has come.
    fn advance(&mut self) {
        while !self.input.is_empty() {
            match self.next {
                Next::Preface => {
                    let known = self.input.len().min(PREFACE.len());
                    if self.input[..known] != PREFACE[..known] {
                        self.next = Next::Other;
                        continue;
                    }
                    if known < PREFACE.len() {
                        return;
                    }
                    self.pass(known);
                    self.next = Next::Frame;
                }
                Next::Frame => {
                    let Some(&[high, middle, low, kind, flags]) = self.input.first_chunk() else { return };
                    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                    if kind != HEADERS || length > MAX_FRAME {
                        self.next = Next::Content(FRAME_HEAD + length);
                        continue;
                    }
                    if self.input.len() < FRAME_HEAD + length {
                        return;
                    }
                    let frame = self.input.split_to(FRAME_HEAD + length);
                    match mended(&frame, flags) {
                        Some(mended) => self.output.extend_from_slice(&mended),
                        None => self.output.extend_from_slice(&frame),
                    }
                }
                Next::Content(left) => {
                    let here = left.min(self.input.len());
                    self.pass(here);
                    self.next = if here == left { Next::Frame } else { Next::Content(left - here) };
                }
                Next::Other => self.pass(self.input.len()),
            }
        }
    }

    fn pass(&mut self, count: usize) {
        let passed = self.input.split_to(count);
        self.output.extend_from_slice(&passed);
    }
}

/// The frame with another header block, if it needs one.
fn mended(frame: &[u8], flags: u8) -> Option<Vec<u8>> {
    let (mut begin, mut end) = (FRAME_HEAD, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(begin)?))?;
        begin += 1;
    }
    if flags & PRIORITY != 0 {
        begin += 5;
    }
    let block = hpack::mended(frame.get(begin..end)?)?;
    let mut mended = [&frame[..begin], &block, &frame[end..]].concat();
    let length = mended.len() - FRAME_HEAD;
    if length > MAX_FRAME {
        return None;
    }
    let length = u32::try_from(length).ok()?.to_be_bytes();
    mended[..3].copy_from_slice(&length[1..]);
    Some(mended)
}

impl AsyncRead for Local {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.filter.output.is_empty() {
                let count = buf.remaining().min(this.filter.output.len());
                buf.put_slice(&this.filter.output[..count]);
                this.filter.output.advance(count);
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // What was broken off is for the server to judge.
                (this.ended, this.filter.next) = (true, Next::Other);
            }
            this.filter.input.extend_from_slice(read.filled());
            this.filter.advance();
        }
    }
}

impl AsyncWrite for Local {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Connected for Local {
    type ConnectInfo = <UnixStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], content].concat()
    }

    /// What comes out of what goes in, in pieces of this size.
    fn filtered(input: &[u8], size: usize) -> Vec<u8> {
        let mut filter = Filter::default();
        for piece in input.chunks(size) {
            filter.input.extend_from_slice(piece);
            filter.advance();
        }
        filter.output.to_vec()
    }

    #[test]
    fn requests_are_mended_in_whatever_pieces_they_come() {
        let (bad, good) = (b"\x83\x41\x07/a/b.so\x86", b"\x83\x41\x07-a-b.so\x86");
        let settings = frame(4, 0, b"");
        let data = frame(0, 1, b"\x41\x07/a/b.so");
        let with = |block: &[u8]| {
            let padded = [b"\x02\0\0\0\0\x10", block, b"\0\0"].concat();
            [PREFACE, &settings, &frame(HEADERS, 4, block), &data, &frame(HEADERS, 4 | PADDED | PRIORITY, &padded)]
                .concat()
        };
        for size in [1, 2, 10, 1000] {
            assert_eq!(filtered(&with(bad), size), with(good), "{size}");
        }
    }

    #[test]
    fn what_is_no_request_passes_as_it_is() {
        let odd = [PREFACE, &frame(HEADERS, PADDED, b"\xff"), &frame(HEADERS, PRIORITY, b"")].concat();
        for input in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRINCE", &odd] {
            assert_eq!(filtered(input, 3), input);
        }
    }
}
