//! Exec, attach and port-forward: the runtime says where its streaming server is, and the kubelet carries the bytes.
//!
//! The stream's protocol (WebSocket, SPDY) is spoken between the client and the runtime; here only the upgrade's
//! headers are passed on, in both directions.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cri as v1;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use url::Url;

use super::pods::{Refusal, find, running};
use crate::context::Shared;
use crate::images::rpc_message;

type Params = axum::extract::Path<std::collections::HashMap<String, String>>;

/// What a query asks of a stream.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: Option<String>) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a stream is wanted; `short` is the name that the kubelet's own API has for it.
    fn flag(&self, name: &str, short: &str) -> bool {
        self.0.iter().any(|(key, value)| (key == name || key == short) && matches!(value.as_str(), "1" | "true"))
    }
}

fn param<'a>(params: &'a Params, name: &str) -> &'a str {
    params.get(name).map(String::as_str).unwrap_or_default()
}

/// Runs a command in a container.
pub async fn exec(
    State(context): State<Shared>,
    params: Params,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let (pod, observed) = find(&context, param(&params, "namespace"), param(&params, "pod")).await?;
    let instance = running(&pod, &observed, param(&params, "container"))?;
    let query = Query::parse(query);
    let tty = query.flag("tty", "tty");
    let asked = v1::ExecRequest {
        container_id: instance.id.clone(),
        cmd: query.all("command"),
        tty,
        stdin: query.flag("stdin", "input"),
        stdout: query.flag("stdout", "output"),
        // A terminal has one output.
        stderr: query.flag("stderr", "error") && !tty,
    };
    let answer = context.runtime.clone().exec(asked).await.map_err(|status| refused(&status))?;
    tunnel(&context, &answer.into_inner().url, request).await
}

/// Attaches to a container's first process.
pub async fn attach(
    State(context): State<Shared>,
    params: Params,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let (pod, observed) = find(&context, param(&params, "namespace"), param(&params, "pod")).await?;
    let instance = running(&pod, &observed, param(&params, "container"))?;
    let query = Query::parse(query);
    let tty = crate::pods::spec::container(&pod, &instance.name).is_some_and(|container| container.tty == Some(true));
    let asked = v1::AttachRequest {
        container_id: instance.id.clone(),
        stdin: query.flag("stdin", "input"),
        tty,
        stdout: query.flag("stdout", "output"),
        stderr: query.flag("stderr", "error") && !tty,
    };
    let answer = context.runtime.clone().attach(asked).await.map_err(|status| refused(&status))?;
    tunnel(&context, &answer.into_inner().url, request).await
}

/// Connects to ports of a pod.
pub async fn port_forward(
    State(context): State<Shared>,
    params: Params,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let (_, observed) = find(&context, param(&params, "namespace"), param(&params, "pod")).await?;
    let sandbox = observed.ready_sandbox().ok_or_else(|| {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, "unable to forward port because pod is not running".to_owned())
    })?;
    let ports = Query::parse(query).all("port");
    let ports = ports.iter().flat_map(|list| list.split(',')).filter_map(|port| port.parse().ok());
    let asked = v1::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: ports.collect() };
    let answer = context.runtime.clone().port_forward(asked).await.map_err(|status| refused(&status))?;
    tunnel(&context, &answer.into_inner().url, request).await
}

fn refused(status: &v1::Status) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, rpc_message(status))
}

/// Passes an upgrade on to the runtime's streaming server and then carries bytes until one side ends.
async fn tunnel(context: &Shared, url: &str, mut request: Request) -> Result<Response, Refusal> {
    let unreachable = |what: String| {
        Refusal(StatusCode::BAD_GATEWAY, format!("error dialing the runtime's streaming server: {what}"))
    };
    let url = Url::parse(url).map_err(|err| unreachable(err.to_string()))?;
    if url.scheme() != "http" {
        return Err(unreachable(format!("{url} is not of HTTP without TLS, which is what is spoken on one machine")));
    }
    let address = url.socket_addrs(|| Some(80)).ok().and_then(|list| list.first().copied());
    let address: SocketAddr = address.ok_or_else(|| unreachable(format!("no address in {url}")))?;
    let stream = TcpStream::connect(address).await.map_err(|err| unreachable(err.to_string()))?;
    // Keystrokes go out one by one.
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|err| unreachable(err.to_string()))?;
    context.spawner.spawn("stream connection", async move {
        // Its end is seen by whoever reads from it.
        let _ = connection.with_upgrades().await;
    });
    let client_side = hyper::upgrade::on(&mut request);
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut onward = http::Request::builder().method(request.method().clone()).uri(path);
    if let Some(headers) = onward.headers_mut() {
        *headers = request.headers().clone();
        headers.remove(header::AUTHORIZATION);
        if let Ok(host) = address.to_string().parse() {
            headers.insert(header::HOST, host);
        }
    }
    let onward = onward.body(Body::empty()).map_err(|err| unreachable(err.to_string()))?;
    let mut answer = sender.send_request(onward).await.map_err(|err| unreachable(err.to_string()))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        return Ok(Response::from_parts(parts, Body::new(body)));
    }
    let runtime_side = hyper::upgrade::on(&mut answer);
    let headers: HeaderMap = answer.headers().clone();
    let drain = context.drain.clone();
    context.spawner.spawn("stream", async move {
        let carry = async {
            if let (Ok(client), Ok(runtime)) = tokio::join!(client_side, runtime_side) {
                // Either side may end without a word: that is the end of the stream.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(runtime)).await;
            }
        };
        drain.until(carry).await;
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
