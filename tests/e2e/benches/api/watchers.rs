//! One change that many watchers wait for.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::Target;
use crate::quantile;

const OBJECT: &str = "/api/v1/namespaces/bench/configmaps/watched";

/// Watches with so many clients, changes the object a few times, and prints after how long a client knew.
pub async fn measure(target: &Target, watchers: usize, changes: usize) {
    let mut writer = target.connect().await;
    let object = json!({"metadata": {"name": "watched"}, "data": {"change": "0"}}).to_string();
    writer.call("POST", "/api/v1/namespaces/bench/configmaps", object.into()).await;

    let (sender, mut seen) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        let mut connection = target.connect().await;
        let sender = sender.clone();
        tasks.spawn(async move {
            let path = "/api/v1/namespaces/bench/configmaps?watch=true&fieldSelector=metadata.name%3Dwatched";
            let mut body = connection.send("GET", path, Bytes::new()).await.into_body();
            // The first event shows the object as it is.
            next_line(&mut body).await;
            if sender.send(None).is_err() {
                return;
            }
            loop {
                next_line(&mut body).await;
                if sender.send(Some(Instant::now())).is_err() {
                    return;
                }
            }
        });
    }
    for _ in 0..watchers {
        seen.recv().await.expect("the watchers run");
    }

    let mut times = Vec::new();
    for change in 1..=changes {
        let object = json!({"metadata": {"name": "watched"}, "data": {"change": change.to_string()}}).to_string();
        let began = Instant::now();
        writer.call("PUT", OBJECT, object.into()).await;
        for _ in 0..watchers {
            let at = seen.recv().await.expect("the watchers run").expect("all have begun");
            times.push(at.duration_since(began).as_secs_f64() * 1e3);
        }
    }
    tasks.shutdown().await;
    times.sort_by(f64::total_cmp);
    println!("bench: api.fanout{watchers}.p50 {:.1} ms", quantile(&times, 0.5));
    println!("bench: api.fanout{watchers}.p99 {:.1} ms", quantile(&times, 0.99));
}

/// Reads to the end of an event.
async fn next_line(body: &mut Incoming) {
    loop {
        let frame = body.frame().await.expect("the watch goes on").expect("it does not break");
        if frame.data_ref().is_some_and(|data| data.ends_with(b"\n")) {
            return;
        }
    }
}
