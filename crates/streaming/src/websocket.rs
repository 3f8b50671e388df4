//! Remote commands over WebSocket: the streams of a process are channels of one sequence of messages.

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::channels::{Input, Version, channel};
use super::server::Socket;
use super::session::{CHUNK, DRAIN_TIME, Input as Stdin, Output, Resize, Streams, conclude};

/// Messages that may wait for a slow client.
const QUEUE: usize = 16;

/// [`super::session::run`] for a client that speaks WebSocket.
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
    let _ = sender.send(version.message(first, b"")).await;
    let Streams { stdin, stdout, stderr, resize } = streams;
    let outputs = async {
        tokio::join!(
            pass_output(stdout, version, channel::STDOUT, sender.clone()),
            pass_output(stderr, version, channel::STDERR, sender.clone()),
        );
    };
    let conversation = async {
        let status = conclude(outputs, end).await;
        if let Some(word) = version.last_word(&status) {
            let _ = sender.send(version.message(channel::ERROR, word.as_bytes())).await;
        }
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sender.send(Message::Close(Some(close))).await;
    };
    let input = pass_input(source, version, stdin, resize, sender.clone());
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

async fn pass_output(source: Option<Output>, version: Version, channel: u8, sender: mpsc::Sender<Message>) {
    let Some(mut source) = source else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if sender.send(version.message(channel, &chunk[..read])).await.is_err() {
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
    mut stdin: Option<Stdin>,
    resize: Option<Resize>,
    sender: mpsc::Sender<Message>,
) {
    while let Some(Ok(message)) = source.next().await {
        match message {
            Message::Ping(data) => {
                let _ = sender.send(Message::Pong(data)).await;
                continue;
            }
            Message::Close(_) => return,
            _ => {}
        }
        match Input::parse(message, version) {
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
                if let Some(resize) = &resize {
                    resize(columns, rows);
                }
            }
            Input::Nothing => {}
        }
    }
}
