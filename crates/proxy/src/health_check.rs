//! Health check node ports: load balancers ask each node over HTTP whether it has endpoints of a service.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{Drain, DrainTrigger, Tasks};
use client::ObjectKey;
use edge::Crowd;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::HealthCheck;

/// How long a client may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How many clients a port has at once; beyond it, whoever has the most makes room for others.
const CONNECTIONS: usize = 256;

/// The servers of all services that have such a port.
pub(crate) struct HealthChecks {
    drain: Drain,
    tasks: Tasks,
    servers: HashMap<ObjectKey, Server>,
}

struct Server {
    port: u16,
    local_endpoints: Arc<AtomicUsize>,
    /// Ends the server when it is dropped.
    _stop: DrainTrigger,
}

impl HealthChecks {
    pub fn new(drain: Drain) -> Self {
        Self { drain, tasks: Tasks::new(), servers: HashMap::new() }
    }

    /// Starts, changes or ends the server of a service.
    pub fn set(&mut self, key: &ObjectKey, check: Option<HealthCheck>) {
        let Some(check) = check else {
            self.servers.remove(key);
            return;
        };
        if let Some(server) = self.servers.get(key).filter(|server| server.port == check.node_port) {
            server.local_endpoints.store(check.local_endpoints, Ordering::Relaxed);
            return;
        }
        let (stop, stopped) = self.drain.child();
        let local_endpoints = Arc::new(AtomicUsize::new(check.local_endpoints));
        let name = format!("health check of {key}");
        self.tasks.spawn(name, serve(key.clone(), check.node_port, local_endpoints.clone(), stopped));
        self.servers.insert(key.clone(), Server { port: check.node_port, local_endpoints, _stop: stop });
    }

    /// Observes the end of a server. Pends for ever while there is none.
    pub async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some((task, Err(err))) => tracing::warn!(task, err = %err, "health check server failed"),
            Some((_, Ok(()))) => {}
            None => std::future::pending().await,
        }
    }

    pub async fn shutdown(self) {
        drop(self.servers);
        self.tasks.shutdown(Duration::from_secs(1)).await;
    }
}

async fn serve(key: ObjectKey, port: u16, local_endpoints: Arc<AtomicUsize>, stopped: Drain) {
    let any = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        // A host without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    };
    let listener = match any {
        Ok(listener) => listener,
        Err(err) => {
            tracing::warn!(service = %key, port, err = %err, "health check node port cannot be opened");
            return;
        }
    };
    let crowd = Crowd::new(CONNECTIONS);
    let mut connections = Tasks::new();
    loop {
        tokio::select! {
            () = stopped.drained() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, address)) = accepted else { continue };
                let Some(place) = crowd.join(address.ip()) else { continue };
                let response = response(&key, local_endpoints.load(Ordering::Relaxed));
                connections.spawn("health check connection", async move {
                    tokio::select! {
                        () = place.lost() => {}
                        // A client that goes away in the middle is its own affair.
                        _ = tokio::time::timeout(REQUEST_TIMEOUT, answer(stream, response)) => {}
                    }
                });
            }
        }
    }
}

/// Reads a request's head, whatever it asks for, and answers it.
async fn answer(mut stream: TcpStream, response: String) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..read]);
    }
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn response(key: &ObjectKey, local_endpoints: usize) -> String {
    let status = if local_endpoints == 0 { "503 Service Unavailable" } else { "200 OK" };
    let body = json!({
        "service": {"namespace": key.namespace(), "name": key.name},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": true,
    })
    .to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {local_endpoints}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
