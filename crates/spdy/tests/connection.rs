//! Two ends of a connection, and one end against hand-made frames.

use bytes::BytesMut;
use skiff_spdy::frame::{Decoder, Encoder, Frame, SETTINGS_INITIAL_WINDOW_SIZE, status};
use skiff_spdy::{Connection, Driver, Headers, MAX_STREAMS, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Runs the drivers of both ends beside `work`.
async fn both<T>(work: impl AsyncFnOnce(Connection, Connection) -> T) -> T {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let (client, client_driver) = Connection::new(near, Role::Client);
    let (server, server_driver) = Connection::new(far, Role::Server);
    let drive = async { tokio::join!(client_driver.run(), server_driver.run()) };
    let (result, ends) = tokio::join!(work(client, server), drive);
    ends.0.expect("the client's end is fine");
    ends.1.expect("the server's end is fine");
    result
}

#[tokio::test]
async fn streams_carry_bytes_both_ways() {
    both(async |client, server| {
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 / 3) as u8).collect();
        let echo = async {
            let incoming = server.accept().await.expect("a stream");
            assert_eq!(incoming.headers().get("streamType"), Some("data"));
            let (mut read, mut write) = tokio::io::split(incoming.accept());
            tokio::io::copy(&mut read, &mut write).await.expect("echoed");
            write.shutdown().await.expect("finished");
            // The other end has not finished reading when this one goes away.
            read
        };
        let ask = async {
            let stream = client.open(Headers::new().with("streamType", "data")).expect("a stream");
            stream.taken().await.expect("taken");
            let (mut read, mut write) = tokio::io::split(stream);
            let write = async {
                write.write_all(&sent).await.expect("written");
                write.shutdown().await.expect("finished");
            };
            let mut received = Vec::new();
            let (_, count) = tokio::join!(write, read.read_to_end(&mut received));
            count.expect("read");
            received
        };
        let (received, _read) = tokio::join!(ask, echo);
        assert!(received == sent);
    })
    .await;
}

#[tokio::test]
async fn a_refused_stream_is_an_error_and_others_go_on() {
    both(async |client, server| {
        let (first, second) = (client.open(Headers::new()).expect("one"), client.open(Headers::new()).expect("two"));
        drop(server.accept().await.expect("the first"));
        let mut taken = server.accept().await.expect("the second").accept();
        assert!(first.taken().await.is_err());
        second.taken().await.expect("taken");
        taken.write_all(b"last words").await.expect("written");
        taken.shutdown().await.expect("finished");
        server.close();
        let mut text = String::new();
        let mut second = second;
        second.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "last words");
        assert!(second.write_all(b"x").await.is_err() || client.accept().await.is_none());
    })
    .await;
}

/// A peer made of frames.
struct Peer {
    io: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
    input: BytesMut,
}

impl Peer {
    fn new() -> (Self, Connection, Driver<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        let (server, driver) = Connection::new(far, Role::Server);
        let peer = Self { io: near, encoder: Encoder::default(), decoder: Decoder::default(), input: BytesMut::new() };
        (peer, server, driver)
    }

    async fn send(&mut self, frames: &[Frame]) {
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| self.encoder.encode(frame, &mut wire));
        self.io.write_all(&wire).await.expect("sent");
    }

    async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.input).expect("frames") {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.input).await.expect("read") == 0 {
                return None;
            }
        }
    }
}

fn open(stream: u32) -> Frame {
    let headers = Headers::new().with("a", "b");
    Frame::SynStream { stream, associated: 0, priority: 0, fin: false, unidirectional: false, headers }
}

/// Drives `driver` while `work` runs, and cuts it off then.
async fn beside<T>(driver: Driver<DuplexStream>, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => result,
        _ = driver.run() => work.await,
    }
}

