//! Port forwarding over WebSocket: two channels for each port that the address names, data and errors as text.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::super::channels::frame;
use super::super::server::Socket;
use super::connect;
use crate::sandbox::Sandbox;

/// Messages that may wait for a slow client.
const QUEUE: usize = 16;

/// Connects the client's channels with the ports until it leaves.
pub(in crate::streaming) async fn run(sandbox: &Sandbox, ports: &[u16], socket: Socket) {
    let (mut sink, mut source) = socket.split();
    let (sender, mut receiver) = mpsc::channel::<Message>(QUEUE);
    let mut readers = base::Tasks::new();
    let mut writers: HashMap<u8, OwnedWriteHalf> = HashMap::new();
    for (index, port) in ports.iter().enumerate() {
        let Ok(data) = u8::try_from(index * 2) else { break };
        // The first message of each channel names its port.
        for channel in [data, data + 1] {
            if sink.send(Message::Binary(frame(channel, &port.to_le_bytes()))).await.is_err() {
                return;
            }
        }
        match connect(sandbox, *port).await {
            Ok(stream) => {
                let (mut read, write) = stream.into_split();
                writers.insert(data, write);
                let sender = sender.clone();
                readers.spawn(format!("port {port}"), async move {
                    let mut chunk = vec![0; 32 * 1024];
                    while let Ok(count @ 1..) = read.read(&mut chunk).await {
                        if sender.send(Message::Binary(frame(data, &chunk[..count]))).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Err(err) => {
                let text = format!("failed to connect to port {port} of the pod: {err}");
                if sink.send(Message::Binary(frame(data + 1, text.as_bytes()))).await.is_err() {
                    return;
                }
            }
        }
    }
    loop {
        tokio::select! {
            message = source.next() => match message {
                Some(Ok(Message::Binary(data))) => pass(&mut writers, data).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            Some(message) = receiver.recv() => {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn pass(writers: &mut HashMap<u8, OwnedWriteHalf>, mut data: Bytes) {
    if data.is_empty() {
        return;
    }
    let payload = data.split_off(1);
    let channel = data[0];
    if let Some(writer) = writers.get_mut(&channel)
        && writer.write_all(&payload).await.is_err()
    {
        writers.remove(&channel);
    }
}
