//! Exec, attach and port forwarding by WebSocket.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::skip_without_privileges;
use crate::spdy_streams;
use crate::support::{Host, container, strings};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<TcpStream>;

async fn connect(url: &str, protocol: &'static str) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
    let url = url.replacen("http://", "ws://", 1);
    let mut request = url.as_str().into_client_request().expect("a valid address");
    if !protocol.is_empty() {
        request.headers_mut().insert("Sec-WebSocket-Protocol", http::HeaderValue::from_static(protocol));
    }
    let host = request.uri().authority().expect("it has one").as_str().to_owned();
    let stream = TcpStream::connect(host).await.expect("somebody listens");
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

/// Everything that comes on the channels until the end: per channel.
async fn collect(socket: &mut Socket) -> [String; 4] {
    let mut channels: [String; 4] = Default::default();
    loop {
        let message = tokio::time::timeout(DEADLINE, socket.next()).await.expect("in time");
        match message {
            Some(Ok(Message::Binary(data))) => {
                channels[usize::from(data[0])].push_str(&String::from_utf8_lossy(&data[1..]));
            }
            Some(Ok(Message::Close(_))) | None => return channels,
            Some(Ok(_)) => {}
            Some(Err(err)) => panic!("{err}"),
        }
    }
}

async fn send(socket: &mut Socket, channel: u8, text: &[u8]) {
    let mut message = vec![channel];
    message.extend_from_slice(text);
    socket.send(Message::Binary(message.into())).await.expect("sent");
}

fn exec(id: &str, cmd: &[&str], tty: bool) -> cri::ExecRequest {
    cri::ExecRequest { container_id: id.to_owned(), cmd: strings(cmd), tty, stdin: true, stdout: true, stderr: !tty }
}

#[tokio::test]
async fn a_command_may_print_what_nobody_reads() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("unread").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let much = "head -c 300000 /dev/zero";
    let errors = format!("{much} >&2 || exit 8; echo out; exit 9");
    let terminal = format!("{much}; exit 9");
    for (script, tty, stdout, expected) in [(&errors, false, true, "out\n"), (&terminal, true, false, "")] {
        let mut request = exec(&id, &["/bin/sh", "-c", script], tty);
        (request.stdin, request.stdout, request.stderr) = (tty, stdout, false);
        let url = host.runtime.exec(request).await.expect("an address").into_inner().url;
        let mut socket = connect(&url, "v5.channel.k8s.io").await.expect("connected");
        let [_, stdout, stderr, error] = collect(&mut socket).await;
        assert_eq!((stdout.as_str(), stderr.as_str()), (expected, ""), "{script}");
        let status: serde_json::Value = serde_json::from_str(&error).expect("a status");
        assert_eq!(status["details"]["causes"][0]["message"], "9", "{script}: {error}");
    }
}

#[tokio::test]
async fn a_command_is_run_over_a_websocket() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("ws").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let request = exec(&id, &["/bin/sh", "-c", "cat; echo bad >&2; exit 9"], false);
    let url = host.runtime.exec(request).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "v5.channel.k8s.io").await.expect("connected");
    send(&mut socket, 0, b"hello ").await;
    send(&mut socket, 0, b"there").await;
    send(&mut socket, 255, &[0]).await;
    let [_, stdout, stderr, error] = collect(&mut socket).await;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("hello there", "bad\n"));
    let status: serde_json::Value = serde_json::from_str(&error).expect("a status");
    assert_eq!((status["status"].as_str(), status["reason"].as_str()), (Some("Failure"), Some("NonZeroExitCode")));
    assert_eq!(status["details"]["causes"][0]["message"], "9");
    // The address is good for one connection.
    assert!(connect(&url, "v5.channel.k8s.io").await.is_err());
    let request = exec(&id, &["/no/such"], false);
    let url = host.runtime.exec(request).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "v4.channel.k8s.io").await.expect("connected");
    let [.., error] = collect(&mut socket).await;
    assert!(error.contains("no such file or directory") && error.contains("InternalError"), "{error}");
}

#[tokio::test]
async fn clients_of_the_first_years_are_served() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("old").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let request = || exec(&id, &["/bin/sh", "-c", "read line; echo got $line; exit 9"], false);
    let url = host.runtime.exec(request()).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "base64.channel.k8s.io").await.expect("connected");
    // "word\n" in base64, on channel 0.
    socket.send(Message::text("0d29yZAo=")).await.expect("sent");
    let mut texts = Vec::new();
    while let Some(Ok(Message::Text(text))) = tokio::time::timeout(DEADLINE, socket.next()).await.expect("in time") {
        texts.push(text.to_string());
    }
    // First the empty message, then "got word\n", then the end as text: there was no Status yet.
    assert_eq!(texts[..2], ["1", "1Z290IHdvcmQK"]);
    let (channel, end) = texts[2].split_at(1);
    assert_eq!((channel, texts.len()), ("3", 3));
    let end = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, end).expect("base64");
    assert!(String::from_utf8_lossy(&end).ends_with("exit code 9"), "{end:?}");

    let url = host.runtime.exec(request()).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "").await.expect("connected");
    send(&mut socket, 0, b"word\n").await;
    let [_, stdout, _, error] = collect(&mut socket).await;
    assert!(stdout == "got word\n" && error.ends_with("exit code 9"), "{stdout:?} {error:?}");
    let url = host.runtime.exec(request()).await.expect("an address").into_inner().url;
    assert!(connect(&url, "v9.channel.k8s.io").await.is_err());
}

