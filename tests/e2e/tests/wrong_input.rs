//! What is wrong gets a clear error, and nothing is lost by it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use skiff_e2e::{Cluster, Layout, Process, skiff_binary};
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

#[test]
fn a_port_in_use_is_named() {
    let dir = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (data, run, kubeconfig) = (dir.path().join("data"), dir.path().join("run"), dir.path().join("kubeconfig"));
    let arguments = [
        "apiserver",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--secure-port",
        &port,
        "--data-dir",
        text(&data),
        "--run-dir",
        text(&run),
        "--write-kubeconfig",
        text(&kubeconfig),
    ];
    check_refused(&arguments, 1, &["127.0.0.1", &port, "in use"]);
}

#[test]
fn a_data_directory_has_one_owner() {
    let dir = TempDir::new().unwrap();
    let (data, run, kubeconfig) = (dir.path().join("data"), dir.path().join("run"), dir.path().join("kubeconfig"));
    let machines = skiff_e2e::Machines::new("own");
    let arguments = [
        "apiserver",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--secure-port=16443",
        "--data-dir",
        text(&data),
        "--run-dir",
        text(&run),
        "--write-kubeconfig",
        text(&kubeconfig),
    ];
    let owned: Vec<String> = arguments.map(str::to_owned).to_vec();
    let mut first = Process::start("apiserver", machines.first(), &owned, &dir.path().join("log"));
    testkit::until(Duration::from_secs(30), "the first API server", || kubeconfig.is_file().then_some(()));
    check_refused(&arguments, 1, &[text(&data), "in use"]);
    first.assert_running();
    assert!(first.stop().success());

    // A directory that something else wrote is not taken over.
    let foreign = data.join("db");
    let state = std::fs::read_dir(&data).unwrap().flatten().find(|entry| entry.path().join("cluster-id").exists());
    assert!(foreign.exists() || state.is_some() || data.read_dir().unwrap().next().is_some());
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
    check("apiVersion: v1\nkind: Podd\nmetadata: {name: p}\n", &["no matches for kind \"Podd\""]);
    kubectl.wait(&["pods"], "{.items[*].metadata.name}", Duration::from_secs(5), str::is_empty);
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}
