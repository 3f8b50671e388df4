//! Many commands that run in one container at the same time.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use skiff_e2e::Cluster;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(240);

/// Opens so many streams into a container, all of which are open before the first one says anything, and closes them.
pub fn visit(cluster: &Cluster, pod: &str, count: u64) {
    let kubeconfig = cluster.kubeconfig();
    skiff_e2e::run_inside(cluster.machines().first(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the server has written it");
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            let client = Client::try_from(config.expect("a configuration")).expect("a client");
            let pods = Api::default_namespaced(client);
            tokio::time::timeout(DEADLINE, all(&pods, pod, count)).await.expect("in time");
        });
    });
}

async fn all(pods: &Api<Pod>, pod: &str, count: u64) {
    let begun = join_all((0..count).map(|_| begin(pods, pod))).await;
    let answers = join_all(begun.into_iter().enumerate().map(|(number, visitor)| talk(number, visitor))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, format!("hello {number}\n"));
    }
}

/// A command that has begun.
struct Visitor<R, W> {
    output: R,
    input: W,
    _process: AttachedProcess,
}

async fn begin(pods: &Api<Pod>, pod: &str) -> Visitor<impl AsyncRead + Unpin, impl AsyncWrite + Unpin> {
    let params = AttachParams::default().stdin(true).stderr(false);
    let command = ["sh", "-c", "echo begun; read number; echo hello $number"];
    let mut process = pods.exec(pod, command, &params).await.expect("it starts");
    let (mut output, input) = (process.stdout().expect("it is attached"), process.stdin().expect("it is attached"));
    let mut begun = [0; 6];
    output.read_exact(&mut begun).await.expect("it says so");
    assert_eq!(&begun, b"begun\n");
    Visitor { output, input, _process: process }
}

/// Says a number; what is said to that.
async fn talk<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(number: usize, mut visitor: Visitor<R, W>) -> String {
    visitor.input.write_all(format!("{number}\n").as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    visitor.output.read_to_string(&mut answer).await.expect("it is text");
    answer
}