#[tokio::test]
async fn a_terminal_has_a_size_and_an_echo() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("tty").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let url = host.runtime.exec(exec(&id, &["/bin/sh"], true)).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "v5.channel.k8s.io").await.expect("connected");
    send(&mut socket, 4, br#"{"Width":101,"Height":33}"#).await;
    send(&mut socket, 0, b"stty size\nexit 0\n").await;
    let [_, stdout, _, error] = collect(&mut socket).await;
    assert!(stdout.contains("33 101") && stdout.contains("stty size"), "{stdout:?}");
    assert!(error.contains("Success"), "{error}");
}

#[tokio::test]
async fn a_client_takes_part_in_the_containers_own_process() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("attach").await;
    let mut config = container(&sandbox.1, "c", "while read line; do echo got $line; done; echo end of input");
    (config.stdin, config.stdin_once) = (true, true);
    let id = host.run(&sandbox, config).await;
    let request = cri::AttachRequest { container_id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let url = host.runtime.attach(request).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "v5.channel.k8s.io").await.expect("connected");
    // The first message says that everything is connected.
    socket.next().await.expect("a message").expect("no error");
    send(&mut socket, 0, b"one\n").await;
    loop {
        let message = socket.next().await.expect("a message").expect("no error");
        if String::from_utf8_lossy(&message.into_data()).contains("got one") {
            break;
        }
    }
    // The input ends with what the client has to say; the client hears the rest.
    send(&mut socket, 255, &[0]).await;
    let [_, stdout, _, error] = collect(&mut socket).await;
    assert!(stdout.contains("end of input") && error.contains("Success"), "{stdout:?} {error:?}");
    assert_eq!(host.exited(&id).await.exit_code, 0);
    let mut config = container(&sandbox.1, "terminal", "read line; echo got $line; stty size");
    (config.stdin, config.tty) = (true, true);
    let id = host.run(&sandbox, config).await;
    let request = cri::AttachRequest { container_id: id.clone(), stdin: true, tty: true, stdout: true, stderr: false };
    let url = host.runtime.attach(request).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "v4.channel.k8s.io").await.expect("connected");
    socket.next().await.expect("a message").expect("no error");
    send(&mut socket, 4, br#"{"Width":90,"Height":20}"#).await;
    send(&mut socket, 0, b"two\n").await;
    let [_, stdout, ..] = collect(&mut socket).await;
    assert!(stdout.contains("got two") && stdout.contains("20 90"), "{stdout:?}");
    assert!(host.log_with("terminal", "20 90").await.contains("stdout F got two"));
}

#[tokio::test]
async fn ports_of_a_pod_are_reached() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("ports").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    // The pod is in the machine's network, so this listener is as good as one of a container's.
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).expect("read");
        stream.write_all(&buffer).expect("written");
    });
    let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.0.clone(), port: vec![port.into()] };
    let url = host.runtime.port_forward(request).await.expect("an address").into_inner().url;
    let mut socket = connect(&url, "v4.channel.k8s.io").await.expect("connected");
    send(&mut socket, 0, b"ping").await;
    // The first message names the port; the conversation ends with what the port says.
    let [data, ..] = collect(&mut socket).await;
    assert_eq!(data, [&*String::from_utf8_lossy(&port.to_le_bytes()), "ping"].concat());
    server.join().expect("the server is fine");
}

#[tokio::test]
async fn ports_are_reached_over_spdy_in_a_websocket() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("tunnel").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    // The pod is in the machine's network, so this listener is as good as one of a container's: an echo.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.0.clone(), port: Vec::new() };
    let url = host.runtime.port_forward(request).await.expect("an address").into_inner().url;
    let socket = connect(&url, "SPDY/3.1+portforward.k8s.io").await.expect("connected");
    let (inner, outer) = tokio::io::duplex(1 << 16);
    let carried = tokio::spawn(spdy::tunnel::carry(socket, outer));
    let (connection, driver) = spdy::Connection::new(inner, spdy::Role::Client);
    tokio::spawn(driver.run());
    for request in ["0", "1"] {
        let headers = |kind| [("streamType", kind), ("port", port.as_str()), ("requestID", request)];
        let mut error = spdy_streams::open(&connection, &headers("error")).await;
        error.shutdown().await.expect("finished");
        let data = spdy_streams::open(&connection, &headers("data")).await;
        // More than any buffer on the way.
        let sent = "0123456789abcdef".repeat(20_000);
        let (mut read, mut write) = tokio::io::split(data);
        let send = async {
            write.write_all(sent.as_bytes()).await.expect("written");
            write.shutdown().await.expect("finished");
        };
        let mut received = String::new();
        let receive = tokio::time::timeout(DEADLINE, read.read_to_string(&mut received));
        let ((), read) = tokio::join!(send, receive);
        read.expect("in time").expect("read");
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
        assert_eq!(spdy_streams::all(&mut error).await, "");
    }
    drop(connection);
    tokio::time::timeout(DEADLINE, carried).await.expect("it ends with the client").expect("no panic");
}
