//! What one end knows of a connection: its streams, windows and what is to be sent. No I/O.
//!
//! The peers of Kubernetes (moby's spdystream) keep no windows: they send without limit and never say that more may be
//! sent. So a limit on sending holds only once the peer has shown, by a WINDOW_UPDATE or a setting, that it counts;
//! what was sent before counts then too. What is read is acknowledged always: who does not care ignores it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use crate::connection::Role;
use crate::frame::{Encoder, Frame, MAX_DATA, SETTINGS_INITIAL_WINDOW_SIZE, goaway, status};
use crate::headers::Headers;

/// How many streams a peer may have open at once.
pub const MAX_STREAMS: usize = 1000;

/// What may be sent on a stream, and on a connection, before the first WINDOW_UPDATE.
const WINDOW: u32 = 64 * 1024;

/// What may wait to be read, on one stream and on all together, before nothing more is taken from the peer.
const STREAM_BUFFER: usize = 256 * 1024;
const CONNECTION_BUFFER: usize = 8 * 1024 * 1024;

/// What may wait to be sent before writers wait.
const OUTPUT_BUFFER: usize = 256 * 1024;

const LAST_STREAM: u32 = 0x7fff_fffe;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Session {
    role: Role,
    encoder: Encoder,
    /// Encoded frames, to be sent.
    output: BytesMut,
    streams: HashMap<u32, State>,
    incoming: VecDeque<(u32, Headers)>,
    /// The next stream that this end opens.
    next: u32,
    /// The last stream that the peer opened.
    last_taken: u32,
    /// Whether no stream may be opened any more.
    peer_goes_away: bool,
    /// Whether this end has said that it goes away.
    is_closing: bool,
    /// Whether there is no connection any more.
    is_over: bool,
    /// What may be sent on a new stream.
    initial_window: i64,
    window: i64,
    peer_counts_streams: bool,
    peer_counts_connection: bool,
    /// Bytes that were read since the connection's last WINDOW_UPDATE.
    unacknowledged: u32,
    buffered: usize,
    full_streams: usize,
}

#[derive(Debug)]
struct State {
    input: BytesMut,
    input_ended: bool,
    output_ended: bool,
    was_reset: bool,
    was_taken: bool,
    window: i64,
    unacknowledged: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn is_full(&self) -> bool {
        self.input.len() > STREAM_BUFFER
    }
}

