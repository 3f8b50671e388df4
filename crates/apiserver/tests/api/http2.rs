//! HTTP/2 as no client of a library would speak it.

use crate::credentials::get;
use crate::metrics::until;
use crate::support::{Cluster, DEADLINE, Secured};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const DATA: u8 = 0;
const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that both sides do not keep.
fn header(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("it is short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The whole head of a GET.
fn request(path: &str) -> Vec<u8> {
    [header(":method", "GET"), header(":scheme", "https"), header(":authority", "x"), header(":path", path)].concat()
}

/// A connection on which both sides have said that they speak HTTP/2.
pub async fn connect(cluster: &Cluster) -> Secured {
    let mut connection = cluster.connect_http2("admin", &["system:masters"]).await;
    let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
    connection.write_all(&hello).await.expect("it is open");
    connection
}

/// Says of settings what they are from now on.
pub async fn settings(connection: &mut Secured, settings: &[(u16, u32)]) {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    connection.write_all(&frame(SETTINGS, 0, 0, &payload)).await.expect("it is open");
}

/// Gets a path on a new stream.
pub async fn open(connection: &mut Secured, stream: u32, path: &str) {
    let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, &request(path));
    connection.write_all(&open).await.expect("it is open");
}

/// Lets so many bytes more come on a stream.
pub async fn window(connection: &mut Secured, stream: u32, bytes: u32) {
    connection.write_all(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await.expect("it is open");
}

/// A frame.
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    payload: Vec<u8>,
}

/// The next frame; `None` when the connection has ended.
pub async fn next(connection: &mut Secured) -> Option<Frame> {
    let read = async {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        connection.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload })
    };
    tokio::time::timeout(DEADLINE, read).await.expect("in time")
}

#[tokio::test]
async fn a_connection_has_so_many_streams_and_no_more() {
    let cluster = Cluster::start_with(|config| config.connections.streams = 5).await;
    let mut connection = connect(&cluster).await;
    let watch = "/api/v1/configmaps?watch=1";
    for stream in 0..6 {
        open(&mut connection, 2 * stream + 1, watch).await;
    }
    loop {
        let Frame { kind, stream, payload } = next(&mut connection).await.expect("it goes on");
        match kind {
            // Setting 3 is the most streams.
            SETTINGS if !payload.is_empty() => {
                assert!(payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 5]), "{payload:?}");
            }
            RST_STREAM => {
                assert_eq!((stream, payload), (11, REFUSED_STREAM.to_be_bytes().to_vec()));
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_leave_nothing() {
    let cluster = Cluster::start().await;
    let mut connection = connect(&cluster).await;
    let watch = request("/api/v1/configmaps?watch=1");
    for stream in 0..5000 {
        let open = frame(HEADERS, END_STREAM | END_HEADERS, 2 * stream + 1, &watch);
        let reset = frame(RST_STREAM, 0, 2 * stream + 1, &8_u32.to_be_bytes());
        // The server may have had enough before.
        if connection.write_all(&[open, reset].concat()).await.is_err() {
            break;
        }
    }
    cluster.raw(cluster.connect_anonymous().await, &get("/version", "")).await.expect(200);
    let open = r#"component="apiserver",group="",resource="configmaps",scope="cluster",subresource="",verb="WATCH",version="v1""#;
    drop(connection);
    if crate::metrics::metric(&cluster, "apiserver_longrunning_requests", open).await.is_some() {
        until(&cluster, "apiserver_longrunning_requests", open, 0.0).await;
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_kept() {
    let cluster = Cluster::start().await;
    let mut connection = connect(&cluster).await;
    let filling: Vec<u8> = (0..150).flat_map(|_| header("x-filling", &"x".repeat(90))).collect();
    connection.write_all(&frame(HEADERS, END_STREAM, 1, &request("/version"))).await.expect("it is open");
    let mut sent = 0;
    let pushes = async {
        // A hundred times what a head may have.
        while sent < 100 * 1024 * 1024 {
            if connection.write_all(&frame(CONTINUATION, 0, 1, &filling)).await.is_err() {
                return;
            }
            sent += filling.len();
        }
        panic!("all of it was taken");
    };
    tokio::time::timeout(DEADLINE, pushes).await.expect("in time");
    while let Some(Frame { kind, payload, .. }) = next(&mut connection).await {
        assert!(kind != GOAWAY || payload[4..8] != [0; 4], "the connection ends with an error");
    }
}
