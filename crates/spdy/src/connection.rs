//! A connection over a byte stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use crate::frame::{Decoder, FrameError};
use crate::headers::Headers;
use crate::session::Session;
use crate::stream::Stream;

/// How much is read at once.
const CHUNK: usize = 32 * 1024;

/// How long the peer may take to leave after it was told to, and to take what was sent.
const LINGER: Duration = Duration::from_secs(2);

/// Which end this is: a client's streams have odd numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asked for the connection.
    Client,
    /// It was asked.
    Server,
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The peer broke the protocol.
    #[error("peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The transport failed.
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// It takes no further streams.
    #[error("no further stream can be opened")]
    NoMoreStreams,
}

/// What streams, connection and driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    session: Mutex<Session>,
    /// There is something to send, or nothing will ever be again.
    output: Notify,
    /// There is room for what the peer sends.
    room: Notify,
    /// The peer has opened a stream, or will not open one any more.
    incoming: Notify,
}

impl Shared {
    /// Does something to the session, and tells those who wait for what it made of it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        // A panic inside leaves no half-made change that matters more than the lost connection.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let was_full = session.is_full();
        let result = work(&mut session);
        if session.has_output() || session.is_ended() {
            self.output.notify_one();
        }
        if was_full && !session.is_full() {
            self.room.notify_one();
        }
        if session.has_incoming() || session.is_ended() {
            self.incoming.notify_one();
        }
        result
    }
}

/// One end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

/// Moves a connection's bytes while it is [run](Driver::run); the connection ends with it.
#[derive(Debug)]
pub struct Driver<T> {
    transport: T,
    ending: Ending,
}

#[derive(Debug)]
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.with(Session::end);
    }
}

/// A stream that the peer has opened. Dropping it refuses it.
#[derive(Debug)]
pub struct Incoming {
    shared: Option<Arc<Shared>>,
    stream: u32,
    headers: Headers,
}

impl Connection {
    /// A connection over `transport`, on which nothing was said yet.
    pub fn new<T: AsyncRead + AsyncWrite>(transport: T, role: Role) -> (Self, Driver<T>) {
        let shared = Arc::new(Shared {
            session: Mutex::new(Session::new(role)),
            output: Notify::new(),
            room: Notify::new(),
            incoming: Notify::new(),
        });
        let ending = Ending(shared.clone());
        (Self { shared }, Driver { transport, ending })
    }

    /// The next stream that the peer opens; `None` when the connection is over. Cancel safe.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let (next, is_ended) = self.shared.with(|session| (session.take_incoming(), session.is_ended()));
            match next {
                Some((stream, headers)) => {
                    return Some(Incoming { shared: Some(self.shared.clone()), stream, headers });
                }
                None if is_ended => return None,
                None => self.shared.incoming.notified().await,
            }
        }
    }

    /// Opens a stream.
    pub fn open(&self, headers: Headers) -> Result<Stream, ConnectionError> {
        let opened = self.shared.with(|session| session.open(headers.clone()));
        let stream = opened.ok_or(ConnectionError::NoMoreStreams)?;
        Ok(Stream::new(self.shared.clone(), stream, headers))
    }

    /// Ends the connection: what was written is still sent, then the driver ends.
    pub fn close(&self) {
        self.shared.with(|session| session.close(false));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Incoming {
    /// What the stream is for.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The stream's number.
    pub fn id(&self) -> u32 {
        self.stream
    }

    /// Takes the stream.
    pub fn accept(mut self) -> Stream {
        let shared = self.shared.take().expect("it is taken here alone, and by drop after it");
        shared.with(|session| session.accept(self.stream));
        Stream::new(shared, self.stream, std::mem::take(&mut self.headers))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.with(|session| session.refuse(self.stream));
        }
    }
}

impl<T: AsyncRead + AsyncWrite> Driver<T> {
    /// Runs until either end has closed the connection, or it broke.
    ///
    /// Dropping the future cuts the connection off.
    pub async fn run(self) -> Result<(), ConnectionError> {
        let Self { transport, ending } = self;
        let shared = &*ending.0;
        let (read, write) = tokio::io::split(transport);
        let reading = receive_all(read, shared);
        let writing = send_all(write, shared);
        tokio::pin!(reading, writing);
        tokio::select! {
            ended = &mut reading => {
                let is_broken = matches!(ended, Err(ConnectionError::Frame(_)));
                shared.with(|session| session.close(is_broken));
                // The peer may want to know why; it does not have to.
                let _ = tokio::time::timeout(LINGER, writing).await;
                ended
            }
            ended = &mut writing => {
                ended?;
                // What is unread when a socket is closed would cut off what was just sent.
                let _ = tokio::time::timeout(LINGER, reading).await;
                Ok(())
            }
        }
    }
}

async fn receive_all<T: AsyncRead>(mut read: ReadHalf<T>, shared: &Shared) -> Result<(), ConnectionError> {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            while shared.with(|session| session.is_full()) {
                shared.room.notified().await;
            }
            shared.with(|session| session.receive(frame));
        }
        buffer.reserve(CHUNK);
        if read.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

async fn send_all<T: AsyncWrite>(mut write: WriteHalf<T>, shared: &Shared) -> Result<(), ConnectionError> {
    loop {
        let (output, is_ended) = shared.with(|session| (session.take_output(), session.is_ended()));
        if !output.is_empty() {
            write.write_all(&output).await?;
            write.flush().await?;
        } else if is_ended {
            write.shutdown().await?;
            return Ok(());
        } else {
            shared.output.notified().await;
        }
    }
}
