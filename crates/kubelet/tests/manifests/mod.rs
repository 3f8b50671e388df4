//! Static pods that a web server has.

use std::sync::{Mutex, PoisonError};

use super::web_server::WebServer;
use super::*;

/// Answers who shows the right header with one text.
struct Server {
    web: WebServer,
    text: Arc<Mutex<String>>,
}

impl Server {
    async fn start(text: &str) -> Self {
        let text = Arc::new(Mutex::new(text.to_owned()));
        let shown = Arc::clone(&text);
        let answer = move |request: &str| {
            let text = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let is_known = request.starts_with("GET /pods?of=n1 ") && request.contains("x-token: open\r\n");
            if is_known { ("200 OK".to_owned(), text) } else { ("403 Forbidden".to_owned(), String::new()) }
        };
        Self { web: WebServer::start(answer).await, text }
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
        "staticPodURL": format!("http://127.0.0.1:{}/pods?of=n1", server.web.port),
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
