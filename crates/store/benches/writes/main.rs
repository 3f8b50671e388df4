//! Measures the embedded engine: writes with 1, 16 and 256 writers, reads, and opening again.
//!
//! Each figure is one line, `bench: NAME VALUE UNIT`. Where etcd is installed, the same keys and values are written to
//! it and read from it, on the same disk, and the ratio follows. The engine is called in its own process and etcd over
//! the loopback interface, since that is how an API server has each of them: the ratio is that of the datastores as
//! used, not of the engines alone.

mod etcd;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Env, Tasks};
use etcd::Etcd;
use skiff_store::{Embedded, EmbeddedConfig, RangeRequest, Store, Txn};

const VALUE: [u8; 1024] = [7; 1024];
const MEASURED: Duration = Duration::from_secs(2);
const KEYS: usize = 10_000;
const WRITERS: [usize; 3] = [1, 16, 256];

/// Over how many connections the writers to etcd share their requests.
const CONNECTIONS: usize = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    let dir = tempfile::TempDir::new().expect("a directory can be made");
    let store = Arc::new(open(dir.path()));
    let writes = WRITERS.map(|writers| runtime.block_on(write_store(&store, writers)));
    let reads = runtime.block_on(read_store(&store));
    drop(store);
    let began = Instant::now();
    drop(open(dir.path()));
    let reopened = began.elapsed();

    let peer = runtime.block_on(measure_etcd());
    for (at, writers) in WRITERS.into_iter().enumerate() {
        print(&format!("put.w{writers}"), writes[at], peer.as_ref().map(|peer| (peer.writes[at], &*peer.name)));
    }
    print("get", reads, peer.as_ref().map(|peer| (peer.reads, &*peer.name)));
    println!("bench: store.reopen {:.1} ms", reopened.as_secs_f64() * 1000.0);
}

/// Prints operations in a second, and how many times the peer's they are.
fn print(name: &str, value: f64, peer: Option<(f64, &str)>) {
    let ratio = peer.map(|(other, peer)| format!(" {:.1} vs {peer}", value / other)).unwrap_or_default();
    println!("bench: store.{name} {value:.0} ops/s{ratio}");
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(EmbeddedConfig::new(dir, Env::system())).expect("the store opens")
}

fn key(number: usize) -> String {
    format!("/registry/core/pods/default/pod-{:05}", number % KEYS)
}

async fn write_store(store: &Arc<Embedded>, writers: usize) -> f64 {
    write(writers, |_| {
        let store = Arc::clone(store);
        move |key| {
            let store = Arc::clone(&store);
            async move {
                store.txn(Txn::put(key, &VALUE[..])).await.expect("the disk works");
            }
        }
    })
    .await
}

async fn read_store(store: &Embedded) -> f64 {
    read(async |key| {
        store.range(RangeRequest::key(key)).await.expect("current reads work");
    })
    .await
}

/// The same figures of etcd.
struct Peer {
    name: String,
    writes: [f64; WRITERS.len()],
    reads: f64,
}

async fn measure_etcd() -> Option<Peer> {
    let Some(etcd) = Etcd::start(&Env::system()).await else {
        println!("etcd is not installed (Debian's etcd-server): no ratios");
        return None;
    };
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(etcd.connect().await);
    }
    let mut writes = [0.0; WRITERS.len()];
    for (at, writers) in WRITERS.into_iter().enumerate() {
        writes[at] = write(writers, |writer| {
            let client = connections[writer % CONNECTIONS].clone();
            move |key| {
                let mut client = client.clone();
                async move { client.put(key, &VALUE).await }
            }
        })
        .await;
    }
    let mut client = connections.swap_remove(0);
    let reads = read(async |key| client.get(key).await).await;
    Some(Peer { name: etcd.name.clone(), writes, reads })
}

/// Writes with so many tasks at once; how many writes there were in a second.
async fn write<W, F>(writers: usize, writer: impl Fn(usize) -> W) -> f64
where
    W: Fn(String) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let (sender, mut counts) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = Tasks::new();
    let began = Instant::now();
    for number in 0..writers {
        let (write, sender) = (writer(number), sender.clone());
        tasks.spawn(format!("writer {number}"), async move {
            let mut written = 0_usize;
            while began.elapsed() < MEASURED {
                write(key(written * writers + number)).await;
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

/// Reads keys one after the other; how many reads there were in a second.
async fn read(mut get: impl AsyncFnMut(String)) -> f64 {
    let began = Instant::now();
    let mut read = 0;
    while began.elapsed() < MEASURED {
        get(key(read * 7919)).await;
        read += 1;
    }
    read as f64 / began.elapsed().as_secs_f64()
}
