//! What probes make of containers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Behaviour;
use crate::stage::{Stage, condition, container, pod, script, with};

/// So many checks in a row are taken for "always".
const MANY: usize = 4;

pub fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::new(
            "Probing container should be restarted with a exec \"cat /tmp/health\" liveness probe",
            |stage| is_restarted(stage, sick(), liveness(json!({"exec": {"command": ["cat", "/tmp/health"]}}))),
        ),
        Behaviour::new(
            "Probing container should *not* be restarted with a exec \"cat /tmp/health\" liveness probe",
            |stage| {
                let asked = "cat /tmp/health && echo asked > /proc/1/fd/1";
                let main = json!({"command": script("echo ok > /tmp/health; exec sleep 1000")});
                stays(stage, main, patient(liveness(json!({"exec": {"command": ["sh", "-c", asked]}}))), "asked")
            },
        ),
        Behaviour::new("Probing container should be restarted with a /healthz http liveness probe", |stage| {
            let main = "echo ok > /www/healthz; httpd -f -p 8080 -h /www & sleep 3; busybox rm /www/healthz; wait";
            let probe = liveness(json!({"httpGet": {"path": "/healthz", "port": 8080}}));
            is_restarted(stage, json!({"command": script(main)}), with(probe, json!({"initialDelaySeconds": 1})))
        }),
        Behaviour::new("Probing container should *not* be restarted with a /healthz http liveness probe", |stage| {
            let main = script("echo ok > /www/healthz; exec httpd -f -vv -p 8080 -h /www");
            let probe = liveness(json!({"httpGet": {"path": "/healthz", "port": 8080}}));
            stays(stage, json!({"command": main}), patient(probe), "url:/healthz")
        }),
        Behaviour::new("Probing container should *not* be restarted with a tcp:8080 liveness probe", |stage| {
            let main = json!({"command": ["httpd", "-f", "-vvv", "-p", "8080"]});
            stays(stage, main, patient(liveness(json!({"tcpSocket": {"port": 8080}}))), "connected")
        }),
        Behaviour::new("Probing container should *not* be restarted with a GRPC liveness probe", |stage| {
            grpc(stage, true)
        }),
        Behaviour::new("Probing container should be restarted with a GRPC liveness probe", |stage| grpc(stage, false)),
        Behaviour::new("Probing container should have monotonically increasing restart count", restarts_add_up),
        Behaviour::new(
            "Probing container with readiness probe should not be ready before initial delay and never restart",
            ready_after_its_delay,
        ),
        Behaviour::new(
            "Probing container with readiness probe that fails should never be ready and never restart",
            never_ready,
        ),
    ]
}

/// A probe that is made each second and fails at once.
fn liveness(handler: Value) -> Value {
    with(handler, json!({"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30}))
}

/// The same, for a container that may take a while until it can be asked.
fn patient(probe: Value) -> Value {
    with(probe, json!({"failureThreshold": 60}))
}

/// A container that is well for a short time only.
fn sick() -> Value {
    json!({"command": script("echo ok > /tmp/health; sleep 3; busybox rm /tmp/health; exec sleep 1000")})
}

fn probed(main: Value, kind: &str, probe: Value) -> Value {
    with(pod("main", with(main, json!({kind: probe}))), json!({"spec": {"restartPolicy": "Always"}}))
}

async fn is_restarted(stage: Stage, main: Value, probe: Value) {
    let main = with(main, json!({"terminationMessagePolicy": "FallbackToLogsOnError"}));
    stage.create(probed(main, "livenessProbe", probe)).await;
    let restarted = |pod: &Value| container(pod, "main")["restartCount"].as_u64().filter(|count| *count > 0);
    stage.until("main", "a restart", restarted).await;
    assert_is_killed_by_its_probe(&stage).await;
}

async fn assert_is_killed_by_its_probe(stage: &Stage) {
    let events = async || {
        let events = stage.events("main").await;
        let has = |reason: &str, text: &str| events.iter().any(|(r, message)| r == reason && message.contains(text));
        (has("Unhealthy", "Liveness probe failed: ")
            && has("Killing", "Container main failed liveness probe, will be restarted"))
        .then_some(())
    };
    testkit::poll_async(Duration::from_secs(60), events).await.expect("events of probe and restart");
}

fn assert_no_restart(stage: &Stage) {
    for pod in stage.history("main") {
        assert!(container(&pod, "main")["restartCount"].as_u64().unwrap_or(0) == 0, "{:#}", pod["status"]);
    }
}

/// A container that prints `line` when it is asked is not restarted.
async fn stays(stage: Stage, main: Value, probe: Value, line: &'static str) {
    stage.create(probed(main, "livenessProbe", probe)).await;
    stage.printed("main", line, |log| log.matches(line).count() >= MANY).await;
    assert_no_restart(&stage);
}

/// Upstream's name for serving, and for what does not, in the health protocol.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// A server of the gRPC health protocol on this machine, whose port a pod in the machine's network is asked at.
async fn health_server(status: u8, asked: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = asked.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                asked.fetch_add(1, Ordering::Relaxed);
                async move {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    // A frame's head (not compressed, two bytes), then field 1.
                    let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
                    let frames = [Frame::data(message), Frame::trailers(trailers)];
                    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)).boxed());
                    let answer = Response::builder().header("content-type", "application/grpc").body(body);
                    Ok::<_, Infallible>(answer.expect("an answer"))
                }
            });
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(served.serve_connection(TokioIo::new(stream), answer));
        }
    });
    port
}

