//! Port forwarding over WebSocket: two channels for each port that the address names, data and errors as text.

use std::collections::HashMap;

use bytes::Bytes;
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::super::channels::Version;
use super::super::server::Socket;
use super::super::session::{CHUNK, Forward};
use super::{LINGER, refusal};

/// Messages that may wait for a slow client.
const QUEUE: usize = 16;

/// Connects the client's channels with the ports until it leaves or all ports have ended.
pub(crate) async fn run(forward: &Forward, socket: Socket, version: Version) {
    let (mut sink, source) = socket.split();
    let (sender, mut receiver) = mpsc::channel::<Message>(QUEUE);
    let mut readers = base::Tasks::new();
    let mut writers: HashMap<u8, OwnedWriteHalf> = HashMap::new();
    for (index, port) in forward.ports.iter().enumerate() {
        let Ok(data) = u8::try_from(index * 2) else { break };
        // The first message of each channel names its port.
        for channel in [data, data + 1] {
            if sink.send(version.message(channel, &port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        match (forward.dial)(*port).await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                writers.insert(data, write);
                readers.spawn(format!("port {port}"), pass_back(read, version, data, sender.clone()));
            }
            Err(err) => {
                let text = refusal(forward, *port, &err);
                if sink.send(version.message(data + 1, text.as_bytes())).await.is_err() {
                    return;
                }
            }
        }
    }
    // The queue ends with the last port.
    drop(sender);
    let outgoing = async {
        while let Some(message) = receiver.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // A client that is gone needs no farewell.
        let _ = sink.close().await;
    };
    let incoming = pass_on(source, version, writers);
    tokio::pin!(incoming);
    tokio::select! {
        () = &mut incoming => return,
        () = outgoing => {}
    }
    // What the client still sends is taken, so that the last words reach it.
    let _ = tokio::time::timeout(LINGER, incoming).await;
}

/// Passes on what a port says.
async fn pass_back(mut port: OwnedReadHalf, version: Version, channel: u8, sender: mpsc::Sender<Message>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = port.read(&mut chunk).await {
        if sender.send(version.message(channel, &chunk[..count])).await.is_err() {
            return;
        }
    }
}

/// Passes on what the client sends, until it leaves.
async fn pass_on(mut source: SplitStream<Socket>, version: Version, mut writers: HashMap<u8, OwnedWriteHalf>) {
    while let Some(Ok(message)) = source.next().await {
        match message {
            Message::Close(_) => return,
            message => pass(&mut writers, version.read(message)).await,
        }
    }
}

async fn pass(writers: &mut HashMap<u8, OwnedWriteHalf>, message: Option<(u8, Bytes)>) {
    let Some((channel, payload)) = message else { return };
    if let Some(writer) = writers.get_mut(&channel)
        && writer.write_all(&payload).await.is_err()
    {
        writers.remove(&channel);
    }
}
