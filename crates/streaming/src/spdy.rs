//! Remote commands over SPDY: a stream for the errors and for each of the process's, and one for the terminal's size.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;
use spdy::{Connection, Incoming, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::channels::Size;
use super::session::{CHUNK, Input, Output, Resize, Streams, Wanted, conclude};
use super::status::failure;

/// How long a client may take to open its streams.
pub(super) const OPEN_TIME: Duration = Duration::from_secs(30);

/// The header that names a stream's purpose.
pub(super) const STREAM_TYPE: &str = "streamType";

/// The longest description of a terminal's size.
const MAX_SIZE: usize = 1024;

/// How the end of the command is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// As text, and only where it went wrong. (The first three versions.)
    Text,
    /// As a `Status`.
    Status,
}

/// What is spoken here.
pub(super) const SPOKEN: &[(&str, Version)] = &[
    ("v4.channel.k8s.io", Version::Status),
    ("v3.channel.k8s.io", Version::Text),
    ("v2.channel.k8s.io", Version::Text),
    ("channel.k8s.io", Version::Text),
];

/// The first of those that a client offers which is in `spoken`.
pub(super) fn choose<'a>(
    offered: impl IntoIterator<Item = &'a HeaderValue>,
    spoken: &[(&'static str, Version)],
) -> Option<(&'static str, Version)> {
    let values = offered.into_iter().filter_map(|value| value.to_str().ok());
    let mut names = values.flat_map(|value| value.split(',')).map(str::trim);
    names.find_map(|offered| spoken.iter().copied().find(|(name, _)| *name == offered))
}

/// A client that has opened its streams.
pub(super) struct RemoteCommand {
    connection: Connection,
    version: Version,
    error: Stream,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

/// Waits until the client has opened the streams that it wants; `None` where it does not.
pub(super) async fn accept(connection: Connection, version: Version, wanted: Wanted) -> Option<RemoteCommand> {
    let (mut error, mut stdin, mut stdout, mut stderr, mut resize) = (None, None, None, None, None);
    let open = async {
        while error.is_none()
            || (wanted.stdin && stdin.is_none())
            || (wanted.stdout && stdout.is_none())
            || (wanted.stderr && stderr.is_none())
        {
            let incoming = connection.accept().await?;
            let (slot, is_wanted) = match incoming.headers().get(STREAM_TYPE) {
                Some("error") => (&mut error, true),
                Some("stdin") => (&mut stdin, wanted.stdin),
                Some("stdout") => (&mut stdout, wanted.stdout),
                Some("stderr") => (&mut stderr, wanted.stderr),
                Some("resize") => (&mut resize, true),
                // It is refused.
                _ => continue,
            };
            if is_wanted && slot.is_none() {
                *slot = Some(incoming.accept());
            }
        }
        Some(())
    };
    tokio::time::timeout(OPEN_TIME, open).await.ok().flatten()?;
    Some(RemoteCommand { error: error?, connection, version, stdin, stdout, stderr, resize })
}

/// [`super::session::run`] for a client that speaks SPDY.
pub(super) async fn run(remote: RemoteCommand, streams: Streams, end: impl Future<Output = Value>) {
    // All of them stay open until the connection ends: to reset one earlier could cost what is on its way.
    let RemoteCommand { connection, version, mut error, stdin, mut stdout, mut stderr, resize } = remote;
    let outputs = async {
        tokio::join!(pass_output(streams.stdout, &mut stdout), pass_output(streams.stderr, &mut stderr));
    };
    let conversation = async {
        let status = conclude(outputs, end).await;
        let text = match version {
            Version::Status => status.to_string(),
            Version::Text => failure(&status).unwrap_or_default().to_owned(),
        };
        // A client that is gone needs no answer.
        let _ = error.write_all(text.as_bytes()).await;
        let _ = error.shutdown().await;
    };
    let input = async {
        tokio::join!(pass_input(stdin, streams.stdin), pass_sizes(&connection, resize, streams.resize.as_ref()),);
    };
    tokio::select! {
        () = conversation => {}
        () = input => {}
    }
    connection.close();
}

async fn pass_output(source: Option<Output>, target: &mut Option<Stream>) {
    if let (Some(mut source), Some(target)) = (source, target) {
        // Either side may end it.
        let _ = tokio::io::copy(&mut source, target).await;
        let _ = target.shutdown().await;
    }
}

async fn pass_input(source: Option<Stream>, mut target: Option<Input>) {
    let Some(mut source) = source else { return };
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = source.read(&mut chunk).await {
        if let Some(writer) = &mut target
            && writer.write_all(&chunk[..count]).await.is_err()
        {
            // The process reads no more; what comes is still taken, for the other streams' sake.
            target = None;
        }
    }
}

/// Sets the terminal's size as the client says, on the first stream or on one that it opens later. Ends with the
/// connection.
async fn pass_sizes(connection: &Connection, mut source: Option<Stream>, set: Option<&Resize>) {
    loop {
        let next = async {
            loop {
                let incoming: Option<Incoming> = connection.accept().await;
                if incoming.as_ref().is_none_or(|incoming| incoming.headers().get(STREAM_TYPE) == Some("resize")) {
                    return incoming;
                }
            }
        };
        let sizes = async {
            if let Some(source) = &mut source {
                follow_sizes(source, set).await;
            }
            std::future::pending::<()>().await;
        };
        let next = tokio::select! {
            next = next => next,
            () = sizes => None,
        };
        match next {
            Some(incoming) => source = Some(incoming.accept()),
            None => return,
        }
    }
}

async fn follow_sizes(source: &mut Stream, set: Option<&Resize>) {
    let mut text = Vec::new();
    let mut chunk = [0; MAX_SIZE];
    while let Ok(count @ 1..) = source.read(&mut chunk).await {
        text.extend_from_slice(&chunk[..count]);
        let mut sizes = serde_json::Deserializer::from_slice(&text).into_iter::<Size>();
        let last = sizes.by_ref().map_while(Result::ok).last();
        let used = sizes.byte_offset();
        text.drain(..used);
        if text.len() > MAX_SIZE {
            return;
        }
        if let (Some(size), Some(set)) = (last, set) {
            set(size.width, size.height);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offered: &[&'static str], expected: Option<&str>) {
        let offered: Vec<HeaderValue> = offered.iter().copied().map(HeaderValue::from_static).collect();
        assert_eq!(choose(&offered, SPOKEN).map(|(name, _)| name), expected);
    }

    #[test]
    fn the_clients_first_choice_counts() {
        check(&["v4.channel.k8s.io", "v3.channel.k8s.io", "channel.k8s.io"], Some("v4.channel.k8s.io"));
        check(&["v9.channel.k8s.io", "v2.channel.k8s.io, v4.channel.k8s.io"], Some("v2.channel.k8s.io"));
        check(&["portforward.k8s.io"], None);
        check(&[], None);
    }
}
