//! A web server that answers as a test wants it.

use base::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers until it is dropped.
pub struct WebServer {
    /// Where, on 127.0.0.1.
    pub port: u16,
    _tasks: Tasks,
}

impl WebServer {
    /// Gives each request's head to `answer`, which makes the head of the answer without its length, and the body.
    pub async fn start(answer: impl Fn(&str) -> (String, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut tasks = Tasks::new();
        tasks.spawn("server", async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                let (mut request, mut part) = (String::new(), [0; 1024]);
                while !request.contains("\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(length) if length > 0 => request.push_str(&String::from_utf8_lossy(&part[..length])),
                        _ => break,
                    }
                }
                let (head, body) = answer(&request);
                let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                // Who asked may be gone.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, _tasks: tasks }
    }
}
