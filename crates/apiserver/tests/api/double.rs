//! A server outside of the cluster, over TLS, that answers what a test tells it to.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::hooks::TlsServer;

/// What a path and a document are answered, a string as it is; nothing is 404.
type Answer = Box<dyn Fn(&str, &Value) -> Option<Value> + Send>;

/// A server that runs as long as this lives.
pub struct Double {
    /// Where it listens.
    pub url: String,
    /// The authority of its certificate.
    pub ca_pem: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    shown: Arc<Mutex<Vec<String>>>,
    server: TlsServer,
}

impl Double {
    pub async fn start() -> Self {
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|_, _| None)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (shared, headers) = ((answer.clone(), asked.clone()), shown.clone());
        let server = TlsServer::start(Ipv4Addr::LOCALHOST.into(), move |request| {
            let header = request.headers().get(http::header::AUTHORIZATION);
            headers.lock().expect("a lock").extend(header.and_then(|value| value.to_str().ok()).map(str::to_owned));
            respond(request, shared.clone())
        })
        .await;
        let (url, ca_pem) = (format!("https://{}", server.address), server.ca_pem.clone());
        Self { url, ca_pem, answer, asked, shown, server }
    }

    /// Answers otherwise from now on.
    pub fn answers(&self, answer: impl Fn(&str, &Value) -> Option<Value> + Send + 'static) {
        *self.answer.lock().expect("a lock") = Box::new(answer);
    }

    /// What it was asked since the last look.
    pub fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.asked.lock().expect("a lock"))
    }

    /// What it was shown in the header `Authorization` since the last look.
    pub fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.shown.lock().expect("a lock"))
    }

    /// A kubeconfig that leads to a path of it.
    pub fn kubeconfig(&self, path: &str) -> std::path::PathBuf {
        let file = self.server.dir.path().join("kubeconfig");
        std::fs::write(self.server.dir.path().join("double.crt"), &self.ca_pem).expect("written");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "double", "cluster": {
                "server": format!("{}{path}", self.url), "certificate-authority": "double.crt",
            }}],
            "users": [{"name": "server", "user": {"token": "secret"}}],
            "contexts": [{"name": "c", "context": {"cluster": "double", "user": "server"}}],
        });
        std::fs::write(&file, config.to_string()).expect("written");
        file
    }

    /// A file beside it.
    pub fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let file = self.server.dir.path().join(name);
        std::fs::write(&file, text).expect("written");
        file
    }
}

type Shared = (Arc<Mutex<Answer>>, Arc<Mutex<Vec<(String, Value)>>>);

async fn respond(request: Request<Incoming>, (answer, asked): Shared) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let found = answer.lock().expect("a lock")(&path, &body);
    asked.lock().expect("a lock").push((path, body));
    let (status, text) = match found {
        Some(Value::String(text)) => (StatusCode::OK, text),
        Some(document) => (StatusCode::OK, document.to_string()),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    Ok(Response::builder().status(status).body(Full::new(text.into())).expect("an answer"))
}
