//! SPDY in the binary messages of a WebSocket, as newer clients ask for it where they forward ports.

use bytes::{Buf, Bytes};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Before the name of the protocol that is spoken on SPDY's streams, in the name of a subprotocol.
pub const PREFIX: &str = "SPDY/3.1+";

/// How much is read at once.
const CHUNK: usize = 32 * 1024;

/// Carries SPDY's bytes until either end leaves.
pub async fn carry<C, S>(client: WebSocketStream<C>, server: S)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let (mut sink, mut source) = client.split();
    let (mut read, mut write) = tokio::io::split(server);
    // Pings are answered while the source is read; the answers go out with what is sent next, or here.
    let (answers, mut answered) = tokio::sync::mpsc::channel::<Bytes>(1);
    let to_server = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(mut data) => {
                    if data.has_remaining() && write.write_all_buf(&mut data).await.is_err() {
                        return;
                    }
                }
                // One that is still waiting will do.
                Message::Ping(data) => drop(answers.try_send(data)),
                Message::Close(_) => return,
                Message::Text(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    };
    let to_client = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let message = tokio::select! {
                read = read.read(&mut chunk) => match read {
                    Ok(count @ 1..) => Message::Binary(Bytes::copy_from_slice(&chunk[..count])),
                    Ok(_) | Err(_) => break,
                },
                Some(data) = answered.recv() => Message::Pong(data),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // The client may be gone.
        let _ = sink.close().await;
    };
    tokio::select! {
        () = to_server => {}
        () = to_client => {}
    }
    let _ = write.shutdown().await;
}
