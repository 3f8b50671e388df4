//! Pods that nobody touches: they print numbers, and answer a probe.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_e2e::{Cluster, IMAGE};

use crate::witness::Witness;

/// How many there are.
pub const PODS: usize = 4;

/// How many lines each prints at a time, and the seconds between: so many that logs are rotated again and again.
const LINES: u32 = 10;
const PAUSE: f64 = 0.25;

const DEADLINE: Duration = Duration::from_secs(120);

/// The pods.
pub struct Steady {
    names: Vec<String>,
}

impl Steady {
    /// Starts them and waits until they are ready.
    pub async fn start(client: &Client, witness: &Witness) -> Self {
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        let made = await_condition(accounts, "default", conditions::is_created());
        tokio::time::timeout(DEADLINE, made).await.expect("in time").expect("it is watched");
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let names: Vec<String> = (0..PODS).map(|number| format!("steady-{number}")).collect();
        for name in &names {
            let pod = serde_json::from_value(pod(name)).expect("a pod");
            pods.create(&PostParams::default(), &pod).await.expect("created");
        }
        let ready = async || (witness.moving() == 0 && witness.pod(&names[PODS - 1]).is_some()).then_some(());
        if testkit::poll_async(DEADLINE, ready).await.is_none() {
            let pods: Vec<_> = names.iter().filter_map(|name| witness.pod(name)).collect();
            panic!("the steady pods do not become ready: {pods:#?}");
        }
        Self { names }
    }

    /// What is said of them, which is to stay as it is.
    pub fn statuses(&self, witness: &Witness) -> Vec<Value> {
        self.names.iter().map(|name| witness.pod(name).expect("it is there")["status"].clone()).collect()
    }

    /// Sees that each has printed every number once, in order, and goes on.
    pub async fn check_logs(&self, cluster: &Cluster) {
        for name in &self.names {
            let printed = check_log(cluster, name);
            let more = async || (check_log(cluster, name) > printed).then_some(());
            assert!(testkit::poll_async(DEADLINE, more).await.is_some(), "{name} prints no more");
        }
    }
}

/// How many numbers a pod has printed.
#[track_caller]
fn check_log(cluster: &Cluster, name: &str) -> usize {
    let text = printed(cluster, name);
    // The last line may be being written.
    let lines: Vec<&str> = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
    for (index, line) in lines.iter().enumerate() {
        let number = line.rsplit(' ').next().and_then(|number| number.parse::<usize>().ok());
        assert_eq!(number, Some(index + 1), "{name}: line {}: {:?}", index + 1, &lines[index.saturating_sub(2)..]);
    }
    lines.len()
}

/// The whole log of a pod, over all its files.
fn printed(cluster: &Cluster, name: &str) -> String {
    let files = || {
        let mut files = cluster.log_files("default", name);
        files.retain(|path| path.parent().is_some_and(|dir| dir.ends_with("ticker")));
        // A rotated file's name goes on with its time: all of them before the one that is written to.
        files.sort_by_key(|path| (path.ends_with("0.log"), path.clone()));
        // Who is killed while it compresses one leaves both.
        files.dedup_by(|later, first| {
            later.with_extension("") == *first && later.extension().is_some_and(|e| e == "gz")
        });
        files
    };
    loop {
        let before = files();
        let texts = before.iter().map(|path| text(path)).collect::<Result<String, _>>();
        // Read anew where it was rotated meanwhile.
        if let Ok(text) = texts
            && files() == before
        {
            return text;
        }
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut text = String::new();
    match path.extension().is_some_and(|end| end == "gz") {
        true => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text)?,
        false => file.read_to_string(&mut text)?,
    };
    Ok(text)
}

fn pod(name: &str) -> Value {
    let script = format!(
        "n=0; while true; do m=$((n+{LINES})); while [ $n -lt $m ]; do n=$((n+1)); echo number $n; done; sleep {PAUSE}; done"
    );
    let http = json!({"path": "/version", "port": 8080});
    // Patient, for the machine may be busy: what is to be seen is that nobody forgets what the last one said.
    let probe = json!({"httpGet": http, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 6});
    let web = json!({"name": "web", "image": IMAGE, "readinessProbe": probe, "livenessProbe": probe});
    let ticker = skiff_e2e::container("ticker", &script);
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [ticker, web]});
    skiff_e2e::pod(name, &spec)
}
