//! Static pods that a web server has.

use std::sync::{Mutex, PoisonError};

use tokio::net::TcpListener;

use super::*;

/// Answers who shows the right header with one text.
struct Server {
    port: u16,
    text: Arc<Mutex<String>>,
    _tasks: Tasks,
}

impl Server {
    async fn start(text: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let text = Arc::new(Mutex::new(text.to_owned()));
        let (shown, mut tasks) = (Arc::clone(&text), Tasks::new());
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
                let text = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let is_known = request.starts_with("GET /pods?of=n1 ") && request.contains("x-token: open\r\n");
                let (status, body) = if is_known { ("200 OK", text.as_str()) } else { ("403 Forbidden", "") };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                // Who asked may be gone.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, text, _tasks: tasks }
    }

    fn says(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn manifest(name: &str) -> String {
    let spec = format!("{{containers: [{{name: {name}, image: \"image:1\"}}]}}");
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {spec}}}")
}

#[tokio::test]
async fn pods_run_because_a_web_server_says_so() {
    let mut stage = Stage::new(&["image:1"]).await;
    let server = Server::start(&manifest("first")).await;
    stage.stop().await;
    let fields = json!({
        "staticPodURL": format!("http://127.0.0.1:{}/pods?of=n1", server.port),
        "staticPodURLHeader": {"X-Token": ["open"]},
        "httpCheckFrequency": "100ms",
    });
    stage.configuration.flags = fields.as_object().cloned().expect("fields");
    stage.start();
    stage.manifest("own.yaml", Some(&manifest("own")));
    let running = async |expected: &[&str]| {
        let are = async || (stage.runtime.running() == expected).then_some(());
        stage.until(&format!("{expected:?}"), are).await;
    };
    running(&["first", "own"]).await;
    stage.until_phase("first-n1", "Running").await;
    server.says(&format!("{{apiVersion: v1, kind: PodList, items: [{}, {}]}}", manifest("first"), manifest("second")));
    running(&["first", "own", "second"]).await;
    // What is no manifest leaves everything as it is, and one that is gone ends its pod.
    server.says("{apiVersion: v1, kind: Po");
    stage.manifest("own.yaml", None);
    running(&["first", "second"]).await;
    server.says(&manifest("second"));
    running(&["second"]).await;
    let calls = stage.runtime.calls();
    assert_eq!(calls.iter().filter(|call| *call == "StartContainer second").count(), 1, "{calls:?}");
    stage.stop().await;
}
