//! A process that writes is killed at a random moment; what it said was written has to be there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base::{Env, Random};
use tempfile::TempDir;

use super::{Embedded, EmbeddedConfig};
use crate::Store;
use crate::types::{KeyRange, RangeRequest, Txn, TxnResponse};

const DIR: &str = "SKIFF_STORE_KILL_TEST_DIR";
const NAME: &str = "embedded::kill::acknowledged_writes_survive_kill";
const WRITERS: usize = 8;
const ROUNDS: usize = 6;

/// The test, and in the process that it starts, the writer.
#[test]
fn acknowledged_writes_survive_kill() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match std::env::var_os(DIR) {
        Some(dir) => runtime.block_on(write_until_killed(Path::new(&dir))),
        None => runtime.block_on(kill_and_check()),
    }
}

fn open(dir: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(EmbeddedConfig::new(dir, Env::system())).expect("the store opens after a kill"))
}

async fn kill_and_check() {
    let dir = TempDir::new().expect("a directory can be made");
    let random = Random::seeded(17);
    // The newest acknowledged number of each writer, over all rounds.
    let mut acknowledged = [0; WRITERS];
    for _ in 0..ROUNDS {
        let lines = 50 + random.below(1500);
        let program = std::env::current_exe().expect("the test has a program");
        let mut child = Command::new(program)
            .args(["--exact", NAME, "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the test's program starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (mut killed, mut seen) = (false, 0);
        for line in output.lines().map_while(Result::ok) {
            let Some((writer, number)) = parse(&line) else { continue };
            assert!(number > acknowledged[writer], "each writer counts up");
            acknowledged[writer] = number;
            seen += 1;
            // What is still in the pipe was acknowledged too, so reading goes on to its end.
            if seen >= lines && !killed {
                child.kill().expect("it runs");
                killed = true;
            }
        }
        child.wait().expect("it was started");
        assert!(killed, "the writer ended by itself after {seen} writes");
        check(&open(dir.path()), &acknowledged).await;
    }
}

async fn check(store: &Embedded, acknowledged: &[u64; WRITERS]) {
    let found = store.range(RangeRequest::new(KeyRange::prefix("/count/"))).await.expect("it can be read");
    for (writer, &number) in acknowledged.iter().enumerate() {
        let key = format!("/count/{writer}");
        let kv = found.kvs.iter().find(|kv| kv.key == key);
        let stored: u64 = kv
            .map_or(0, |kv| std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok()).expect("a number"));
        assert!(stored >= number, "{key} is {stored}, {number} was acknowledged");
    }
}

fn parse(line: &str) -> Option<(usize, u64)> {
    // The test harness may have printed its own words on the same line.
    let (_, line) = line.split_once("wrote ")?;
    let (writer, number) = line.split_once(' ')?;
    Some((writer.parse().ok()?, number.parse().ok()?))
}

async fn write_until_killed(dir: &Path) {
    let store = open(dir);
    let mut tasks = base::Tasks::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        tasks.spawn(format!("writer {writer}"), async move {
            let key = format!("/count/{writer}");
            let before = store.range(RangeRequest::key(key.clone())).await.expect("it can be read");
            let (mut number, mut revision) = before.kvs.first().map_or((0, 0), |kv| {
                let text = std::str::from_utf8(&kv.value).expect("a number");
                (text.parse::<u64>().expect("a number"), kv.mod_revision)
            });
            loop {
                number += 1;
                let txn = Txn::put(key.clone(), number.to_string()).expecting(revision);
                match store.txn(txn).await.expect("it can be written") {
                    TxnResponse::Applied { revision: written, .. } => revision = written,
                    TxnResponse::Mismatch { current, .. } => panic!("{key} was changed by {current:?}"),
                }
                println!("wrote {writer} {number}");
                if number % 100 == 0 {
                    // Two compactions at once are no failure: the second finds it done.
                    let _ = store.compact(revision - 50).await;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
