//! The kubectl that people have, of today and of years ago, Helm and the Python client, against one cluster.
//!
//! What they must print is written down in `tests/e2e/transcripts`.

use std::path::PathBuf;
use std::sync::Mutex;

use skiff_e2e::{Cluster, Kubectl, Layout, transcript};

/// The transcripts, each of which keeps to a namespace of its own.
const TRANSCRIPTS: &[&str] = &["apply", "edit", "create", "get", "custom", "pods", "rollout", "helm"];

#[test]
fn clients_see_a_cluster_as_they_know_it() {
    let cluster = Cluster::start("clnt", Layout::OneProcess);
    cluster.build_hello("1");
    cluster.build_hello("2");
    let kubectl = cluster.kubectl();
    let mut transcripts = TRANSCRIPTS.to_vec();
    let tools = skiff_e2e::workspace().join("target/tools");
    for (tool, transcript) in [("kubectl-old", "old"), ("python/kubernetes", "python")] {
        if tools.join(tool).exists() {
            transcripts.push(transcript);
        } else {
            eprintln!("SKIPPED: {transcript}: there is no {tool}");
        }
    }
    let differences = run(&transcripts, &kubectl);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Runs transcripts, as many at once as keep two processors busy; what was printed otherwise than expected.
fn run(transcripts: &[&str], kubectl: &Kubectl) -> Vec<String> {
    let only = std::env::var("SKIFF_TRANSCRIPT").ok();
    let wanted = transcripts.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name));
    let queue = Mutex::new(wanted.rev());
    let next = || queue.lock().expect("nothing panics under it").next();
    let differences = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(name) = next() {
                    let start = std::time::Instant::now();
                    let found = transcript::run(&path(name), kubectl);
                    eprintln!("transcript: {name}: {:.1} s", start.elapsed().as_secs_f64());
                    differences.lock().expect("nothing panics under it").extend(found);
                }
            });
        }
    });
    differences.into_inner().expect("nothing panics under it")
}

fn path(transcript: &str) -> PathBuf {
    skiff_e2e::workspace().join("tests/e2e/transcripts").join(transcript).with_extension("txt")
}
