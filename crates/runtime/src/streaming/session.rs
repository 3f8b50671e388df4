//! Moving bytes between a WebSocket and the streams of a process.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::channels::{Input, Version, channel, frame};
use super::server::Socket;
use crate::container::Terminal;

/// Messages that may wait for a slow client.
const QUEUE: usize = 16;

/// How much is read at once.
const CHUNK: usize = 32 * 1024;

/// How long output is passed on after the end of the process, in case something holds its pipes.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The near ends of a process's streams.
pub(super) struct Streams {
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// For its size.
    pub terminal: Option<Terminal>,
}

/// Passes everything on until `end` completes or the client leaves, then says what `end` said.
///
/// Output that is there when `end` completes is passed on first.
pub(super) async fn run(socket: Socket, version: Version, streams: Streams, end: impl Future<Output = Value>) {
    let (sink, source) = socket.split();
    let (sender, receiver) = mpsc::channel(QUEUE);
    // Tells the client that all is set up, as upstream does.
    let first = match (&streams.stdout, &streams.stderr) {
        (Some(_), _) => channel::STDOUT,
        (None, Some(_)) => channel::STDERR,
        (None, None) => channel::ERROR,
    };
    // The queue is empty, so this does not wait.
    let _ = sender.send(Message::Binary(frame(first, b""))).await;
    let Streams { stdin, stdout, stderr, terminal } = streams;
    let outputs = async {
        tokio::join!(
            pass_output(stdout, channel::STDOUT, sender.clone()),
            pass_output(stderr, channel::STDERR, sender.clone()),
        );
    };
    let conversation = async {
        tokio::pin!(outputs);
        tokio::pin!(end);
        let mut passed = false;
        let status = loop {
            tokio::select! {
                status = &mut end => break status,
                () = &mut outputs, if !passed => passed = true,
            }
        };
        if !passed {
            // Nothing more to say either way.
            let _ = tokio::time::timeout(DRAIN_TIME, outputs).await;
        }
        let _ = sender.send(Message::Binary(frame(channel::ERROR, status.to_string().as_bytes()))).await;
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sender.send(Message::Close(Some(close))).await;
    };
    let input = pass_input(source, version, stdin, terminal, sender.clone());
    let talk = async {
        tokio::select! {
            () = conversation => true,
            () = input => false,
        }
    };
    let write = write_all(sink, receiver);
    tokio::pin!(write);
    let finished = tokio::select! {
        finished = talk => finished,
        () = &mut write => false,
    };
    if finished {
        // The queue holds the last words; the writer ends after the closing message.
        let _ = tokio::time::timeout(DRAIN_TIME, write).await;
    }
}

async fn write_all(mut sink: SplitSink<Socket, Message>, mut receiver: mpsc::Receiver<Message>) {
    while let Some(message) = receiver.recv().await {
        let last = matches!(message, Message::Close(_));
        if sink.send(message).await.is_err() || last {
            return;
        }
    }
}

async fn pass_output(source: Option<Box<dyn AsyncRead + Send + Unpin>>, channel: u8, sender: mpsc::Sender<Message>) {
    let Some(mut source) = source else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if sender.send(Message::Binary(frame(channel, &chunk[..read]))).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Ends when the client is gone.
async fn pass_input(
    mut source: SplitStream<Socket>,
    version: Version,
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    terminal: Option<Terminal>,
    sender: mpsc::Sender<Message>,
) {
    while let Some(Ok(message)) = source.next().await {
        let data: Bytes = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Ping(data) => {
                let _ = sender.send(Message::Pong(data)).await;
                continue;
            }
            Message::Close(_) => return,
            Message::Pong(_) | Message::Frame(_) => continue,
        };
        match Input::parse(data, version) {
            Input::Stdin(data) => {
                if let Some(writer) = &mut stdin
                    && writer.write_all(&data).await.is_err()
                {
                    // The process reads no more; it may still write.
                    stdin = None;
                }
            }
            Input::StdinClosed => stdin = None,
            Input::Resize { columns, rows } => {
                if let Some(terminal) = &terminal {
                    // A terminal that is gone has no size.
                    let _ = terminal.resize(columns, rows);
                }
            }
            Input::Nothing => {}
        }
    }
}
