//! Measures the embedded engine: writes with 1, 16 and 256 writers, reads, and opening again.
//!
//! Each figure is one line, `bench: NAME VALUE UNIT`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Env, Tasks};
use skiff_store::{Embedded, EmbeddedConfig, RangeRequest, Store, Txn};

const VALUE: [u8; 1024] = [7; 1024];
const MEASURED: Duration = Duration::from_secs(2);
const KEYS: usize = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    let dir = tempfile::TempDir::new().expect("a directory can be made");
    let store = Arc::new(open(dir.path()));
    for writers in [1, 16, 256] {
        let done = runtime.block_on(write(&store, writers));
        println!("bench: store.put.w{writers} {done:.0} ops/s");
    }
    println!("bench: store.get {:.0} ops/s", runtime.block_on(get(&store)));
    drop(store);
    let began = Instant::now();
    let store = open(dir.path());
    println!("bench: store.reopen {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    drop(store);
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(EmbeddedConfig::new(dir, Env::system())).expect("the store opens")
}

fn key(number: usize) -> String {
    format!("/registry/core/pods/default/pod-{:05}", number % KEYS)
}

/// Writes with so many tasks at once; how many writes there were in a second.
async fn write(store: &Arc<Embedded>, writers: usize) -> f64 {
    let (sender, mut counts) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = Tasks::new();
    let began = Instant::now();
    for writer in 0..writers {
        let (store, sender) = (Arc::clone(store), sender.clone());
        tasks.spawn(format!("writer {writer}"), async move {
            let mut written = 0_usize;
            while began.elapsed() < MEASURED {
                let txn = Txn::put(key(written * writers + writer), &VALUE[..]);
                store.txn(txn).await.expect("the disk works");
                written += 1;
            }
            sender.send(written).expect("it is received");
        });
    }
    drop(sender);
    let mut written = 0;
    while let Some(count) = counts.recv().await {
        written += count;
    }
    written as f64 / began.elapsed().as_secs_f64()
}

async fn get(store: &Embedded) -> f64 {
    let began = Instant::now();
    let mut read = 0;
    while began.elapsed() < MEASURED {
        store.range(RangeRequest::key(key(read * 7919))).await.expect("current reads work");
        read += 1;
    }
    read as f64 / began.elapsed().as_secs_f64()
}
