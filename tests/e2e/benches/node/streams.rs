//! Commands in containers, and what containers print.

use std::time::Instant;

use futures::{AsyncBufReadExt, TryStreamExt};
use kube::Client;
use kube::api::{AttachParams, LogParams};
use tokio::io::AsyncReadExt;

use crate::peer::{Figures, percentile};
use crate::pods::{IDLE, api, pod, remove_all, start};

/// How many commands are run, one after the other.
const COMMANDS: usize = 50;

/// How many lines are printed, of how many bytes each.
const LINES: usize = 1_000_000;
const LINE: &str = "the quick brown fox jumps over the lazy dog and on to the end";

/// The time from the request to the command's output and end.
pub async fn commands(client: &Client, figures: &mut Figures) {
    start(client, vec![pod("commands", IDLE)]).await;
    let pods = api(client);
    let mut times = Vec::new();
    for _ in 0..COMMANDS {
        let began = Instant::now();
        let mut process = pods.exec("commands", ["echo", "done"], &AttachParams::default()).await.expect("it starts");
        let mut text = String::new();
        process.stdout().expect("it was asked for").read_to_string(&mut text).await.expect("text");
        assert_eq!(text, "done\n");
        process.join().await.expect("no failure");
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    figures.cost("exec-p50", percentile(times, 0.5), "ms");
    remove_all(client).await;
}

/// How fast lines go from a container that prints as fast as it can to a client that follows.
pub async fn log(client: &Client, figures: &mut Figures) {
    let script = format!("read go; busybox yes '{LINE}' | head -n {LINES}; trap 'exit 0' TERM; sleep 3600 & wait");
    let mut printer = pod("printer", &["sh", "-c", &script]);
    if let Some(container) = printer.spec.as_mut().and_then(|spec| spec.containers.first_mut()) {
        container.stdin = Some(true);
    }
    start(client, vec![printer]).await;
    let pods = api(client);
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods.log_stream("printer", &follow).await.expect("it has logs").lines();
    let mut attached = pods
        .attach("printer", &AttachParams::default().stdin(true).stdout(false).stderr(false))
        .await
        .expect("attached");
    let began = Instant::now();
    tokio::io::AsyncWriteExt::write_all(&mut attached.stdin().expect("it was asked for"), b"go\n").await.expect("told");
    for _ in 0..LINES {
        let line = lines.try_next().await.expect("no failure").expect("it goes on");
        assert_eq!(line, LINE);
    }
    figures.rate("log-lines", LINES as f64 / began.elapsed().as_secs_f64(), "lines/s");
    attached.abort();
    remove_all(client).await;
}