impl Session {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            encoder: Encoder::default(),
            output: BytesMut::new(),
            streams: HashMap::new(),
            incoming: VecDeque::new(),
            next: if role == Role::Client { 1 } else { 2 },
            last_taken: 0,
            peer_goes_away: false,
            is_closing: false,
            is_over: false,
            initial_window: WINDOW.into(),
            window: WINDOW.into(),
            peer_counts_streams: false,
            peer_counts_connection: false,
            unacknowledged: 0,
            buffered: 0,
            full_streams: 0,
        }
    }

    fn send(&mut self, frame: &Frame) {
        if !self.is_closing && !self.is_over {
            self.encoder.encode(frame, &mut self.output);
        }
    }

    fn reset(&mut self, stream: u32, status: u32) {
        self.send(&Frame::RstStream { stream, status });
    }

    fn is_own(&self, stream: u32) -> bool {
        (stream % 2 == 1) == (self.role == Role::Client)
    }

    fn add(&mut self, stream: u32, output_ended: bool, was_taken: bool) {
        let state = State {
            input: BytesMut::new(),
            input_ended: false,
            output_ended,
            was_reset: false,
            was_taken,
            window: self.initial_window,
            unacknowledged: 0,
            reader: None,
            writer: None,
        };
        self.streams.insert(stream, state);
    }

    /// Takes in what the peer sent.
    pub(crate) fn receive(&mut self, frame: Frame) {
        if self.is_closing {
            // Nobody waits for it any more.
            return;
        }
        match frame {
            Frame::SynStream { stream, fin, unidirectional, headers, .. } => {
                self.opened(stream, unidirectional, headers);
                self.ended(stream, fin);
            }
            Frame::SynReply { stream, fin, .. } => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.was_taken = true;
                    state.wake();
                }
                self.ended(stream, fin);
            }
            Frame::Headers { stream, fin, .. } => self.ended(stream, fin),
            Frame::RstStream { stream, .. } => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.was_reset = true;
                    state.wake();
                }
            }
            Frame::Settings(entries) => {
                for (_, value) in entries.into_iter().filter(|(id, _)| *id == SETTINGS_INITIAL_WINDOW_SIZE) {
                    self.resize_windows(value.into());
                }
            }
            // Our own numbers come back as answers, and we ask nothing.
            Frame::Ping(id) => {
                if !self.is_own(id) {
                    self.send(&Frame::Ping(id));
                }
            }
            Frame::GoAway { .. } => self.peer_goes_away = true,
            Frame::WindowUpdate { stream, delta } => self.widen(stream, delta),
            Frame::Data { stream, fin, data } => {
                self.data(stream, &data);
                self.ended(stream, fin);
            }
        }
    }

    fn opened(&mut self, stream: u32, unidirectional: bool, headers: Headers) {
        if self.is_own(stream) || stream <= self.last_taken {
            return self.reset(stream, status::PROTOCOL_ERROR);
        }
        self.last_taken = stream;
        if self.streams.len() >= MAX_STREAMS {
            return self.reset(stream, status::REFUSED_STREAM);
        }
        self.add(stream, unidirectional, true);
        self.incoming.push_back((stream, headers));
    }

    fn ended(&mut self, stream: u32, fin: bool) {
        if let Some(state) = self.streams.get_mut(&stream).filter(|_| fin) {
            state.input_ended = true;
            state.wake();
        }
    }

    fn data(&mut self, stream: u32, data: &Bytes) {
        let Some(state) = self.streams.get_mut(&stream) else {
            // The peer may not know yet that nobody reads; its window must not shrink for good.
            self.acknowledge_connection(data.len());
            let was_there = if self.is_own(stream) { stream < self.next } else { stream <= self.last_taken };
            if !was_there {
                self.reset(stream, status::INVALID_STREAM);
            }
            return;
        };
        if state.input_ended || state.was_reset {
            self.acknowledge_connection(data.len());
            return self.reset(stream, status::PROTOCOL_ERROR);
        }
        let was_full = state.is_full();
        state.input.extend_from_slice(data);
        self.full_streams += usize::from(!was_full && state.is_full());
        self.buffered += data.len();
        state.reader.take().into_iter().for_each(Waker::wake);
    }

    fn resize_windows(&mut self, initial: i64) {
        let change = initial - self.initial_window;
        self.initial_window = initial;
        self.peer_counts_streams = true;
        for state in self.streams.values_mut() {
            state.window += change;
        }
        self.wake_writers();
    }

    fn widen(&mut self, stream: u32, delta: u32) {
        if stream == 0 {
            self.peer_counts_connection = true;
            self.window += i64::from(delta);
            return self.wake_writers();
        }
        self.peer_counts_streams = true;
        if let Some(state) = self.streams.get_mut(&stream) {
            state.window += i64::from(delta);
            state.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    fn wake_writers(&mut self) {
        self.streams.values_mut().filter_map(|state| state.writer.take()).for_each(Waker::wake);
    }

    /// Whether the peer has to wait until something is read.
    pub(crate) fn is_full(&self) -> bool {
        (self.full_streams > 0 || self.buffered > CONNECTION_BUFFER) && !self.is_closing
    }

    /// What is to be sent now.
    pub(crate) fn take_output(&mut self) -> Bytes {
        let was_long = self.output.len() >= OUTPUT_BUFFER;
        let output = self.output.split().freeze();
        if was_long {
            self.wake_writers();
        }
        output
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// A stream that the peer has opened, to be accepted or refused.
    pub(crate) fn take_incoming(&mut self) -> Option<(u32, Headers)> {
        self.incoming.pop_front()
    }

    /// Whether anything can still come or go.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_closing || self.is_over
    }

    pub(crate) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Opens a stream; `None` where no more can be opened.
    pub(crate) fn open(&mut self, headers: Headers) -> Option<u32> {
        let usable = !self.peer_goes_away && !self.is_ended() && self.next <= LAST_STREAM;
        if !usable || self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let stream = self.next;
        self.next += 2;
        self.add(stream, false, false);
        let (associated, priority, fin, unidirectional) = (0, 0, false, false);
        self.send(&Frame::SynStream { stream, associated, priority, fin, unidirectional, headers });
        Some(stream)
    }

    /// Tells the peer that its stream is taken.
    pub(crate) fn accept(&mut self, stream: u32) {
        self.send(&Frame::SynReply { stream, fin: false, headers: Headers::new() });
    }

    /// Tells the peer that its stream is not taken.
    pub(crate) fn refuse(&mut self, stream: u32) {
        self.reset(stream, status::REFUSED_STREAM);
        self.forget(stream);
    }

    /// Completes when the peer has taken the stream, whatever it has done with it since.
    pub(crate) fn poll_taken(&mut self, stream: u32, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_over = self.is_ended();
        let Some(state) = self.streams.get_mut(&stream) else { return Poll::Ready(Err(gone())) };
        if state.was_taken {
            return Poll::Ready(Ok(()));
        }
        if state.was_reset || is_over {
            return Poll::Ready(Err(gone()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Takes what the peer sent on a stream; nothing at its end.
    pub(crate) fn poll_read(
        &mut self,
        stream: u32,
        limit: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<BytesMut>> {
        let is_over = self.is_ended();
        let Some(state) = self.streams.get_mut(&stream) else { return Poll::Ready(Err(gone())) };
        if state.input.is_empty() {
            if state.input_ended || state.was_reset {
                return Poll::Ready(Ok(BytesMut::new()));
            }
            if is_over {
                return Poll::Ready(Err(gone()));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let was_full = state.is_full();
        let data = state.input.split_to(limit.min(state.input.len()));
        self.full_streams -= usize::from(was_full && !state.is_full());
        self.buffered -= data.len();
        state.unacknowledged += u32::try_from(data.len()).unwrap_or(u32::MAX);
        if state.unacknowledged >= WINDOW / 2 && !state.input_ended {
            let delta = std::mem::take(&mut state.unacknowledged);
            self.send(&Frame::WindowUpdate { stream, delta });
        }
        self.acknowledge_connection(data.len());
        Poll::Ready(Ok(data))
    }

    fn acknowledge_connection(&mut self, count: usize) {
        self.unacknowledged += u32::try_from(count).unwrap_or(u32::MAX);
        if self.unacknowledged >= WINDOW / 2 {
            let delta = std::mem::take(&mut self.unacknowledged);
            self.send(&Frame::WindowUpdate { stream: 0, delta });
        }
    }

    /// Sends the beginning of `data`; how much of it.
    pub(crate) fn poll_write(
        &mut self,
        stream: u32,
        data: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let is_over = self.is_ended();
        let Some(state) = self.streams.get_mut(&stream) else { return Poll::Ready(Err(gone())) };
        if is_over || state.was_reset || state.output_ended {
            return Poll::Ready(Err(gone()));
        }
        let mut allowed = i64::try_from(data.len().min(MAX_DATA)).unwrap_or(i64::MAX);
        if self.peer_counts_streams {
            allowed = allowed.min(state.window);
        }
        if self.peer_counts_connection {
            allowed = allowed.min(self.window);
        }
        if (allowed <= 0 && !data.is_empty()) || self.output.len() >= OUTPUT_BUFFER {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = usize::try_from(allowed).unwrap_or(0);
        state.window -= allowed;
        self.window -= allowed;
        let data = Bytes::copy_from_slice(&data[..count]);
        if !data.is_empty() {
            self.send(&Frame::Data { stream, fin: false, data });
        }
        Poll::Ready(Ok(count))
    }

    /// Says that nothing more is sent on a stream.
    pub(crate) fn finish(&mut self, stream: u32) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if !std::mem::replace(&mut state.output_ended, true) && !state.was_reset {
            self.send(&Frame::Data { stream, fin: true, data: Bytes::new() });
        }
    }

    /// Nobody has the stream any more.
    pub(crate) fn abandon(&mut self, stream: u32) {
        if let Some(state) = self.streams.get(&stream)
            && !(state.was_reset || (state.input_ended && state.output_ended))
        {
            self.reset(stream, status::CANCEL);
        }
        self.forget(stream);
    }

    fn forget(&mut self, stream: u32) {
        let Some(mut state) = self.streams.remove(&stream) else { return };
        self.full_streams -= usize::from(state.is_full());
        self.buffered -= state.input.remaining();
        self.acknowledge_connection(state.input.remaining());
        state.wake();
    }

    /// Goes away: what was written is still sent, nothing more is.
    pub(crate) fn close(&mut self, is_protocol_error: bool) {
        let status = if is_protocol_error { goaway::PROTOCOL_ERROR } else { goaway::OK };
        self.send(&Frame::GoAway { last_good: self.last_taken, status });
        self.is_closing = true;
        self.wake_all();
    }

    /// There is no connection any more.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
        self.wake_all();
    }

    fn wake_all(&mut self) {
        self.streams.values_mut().for_each(State::wake);
    }
}

fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::BrokenPipe)
}
