//! The kubectl that people have, of today and of years ago, Helm, the Python client and kube-rs, against one cluster.
//!
//! What the first three must print is written down in `tests/e2e/transcripts`.

mod kube_rs;

use std::path::PathBuf;
use std::sync::Mutex;

use skiff_e2e::{Cluster, Layout, Process, transcript};

/// The transcripts, each of which keeps to a namespace of its own.
const TRANSCRIPTS: &[&str] = &["apply", "edit", "create", "get", "custom", "pods", "rollout", "helm"];

/// The one that is a program: it says itself what it expects.
const KUBE_RS: &str = "kube-rs";

#[test]
fn clients_see_a_cluster_as_they_know_it() {
    let mut cluster = Cluster::start("clnt", Layout::OneProcess);
    cluster.processes().iter().for_each(may_open_many_files);
    cluster.build_hello("1");
    cluster.build_hello("2");
    let mut transcripts = TRANSCRIPTS.to_vec();
    let tools = skiff_e2e::workspace().join("target/tools");
    // What this machine cannot have is noted by `make tools`; what is missing otherwise is a mistake.
    let missing = std::fs::read_to_string(tools.join("missing")).unwrap_or_default();
    for (tool, transcript) in [("kubectl-old", "old"), ("python/kubernetes", "python")] {
        if missing.lines().any(|line| line == tool) {
            eprintln!("SKIPPED: {transcript}: this machine cannot have {tool}");
        } else {
            assert!(tools.join(tool).exists(), "there is no {tool} in {}: run `make tools`", tools.display());
            transcripts.push(transcript);
        }
    }
    transcripts.push(KUBE_RS);
    let differences = run(&transcripts, &cluster);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Every connection is a file, and systems start programs with few.
fn may_open_many_files(server: &Process) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("it runs");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("files are limited");
    let (soft, hard) = files.trim().split_once(' ').expect("two limits");
    assert_eq!(hard.split_whitespace().next(), Some(soft), "{limits}");
}

/// Runs transcripts, as many at once as keep two processors busy; what was printed otherwise than expected.
fn run(transcripts: &[&str], cluster: &Cluster) -> Vec<String> {
    let kubectl = cluster.kubectl();
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
                    let found = match *name {
                        KUBE_RS => kube_rs::run(cluster),
                        name => transcript::run(&path(name), &kubectl),
                    };
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
