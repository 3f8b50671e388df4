//! The keys of the encryption at rest are rotated while server and command are killed: every secret can be read after
//! each, in the end all are stored under the newest key, and the datastore's files never hold one plain.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::Source;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use skiff_e2e::skiff_binary;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);
const SECRETS: usize = 60;

/// Whether a moment has come, by the keys in the file before and now.
type HasCome = fn(&[String], &[String]) -> bool;

/// An API server alone, as a process, and the command that changes its keys.
struct Home {
    dir: TempDir,
    server: Option<Child>,
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn skiff(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(skiff_binary());
        command.args(arguments).arg("--data-dir").arg(self.path("data")).arg("--run-dir").arg(self.path("run"));
        command.env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        // Its address is another one after every start.
        let _ = std::fs::remove_file(self.path("kubeconfig"));
        let mut command =
            self.skiff(&["apiserver", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=0"]);
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        command.arg("--write-kubeconfig").arg(self.path("kubeconfig"));
        command.stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().expect("the binary runs"));
        testkit::until(SOON, "the API server", || self.path("kubeconfig").is_file().then_some(()));
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SIGKILL.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    fn rotate(&self) -> Command {
        let mut command = self.skiff(&["secrets-encrypt", "rotate"]);
        command.arg("--kubeconfig").arg(self.path("kubeconfig"));
        command
    }

    async fn secrets(&self) -> Api<Secret> {
        let client = client::connect(Source::Kubeconfig(self.path("kubeconfig")), "test", &base::Env::system()).await.expect("a kubeconfig");
        let api: Api<Secret> = Api::namespaced(client, "default");
        let served = async || api.list(&ListParams::default().limit(1)).await.ok();
        testkit::poll_async(SOON, served).await.expect("secrets are served");
        api
    }

    async fn check_all_readable(&self) {
        let all = self.secrets().await.list(&ListParams::default()).await.expect("all can be read");
        let is_whole = |secret: &&Secret| secret.data.as_ref().is_some_and(|data| data["text"].0 == b"hidden");
        assert_eq!(all.items.iter().filter(is_whole).count(), SECRETS);
    }

    /// Whether a file of the datastore holds a text.
    fn holds(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.path("data/db")).expect("a datastore").map(|entry| entry.expect("a file"));
        let mut contents = files.map(|entry| std::fs::read(entry.path()).unwrap_or_default());
        contents.any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// The names of the keys in the file.
    fn keys(&self) -> Vec<String> {
        let path = self.path("data/server/cred/encryption-config.json");
        let file: Value = serde_json::from_slice(&std::fs::read(path).expect("keys")).expect("the file is whole");
        let keys = file["resources"][0]["providers"][0]["secretbox"]["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().map(|key| key["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
async fn keys_are_rotated_though_everything_is_killed() {
    let mut home = Home { dir: TempDir::new().expect("a directory"), server: None };
    home.start();
    let api = home.secrets().await;
    for number in 0..SECRETS {
        let secret = json!({"metadata": {"name": format!("s{number}")}, "stringData": {"text": "hidden"}});
        let secret = serde_json::from_value(secret).expect("a secret");
        api.create(&PostParams::default(), &secret).await.expect("created");
    }
    let first = home.keys();
    assert_eq!(first.len(), 1);
    // The moments: the file has changed; another key writes; the command alone ends, and the server goes on.
    let moments: [(&str, HasCome, bool); 4] = [
        ("a new key", |before, now| before != now, true),
        ("another key that writes", |before, now| before[0] != now[0], true),
        ("a new key", |before, now| before != now, false),
        ("another key that writes", |before, now| before[0] != now[0], false),
    ];
    for (what, has_come, ends_server) in moments {
        let before = home.keys();
        let mut rotation = home.rotate().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        testkit::until(SOON, what, || has_come(&before, &home.keys()).then_some(()));
        if ends_server {
            home.kill();
        }
        let _ = rotation.kill();
        let _ = rotation.wait();
        if ends_server {
            home.start();
        }
        home.check_all_readable().await;
        assert!(!home.holds("aGlkZGVu"), "what is hidden, in base64");
    }
    assert!(home.holds(&first[0]), "the names of keys lie beside what they encrypted");
    let rotated = home.rotate().output().expect("it runs");
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let told = String::from_utf8_lossy(&rotated.stdout).into_owned();
    let newest = home.keys()[0].clone();
    assert!(told.contains(&format!("secretbox/{newest} writes from now on")), "{told}");
    assert!(newest > first[0]);
    home.check_all_readable().await;
    let mut status = home.skiff(&["secrets-encrypt", "status"]);
    let status = status.arg("--kubeconfig").arg(home.path("kubeconfig")).output().expect("it runs");
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    let line = told.lines().find(|line| line.contains(&newest)).unwrap_or_default();
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns[..3], ["secrets", &format!("secretbox/{newest}"), "writes"], "{told}");
    assert!(columns[3].parse::<usize>().is_ok_and(|count| count >= SECRETS), "{told}");
    assert!(!told.contains("missing") && !told.contains("not stored under"), "{told}");
}
