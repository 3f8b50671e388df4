//! Exec, attach and port forwarding by SPDY, as client-go opens its streams.

use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use spdy::{Connection, Headers, Role, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::skip_without_privileges;
use crate::support::{Host, container, strings};

const LIMIT: Duration = Duration::from_secs(30);

/// Switches to SPDY; the connection and the protocol that the server has chosen, or the status of its refusal.
pub async fn connect(url: &str, protocols: &[&str]) -> Result<(Connection, Option<String>), u16> {
    let url: http::Uri = url.parse().expect("an address");
    let stream = TcpStream::connect(url.authority().expect("it has one").as_str()).await.expect("somebody listens");
    let (mut sender, connection) =
        http1::handshake::<_, String>(TokioIo::new(stream)).await.expect("a fresh connection");
    tokio::spawn(connection.with_upgrades());
    let mut request = http::Request::post(url.path()).header("Connection", "Upgrade").header("Upgrade", "SPDY/3.1");
    for protocol in protocols {
        request = request.header("X-Stream-Protocol-Version", *protocol);
    }
    let answer = sender.send_request(request.body(String::new()).expect("a request")).await.expect("an answer");
    if answer.status() != 101 {
        return Err(answer.status().as_u16());
    }
    let chosen = answer.headers().get("X-Stream-Protocol-Version").and_then(|name| name.to_str().ok());
    let chosen = chosen.map(str::to_owned);
    let upgraded = hyper::upgrade::on(answer).await.expect("upgraded");
    let (connection, driver) = Connection::new(TokioIo::new(upgraded), Role::Client);
    tokio::spawn(driver.run());
    Ok((connection, chosen))
}

pub async fn open(connection: &Connection, headers: &[(&str, &str)]) -> Stream {
    let headers = headers.iter().fold(Headers::new(), |headers, (name, value)| headers.with(name, *value));
    let stream = connection.open(headers).expect("a stream");
    tokio::time::timeout(LIMIT, stream.taken()).await.expect("in time").expect("taken");
    stream
}

pub async fn typed(connection: &Connection, kind: &str) -> Stream {
    open(connection, &[("streamType", kind)]).await
}

pub async fn all(stream: &mut Stream) -> String {
    let mut text = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut text)).await.expect("in time").expect("read");
    text
}

fn exec(id: &str, script: &str, tty: bool) -> cri::ExecRequest {
    let cmd = strings(&["/bin/sh", "-c", script]);
    cri::ExecRequest { container_id: id.to_owned(), cmd, tty, stdin: true, stdout: true, stderr: !tty }
}

#[tokio::test]
async fn a_command_is_run_over_spdy() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("spdy").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let offered = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

    let request = exec(&id, "cat; echo bad >&2; exit 9", false);
    let url = host.runtime.exec(request).await.expect("an address").into_inner().url;
    let (connection, chosen) = connect(&url, &offered).await.expect("switched");
    assert_eq!(chosen.as_deref(), Some("v4.channel.k8s.io"));
    let mut error = typed(&connection, "error").await;
    let mut stdin = typed(&connection, "stdin").await;
    let (mut stdout, mut stderr) = (typed(&connection, "stdout").await, typed(&connection, "stderr").await);
    // More than any window and buffer on the way.
    let sent = "0123456789abcdef".repeat(100_000);
    let write = async {
        stdin.write_all(sent.as_bytes()).await.expect("written");
        stdin.shutdown().await.expect("finished");
    };
    let (_, received) = tokio::join!(write, all(&mut stdout));
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(all(&mut stderr).await, "bad\n");
    let status: serde_json::Value = serde_json::from_str(&all(&mut error).await).expect("a status");
    assert_eq!(status["details"]["causes"][0]["message"], "9");

    // Older versions tell an error as text, and success by nothing.
    for (script, expected) in [
        ("exit 0", ""),
        (
            "exit 3",
            "command terminated with non-zero exit code: error executing command [/bin/sh -c exit 3], exit code 3",
        ),
    ] {
        let url = host.runtime.exec(exec(&id, script, false)).await.expect("an address").into_inner().url;
        let (connection, _) = connect(&url, &["v2.channel.k8s.io"]).await.expect("switched");
        let mut error = typed(&connection, "error").await;
        let streams =
            [typed(&connection, "stdin").await, typed(&connection, "stdout").await, typed(&connection, "stderr").await];
        assert_eq!(all(&mut error).await, expected);
        drop(streams);
    }

    let url = host.runtime.exec(exec(&id, "exit 0", false)).await.expect("an address").into_inner().url;
    assert_eq!(connect(&url, &["v9.channel.k8s.io"]).await.err(), Some(403));
}

