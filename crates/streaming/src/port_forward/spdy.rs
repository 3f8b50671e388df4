//! Port forwarding over SPDY: for each connection two streams, data and errors as text, that carry the same request ID.

use std::collections::HashMap;
use std::sync::Arc;

use spdy::{Connection, Incoming, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::super::session::{CHUNK, Forward};
use super::super::spdy::{OPEN_TIME, STREAM_TYPE};
use super::{LINGER, refusal};

/// The name of the protocol.
pub(crate) const PROTOCOL: &str = "portforward.k8s.io";

/// Two streams, until both are there.
struct Pair {
    data: Option<Stream>,
    error: Option<Stream>,
    port: u16,
    deadline: Instant,
}

/// Forwards connections until the client leaves.
pub(crate) async fn run(forward: Forward, connection: Connection) {
    let forward = Arc::new(forward);
    let mut pairs: HashMap<String, Pair> = HashMap::new();
    let mut forwards = base::Tasks::new();
    loop {
        let deadline = pairs.values().map(|pair| pair.deadline).min();
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            incoming = connection.accept() => match incoming {
                Some(incoming) => {
                    if let Some((data, error, port)) = paired(&mut pairs, incoming) {
                        let forward = forward.clone();
                        forwards.spawn(format!("port {port}"), async move { serve(&forward, port, data, error).await });
                    }
                }
                None => return,
            },
            // A pair that is not completed is reset.
            () = expired => pairs.retain(|_, pair| Some(pair.deadline) != deadline),
            Some((_, end)) = forwards.join_next(), if !forwards.is_empty() => {
                if let Err(err) = end {
                    tracing::warn!(%err, "a forwarded connection failed");
                }
            }
        }
    }
}

/// The pair that a stream completes. Streams that make no sense are refused.
fn paired(pairs: &mut HashMap<String, Pair>, incoming: Incoming) -> Option<(Stream, Stream, u16)> {
    let headers = incoming.headers();
    let port: u16 = headers.get("port")?.parse().ok().filter(|port| *port != 0)?;
    let is_data = match headers.get(STREAM_TYPE)? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    let request = match headers.get("requestID") {
        Some(request) => request.to_owned(),
        // The oldest clients open the error stream and right after it the data stream.
        None if is_data => (incoming.id().saturating_sub(2)).to_string(),
        None => incoming.id().to_string(),
    };
    let deadline = Instant::now() + OPEN_TIME;
    let pair = pairs.entry(request.clone()).or_insert(Pair { data: None, error: None, port, deadline });
    let slot = if is_data { &mut pair.data } else { &mut pair.error };
    if slot.is_some() || pair.port != port {
        return None;
    }
    *slot = Some(incoming.accept());
    if pair.data.is_none() || pair.error.is_none() {
        return None;
    }
    let pair = pairs.remove(&request)?;
    Some((pair.data?, pair.error?, pair.port))
}

async fn serve(forward: &Forward, port: u16, data: Stream, mut error: Stream) {
    let socket = match (forward.dial)(port).await {
        Ok(socket) => socket,
        Err(err) => {
            // A client that is gone needs no answer.
            let _ = error.write_all(refusal(forward, port, &err).as_bytes()).await;
            let _ = error.shutdown().await;
            return;
        }
    };
    let (mut from_client, mut to_client) = tokio::io::split(data);
    let (mut from_port, to_port) = socket.into_split();
    let receiving = async {
        // Any end of what the port says is the end: clients wait for the streams to close before they close their own.
        let _ = tokio::io::copy(&mut from_port, &mut to_client).await;
        let _ = to_client.shutdown().await;
        let _ = error.shutdown().await;
    };
    let sending = pass_on(&mut from_client, to_port);
    tokio::pin!(receiving, sending);
    let is_there = tokio::select! {
        is_there = &mut sending => {
            if is_there {
                // It has said all and may still listen.
                receiving.await;
            }
            false
        }
        () = &mut receiving => true,
    };
    if is_there {
        // Streams that both ends have finished need no reset.
        let _ = tokio::time::timeout(LINGER, sending).await;
    }
}

/// Passes on what the client sends, and takes it all even if the port reads no more. Whether the client finished the
/// stream, rather than broke it off.
async fn pass_on(from_client: &mut ReadHalf<Stream>, to_port: OwnedWriteHalf) -> bool {
    let mut to_port = Some(to_port);
    let mut chunk = vec![0; CHUNK];
    loop {
        match from_client.read(&mut chunk).await {
            // Dropping the writer tells the port that nothing more comes.
            Ok(0) => return true,
            Ok(count) => {
                if let Some(writer) = &mut to_port
                    && writer.write_all(&chunk[..count]).await.is_err()
                {
                    to_port = None;
                }
            }
            Err(_) => return false,
        }
    }
}
