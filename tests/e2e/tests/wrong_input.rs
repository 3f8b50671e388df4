//! What is wrong gets a clear error, and nothing is lost by it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use skiff_e2e::{Cluster, Layout, Machines, Process, skiff_binary};
use tempfile::TempDir;

/// Runs `skiff ARGUMENTS`, which must fail with a message that has all `parts`.
#[track_caller]
fn check_refused(arguments: &[&str], code: i32, parts: &[&str]) {
    let output: Output = Command::new(skiff_binary()).args(arguments).output().expect("the binary runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

#[test]
fn wrong_options_name_the_right_ones() {
    check_refused(&["server", "--nod-name=a"], 2, &["--nod-name", "--node-name"]);
    check_refused(&["server", "--cluster-cidr=10.42"], 2, &["10.42", "--cluster-cidr"]);
    check_refused(&["server", "--https-listen-port=70000"], 2, &["70000", "--https-listen-port"]);
    check_refused(&["server", "--log=="], 1, &["log filter", "level"]);
    check_refused(&["sever"], 2, &["sever", "server"]);
}

#[test]
fn wrong_configuration_files_say_what_to_do() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, "nod-name: a\n").unwrap();
    check_refused(&["server", "--config", text(&file)], 1, &["unknown option \"nod-name\"", "\"node-name\""]);
    std::fs::write(&file, "node-name: [a\n").unwrap();
    check_refused(&["server", "--config", text(&file)], 1, &["not a YAML mapping", text(&file)]);
    let missing = dir.path().join("missing.yaml");
    check_refused(&["server", "--config", text(&missing)], 1, &["cannot read configuration file", text(&missing)]);
}

/// An API server's directories, and the arguments that run it there.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory can be made") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arguments(&self, port: &str) -> Vec<String> {
        let flag = |name: &str, path: &str| [name.to_owned(), text(&self.path(path)).to_owned()];
        let mut arguments =
            ["apiserver", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"].map(str::to_owned).to_vec();
        arguments.push(format!("--secure-port={port}"));
        arguments.extend(flag("--data-dir", "data"));
        arguments.extend(flag("--run-dir", "run"));
        arguments.extend(flag("--write-kubeconfig", "kubeconfig"));
        arguments
    }

    /// Runs the API server until it has written its kubeconfig.
    fn start(&self, machines: &Machines) -> Process {
        let log = self.path("log");
        let process = Process::start("apiserver", machines.first(), &self.arguments("16443"), &log);
        let kubeconfig = self.path("kubeconfig");
        testkit::until(Duration::from_secs(30), "the API server", || kubeconfig.is_file().then_some(()));
        process
    }

    #[track_caller]
    fn check_refused(&self, port: &str, parts: &[&str]) {
        let arguments = self.arguments(port);
        check_refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 1, parts);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    Home::new().check_refused(&port, &["127.0.0.1", &port, "in use"]);
}

#[test]
fn a_data_directory_has_one_owner() {
    let (home, machines) = (Home::new(), Machines::new("own"));
    let mut first = home.start(&machines);
    home.check_refused("0", &[text(&home.path("data")), "in use"]);
    first.assert_running();
    assert!(first.stop().success());
}

#[test]
fn a_data_directory_of_another_cluster_is_refused_and_kept() {
    let (home, other, machines) = (Home::new(), Home::new(), Machines::new("other"));
    for one in [&home, &other] {
        assert!(one.start(&machines).stop().success());
    }
    let (own, foreign) = (home.path("data/db"), other.path("data/db"));
    std::fs::rename(&own, home.path("own-db")).unwrap();
    std::fs::rename(&foreign, &own).unwrap();
    home.check_refused("0", &[text(&own), "cluster"]);
    // Nothing was changed by the attempt: each directory still serves its own cluster.
    std::fs::rename(&own, &foreign).unwrap();
    std::fs::rename(home.path("own-db"), &own).unwrap();
    for one in [&home, &other] {
        std::fs::remove_file(one.path("kubeconfig")).unwrap();
        assert!(one.start(&machines).stop().success());
    }
}

#[test]
fn wrong_manifests_change_nothing() {
    let mut cluster = Cluster::start("wrong", Layout::OneProcess);
    let kubectl = cluster.kubectl();
    let check = |manifest: &str, parts: &[&str]| {
        let message = kubectl.fail(&["apply", "-f", "-"], manifest);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    };
    let pod = |container: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: i, {container}}}]}}\n"
        )
    };
    check(&pod("imagee: x"), &["unknown field \"spec.containers[0].imagee\""]);
    check(&pod("resources: {requests: {cpu: 1x}}"), &["quantities must match the regular expression"]);
    check(
        &pod("ports: [{containerPort: 70000}]"),
        &["spec.containers[0].ports[0].containerPort", "must be between 1 and 65535"],
    );
    check("apiVersion: v1\nkind: Pod\n  metadata: [", &["error"]);
    kubectl.wait(&["pods"], "{.items[*].metadata.name}", Duration::from_secs(5), str::is_empty);
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}