#[tokio::test]
async fn a_terminal_over_spdy_has_a_size() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("spdytty").await;
    let id = host.run(&sandbox, container(&sandbox.1, "c", "sleep 1000")).await;
    let url = host
        .runtime
        .exec(exec(&id, "until stty size | grep '34 102'; do :; done", true))
        .await
        .expect("an address")
        .into_inner()
        .url;
    let (connection, _) = connect(&url, &["v4.channel.k8s.io"]).await.expect("switched");
    let mut error = typed(&connection, "error").await;
    let (_stdin, mut stdout) = (typed(&connection, "stdin").await, typed(&connection, "stdout").await);
    let mut resize = typed(&connection, "resize").await;
    resize.write_all(b"{\"Width\":101,\"Height\":33}\n{\"Width\":102,").await.expect("written");
    resize.write_all(b"\"Height\":34}\n").await.expect("written");
    let printed = all(&mut stdout).await;
    assert!(printed.contains("34 102"), "{printed:?}");
    assert!(all(&mut error).await.contains("Success"));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_attachment_along() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("spdyattach").await;
    let mut config = container(&sandbox.1, "c", "while read line; do echo got $line; done; echo end of input");
    (config.stdin, config.stdin_once) = (true, true);
    let id = host.run(&sandbox, config).await;
    let request = cri::AttachRequest { container_id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let url = host.runtime.attach(request).await.expect("an address").into_inner().url;
    let (connection, _) = connect(&url, &["v4.channel.k8s.io"]).await.expect("switched");
    let streams = (typed(&connection, "error").await, typed(&connection, "stderr").await);
    let (mut stdin, mut stdout) = (typed(&connection, "stdin").await, typed(&connection, "stdout").await);
    stdin.write_all(b"one\n").await.expect("written");
    let mut line = [0; 8];
    stdout.read_exact(&mut line).await.expect("read");
    assert_eq!(&line, b"got one\n");
    drop(connection);
    host.log_with("c", "end of input").await;
    assert_eq!(host.exited(&id).await.exit_code, 0);
    drop(streams);
}

#[tokio::test]
async fn ports_are_reached_over_spdy_many_times() {
    skip_without_privileges!();
    let mut host = Host::start().await;
    host.import_busybox().await;
    let sandbox = host.sandbox("spdyports").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port().to_string();
    // The pod is in the machine's network, so this listener is as good as one of a container's. It says how much it was
    // sent, when all was.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = Vec::new();
                stream.read_to_end(&mut received).await.expect("read");
                stream.write_all(received.len().to_string().as_bytes()).await.expect("written");
            });
        }
    });
    let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.0.clone(), port: Vec::new() };
    let url = host.runtime.port_forward(request).await.expect("an address").into_inner().url;
    let (connection, chosen) = connect(&url, &["portforward.k8s.io"]).await.expect("switched");
    assert_eq!(chosen.as_deref(), Some("portforward.k8s.io"));
    let pair = async |request: &str, port: &str| {
        let headers = |kind| [("streamType", kind), ("port", port), ("requestID", request)];
        let mut error = open(&connection, &headers("error")).await;
        error.shutdown().await.expect("finished");
        (open(&connection, &headers("data")).await, error)
    };
    let talk = async |request: usize| {
        let (mut data, mut error) = pair(&request.to_string(), &port).await;
        data.write_all(&vec![1; 100_000 * request]).await.expect("written");
        data.shutdown().await.expect("finished");
        (all(&mut data).await, all(&mut error).await)
    };
    let (one, two, three) = tokio::join!(talk(1), talk(2), talk(3));
    for ((count, error), expected) in [(one, "100000"), (two, "200000"), (three, "300000")] {
        assert_eq!((count.as_str(), error.as_str()), (expected, ""));
    }
    let (_data, mut error) = pair("9", "1").await;
    let text = all(&mut error).await;
    assert!(text.starts_with("error forwarding port 1 to pod ") && text.contains("refused"), "{text}");
    let bad = connection.open(Headers::new().with("streamType", "data").with("port", "0")).expect("a stream");
    assert!(tokio::time::timeout(LIMIT, bad.taken()).await.expect("in time").is_err());
}