async fn grpc(stage: Stage, serves: bool) {
    let asked = Arc::new(AtomicUsize::new(0));
    let port = health_server(if serves { SERVING } else { NOT_SERVING }, asked.clone()).await;
    let probe = liveness(json!({"grpc": {"port": port, "service": ""}}));
    let main = probed(json!({"command": ["sleep", "1000"]}), "livenessProbe", probe);
    stage.create(with(main, json!({"spec": {"hostNetwork": true}}))).await;
    if serves {
        let often = async || (asked.load(Ordering::Relaxed) >= MANY).then_some(());
        testkit::poll_async(Duration::from_secs(60), often).await.expect("it is asked often");
        assert_no_restart(&stage);
    } else {
        let restarted = |pod: &Value| container(pod, "main")["restartCount"].as_u64().filter(|count| *count > 0);
        stage.until("main", "a restart", restarted).await;
        assert_is_killed_by_its_probe(&stage).await;
    }
}

async fn restarts_add_up(stage: Stage) {
    let probe = liveness(json!({"exec": {"command": ["false"]}}));
    stage.create(probed(json!({"command": ["sleep", "1000"]}), "livenessProbe", probe)).await;
    let count = |pod: &Value| container(pod, "main")["restartCount"].as_u64().unwrap_or(0);
    stage.until("main", "three restarts", |pod| (count(pod) >= 3).then_some(())).await;
    let counts: Vec<u64> = stage.history("main").iter().map(count).collect();
    assert!(counts.is_sorted(), "{counts:?}");
}

/// Seconds from a container's start to its pod's readiness.
async fn ready_after_its_delay(stage: Stage) {
    let probe = json!({"exec": {"command": ["true"]}, "initialDelaySeconds": 3, "periodSeconds": 1});
    stage.create(probed(json!({}), "readinessProbe", probe)).await;
    let pod = stage.ready("main").await;
    let seconds = |time: &Value| {
        let time: k8s_openapi::jiff::Timestamp = time.as_str().expect("a time").parse().expect("a time");
        time.as_second()
    };
    let started = seconds(&container(&pod, "main")["state"]["running"]["startedAt"]);
    let ready = seconds(&condition(&pod, "Ready")["lastTransitionTime"]);
    assert!(ready - started >= 3, "started at {started}, ready at {ready}");
    assert_no_restart(&stage);
}

async fn never_ready(stage: Stage) {
    let probe = json!({"exec": {"command": ["sh", "-c", "echo asked > /proc/1/fd/1; false"]}, "periodSeconds": 1});
    stage.create(probed(json!({"command": script("exec sleep 1000")}), "readinessProbe", probe)).await;
    stage.printed("main", "asked", |log| log.matches("asked").count() >= MANY).await;
    assert_no_restart(&stage);
    for pod in stage.history("main") {
        assert!(condition(&pod, "Ready")["status"] != "True" && container(&pod, "main")["ready"] != true);
    }
}
