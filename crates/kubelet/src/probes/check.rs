//! Asks a container once, in the way that its probe says.

use std::time::Duration;

use bytes::Bytes;
use cri as v1;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::http::{HttpCheck, http_get};
use crate::context::Context;
use crate::images::rpc_message;

/// How much of a command's output is shown.
const MAX_OUTPUT: usize = 10 * 1024;

/// The answer of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is fine.
    Success,
    /// It is fine as far as could be told; why not for sure, for the event.
    Warning(String),
    /// It is not; why, for the event.
    Failure(String),
    /// It could not be asked; why, for the event.
    Error(String),
}

/// A port that cannot be found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CheckError {
    /// The container has no port of this name.
    #[error("couldn't find port: {0}")]
    UnknownPort(String),
    /// The number is none of a port.
    #[error("invalid port number: {0}")]
    InvalidPort(i32),
}

/// A port by number, or by its name among the container's ports.
pub fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, CheckError> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            match named.map(|port| port.container_port).or_else(|| name.parse().ok()) {
                Some(number) => number,
                None => return Err(CheckError::UnknownPort(name.clone())),
            }
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0).ok_or(CheckError::InvalidPort(number))
}

/// Whom to ask.
pub struct Subject<'a> {
    /// The container's definition.
    pub container: &'a Container,
    /// The runtime's identifier of the instance.
    pub container_id: &'a str,
    /// The pod's address.
    pub ip: &'a str,
}

/// Asks once.
pub async fn check(context: &Context, subject: &Subject<'_>, probe: &Probe) -> Verdict {
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    if let Some(action) = &probe.exec {
        return exec(context, subject.container_id, action.command.clone().unwrap_or_default(), limit).await;
    }
    if let Some(action) = &probe.http_get {
        let port = match resolve_port(&action.port, subject.container) {
            Ok(port) => port,
            Err(err) => return Verdict::Error(err.to_string()),
        };
        let check = HttpCheck::new(action, subject.ip, port, "kube-probe/1.35", limit);
        return match http_get(&check).await {
            // A redirect to elsewhere was not followed.
            Ok(answer) if (300..400).contains(&answer.status) => {
                Verdict::Warning(format!("Probe terminated redirects, Response body: {}", answer.text()))
            }
            Ok(answer) if (200..300).contains(&answer.status) => Verdict::Success,
            Ok(answer) => Verdict::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
            Err(err) => Verdict::Failure(err.to_string()),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| subject.ip.to_owned());
        let port = match resolve_port(&action.port, subject.container) {
            Ok(port) => port,
            Err(err) => return Verdict::Error(err.to_string()),
        };
        return match tokio::time::timeout(limit, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(_)) => Verdict::Success,
            Ok(Err(err)) => Verdict::Failure(format!("dial tcp {host}:{port}: connect: {err}")),
            Err(_) => Verdict::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
        };
    }
    if let Some(action) = &probe.grpc {
        let Ok(port) = u16::try_from(action.port) else {
            return Verdict::Error(CheckError::InvalidPort(action.port).to_string());
        };
        let service = action.service.clone().unwrap_or_default();
        let address = format!("{}:{port}", subject.ip);
        return match tokio::time::timeout(limit, grpc(subject.ip, port, &service)).await {
            Ok(Ok(1)) => Verdict::Success,
            Ok(Ok(status)) => {
                Verdict::Failure(format!("service unhealthy (responded with \"{}\")", health_name(status)))
            }
            Ok(Err(message)) => Verdict::Failure(format!("error: health rpc probe failed: {message}")),
            Err(_) => Verdict::Failure(format!(
                "timeout: failed to connect service \"{address}\" within {limit:?}: context deadline exceeded"
            )),
        };
    }
    Verdict::Error("missing probe handler".to_owned())
}

async fn exec(context: &Context, container_id: &str, command: Vec<String>, limit: Duration) -> Verdict {
    let request = v1::ExecSyncRequest {
        container_id: container_id.to_owned(),
        cmd: command.clone(),
        timeout: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
    };
    match context.runtime.clone().exec_sync(v1::lasting(request, limit)).await.map(v1::Response::into_inner) {
        Ok(answer) if answer.exit_code == 0 => Verdict::Success,
        Ok(answer) => {
            let mut output = answer.stdout;
            output.extend(answer.stderr);
            output.truncate(MAX_OUTPUT);
            Verdict::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(status) if status.code() == v1::Code::DeadlineExceeded => Verdict::Failure(format!(
            "command timed out: \"{}\" timed out after {}s",
            command.join(" "),
            limit.as_secs()
        )),
        Err(status) => Verdict::Error(rpc_message(&status)),
    }
}

fn health_name(status: u64) -> &'static str {
    match status {
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// Asks the standard gRPC health service: one unary call, whose two messages have one field each.
async fn grpc(ip: &str, port: u16, service: &str) -> Result<u64, String> {
    let text = |err: &dyn std::fmt::Display| err.to_string();
    let stream = TcpStream::connect((ip, port)).await.map_err(|err| text(&err))?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|err| text(&err))?;
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend(service.as_bytes());
    }
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).map_err(|err| text(&err))?.to_be_bytes());
    body.extend(message);
    let host = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let request = Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.35")
        .body(Full::new(Bytes::from(body)))
        .map_err(|err| text(&err))?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|err| text(&err))?;
        let early = answer.headers().get("grpc-status").cloned();
        let collected = answer.into_body().collect().await.map_err(|err| text(&err))?;
        let status = early.or_else(|| collected.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
        match status.as_ref().and_then(|status| status.to_str().ok()) {
            Some("0") | None => {}
            Some("12") => {
                return Err(
                    "this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned()
                );
            }
            Some(code) => return Err(format!("rpc error: code = {code}")),
        }
        // A frame's head of five bytes, then field 1 as a varint; an empty message is status 0.
        let bytes = collected.to_bytes();
        Ok(match bytes.get(5..) {
            Some([0x08, status, ..]) => u64::from(*status),
            _ => 0,
        })
    };
    tokio::select! {
        biased;
        answer = talk => answer,
        end = connection => Err(end.err().map_or_else(|| "connection closed".to_owned(), |err| err.to_string())),
    }
}