#[tokio::test]
async fn pings_are_answered_and_bad_frames_refused() {
    let (mut peer, server, driver) = Peer::new();
    beside(driver, async {
        peer.send(&[Frame::Ping(1), Frame::Ping(2), Frame::Ping(3)]).await;
        assert_eq!(peer.receive().await, Some(Frame::Ping(1)));
        assert_eq!(peer.receive().await, Some(Frame::Ping(3)));
        let data = Frame::Data { stream: 9, fin: false, data: vec![1].into() };
        peer.send(&[data, open(2), open(5), open(5), open(3)]).await;
        for (stream, status) in [
            (9, status::INVALID_STREAM),
            (2, status::PROTOCOL_ERROR),
            (5, status::PROTOCOL_ERROR),
            (3, status::PROTOCOL_ERROR),
        ] {
            assert_eq!(peer.receive().await, Some(Frame::RstStream { stream, status }));
        }
        peer.io.write_all(&[0x80, 9, 0, 0, 0, 0, 0, 0]).await.expect("sent");
        assert_eq!(peer.receive().await, Some(Frame::GoAway { last_good: 5, status: 1 }));
        assert_eq!(peer.receive().await, None);
        // What was opened before is still there to be looked at.
        assert_eq!(server.accept().await.map(|incoming| incoming.id()), Some(5));
        assert!(server.accept().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_window_holds_once_the_peer_has_shown_one() {
    let (mut peer, server, driver) = Peer::new();
    beside(driver, async {
        peer.send(&[Frame::Settings(vec![(SETTINGS_INITIAL_WINDOW_SIZE, 10)]), open(1)]).await;
        let mut stream = server.accept().await.expect("a stream").accept();
        assert!(matches!(peer.receive().await, Some(Frame::SynReply { stream: 1, fin: false, .. })));
        let write = stream.write_all(b"0123456789abcdefghij");
        let read = async {
            let piece = |text: &'static [u8]| Some(Frame::Data { stream: 1, fin: false, data: text.into() });
            assert_eq!(peer.receive().await, piece(b"0123456789"));
            // Nothing more comes before the window grows: the answer to a ping is next.
            peer.send(&[Frame::Ping(7)]).await;
            assert_eq!(peer.receive().await, Some(Frame::Ping(7)));
            peer.send(&[Frame::WindowUpdate { stream: 1, delta: 4 }]).await;
            assert_eq!(peer.receive().await, piece(b"abcd"));
            peer.send(&[Frame::WindowUpdate { stream: 1, delta: 100 }]).await;
            assert_eq!(peer.receive().await, piece(b"efghij"));
        };
        let (written, ()) = tokio::join!(write, read);
        written.expect("written");
    })
    .await;
}

#[tokio::test]
async fn without_a_sign_of_windows_there_is_none() {
    let (mut peer, server, driver) = Peer::new();
    beside(driver, async {
        peer.send(&[open(1)]).await;
        let mut stream = server.accept().await.expect("a stream").accept();
        let content = vec![0; 700_000];
        let read = async {
            let mut left = content.len();
            while left > 0 {
                if let Some(Frame::Data { data, .. }) = peer.receive().await {
                    left -= data.len();
                }
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&content), read);
        written.expect("written");
    })
    .await;
}

#[tokio::test]
async fn what_is_read_is_acknowledged_and_what_is_not_holds_the_peer() {
    let (mut peer, server, driver) = Peer::new();
    beside(driver, async {
        peer.send(&[open(1)]).await;
        let mut stream = server.accept().await.expect("a stream").accept();
        peer.receive().await.expect("the reply");
        // Far more than is buffered, and more than the pipe holds: it gets through only as it is read.
        let frame = Frame::Data { stream: 1, fin: false, data: vec![5; 100_000].into() };
        let frames = vec![frame; 20];
        let mut received = vec![0; 2_000_000];
        let (_, read) = tokio::join!(peer.send(&frames), stream.read_exact(&mut received));
        read.expect("read");
        let mut acknowledged = [0, 0];
        while acknowledged.iter().any(|count| *count < 1_960_000) {
            match peer.receive().await {
                Some(Frame::WindowUpdate { stream, delta }) => acknowledged[stream as usize] += delta,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn only_so_many_streams_are_taken() {
    let (mut peer, server, driver) = Peer::new();
    beside(driver, async {
        let limit = u32::try_from(MAX_STREAMS).expect("a small number");
        let frames: Vec<Frame> = (0..=limit).map(|n| open(n * 2 + 1)).collect();
        peer.send(&frames).await;
        let refused = Frame::RstStream { stream: limit * 2 + 1, status: status::REFUSED_STREAM };
        assert_eq!(peer.receive().await, Some(refused));
        let first = server.accept().await.expect("a stream").accept();
        assert!(matches!(peer.receive().await, Some(Frame::SynReply { stream: 1, .. })));
        drop(first);
        assert_eq!(peer.receive().await, Some(Frame::RstStream { stream: 1, status: status::CANCEL }));
    })
    .await;
}
