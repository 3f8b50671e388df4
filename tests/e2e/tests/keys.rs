//! Keys are changed under a server that runs.
//!
//! Every authority gets a successor, and who knows the earlier one alone goes on as before. The keys of the encryption at
//! rest are rotated while server and command are killed: every secret can be read after
//! each, in the end all are stored under the newest key, and the datastore's files never hold one plain.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::Source;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
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

    /// What `skiff cert` says.
    fn cert(&self, arguments: &[&str]) -> String {
        let mut command = self.skiff(&[&["cert"], arguments].concat());
        let told = command.arg("--kubeconfig").arg(self.path("kubeconfig")).output().expect("it runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8_lossy(&told.stdout).into_owned()
    }

    /// A client as a kubeconfig in this directory says.
    async fn client(&self, kubeconfig: &str) -> Client {
        let source = Source::Kubeconfig(self.path(kubeconfig));
        client::connect(source, "test", &base::Env::system()).await.expect("a kubeconfig")
    }

    async fn secrets(&self) -> Api<Secret> {
        let api: Api<Secret> = Api::namespaced(self.client("kubeconfig").await, "default");
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

/// Whether a client may read what only an administrator may.
async fn is_served(client: &Client) -> bool {
    Api::<Namespace>::all(client.clone()).get("kube-system").await.is_ok()
}

#[tokio::test]
async fn authorities_have_successors_and_nobody_is_cut_off() {
    const AUTHORITIES: [&str; 3] = ["ca", "client-ca", "front-proxy-ca"];
    const LEAVES: [&str; 3] = ["apiserver", "apiserver-kubelet-client", "front-proxy-client"];
    let mut home = Home { dir: TempDir::new().expect("a directory"), server: None };
    home.start();
    // It takes what is there while the server starts.
    home.secrets().await;
    let count = |table: &str, name: &str, kind: &str| {
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row.len() > 2 && row[0] == name && row[1..].join(" ").starts_with(kind)).count()
    };
    let listed = home.cert(&["list"]);
    for (name, kind) in AUTHORITIES.map(|name| (name, "authority CN=skiff-")).into_iter().chain([
        (LEAVES[0], "server CN=kube-apiserver "),
        (LEAVES[1], "client CN=kube-apiserver-kubelet-client "),
        (LEAVES[2], "client CN=front-proxy-client "),
        ("kubeconfig", "client CN=kubernetes-admin "),
    ]) {
        assert_eq!(count(&listed, name, kind), 1, "{name}: {listed}");
    }

    // Who knows the earlier authorities alone, and a watch of his.
    std::fs::copy(home.path("kubeconfig"), home.path("early")).expect("copied");
    let early = home.client("early").await;
    let maps: Api<ConfigMap> = Api::namespaced(early.clone(), "default");
    let watched = maps
        .watch(&WatchParams::default().disable_bookmarks().fields("metadata.name=late"), "0")
        .await
        .expect("a watch");
    let mut watched = std::pin::pin!(watched);

    for generation in 1..=2 {
        let told = home.cert(&["rotate", "--ca"]);
        for name in AUTHORITIES {
            assert!(told.contains(&format!("{name}: a successor issues from now on")), "{told}");
        }
        for name in LEAVES {
            assert!(told.contains(&format!("{name}: issued anew")), "{told}");
        }
        let listed = home.cert(&["list"]);
        for name in AUTHORITIES {
            assert_eq!(count(&listed, name, "earlier authority CN=skiff-"), generation, "{listed}");
        }
        // Each over a new connection, to a server whose certificate the newest authority has issued.
        assert!(is_served(&home.client("early").await).await, "who knows the first authorities alone");
        // The server reads the newest when it hears of the file, in a moment.
        let newest = home.client("kubeconfig").await;
        let served = async || is_served(&newest).await.then_some(());
        testkit::poll_async(SOON, served).await.expect("who has a certificate of the newest is served");
    }
    let map = serde_json::from_value(json!({"metadata": {"name": "late"}})).expect("a map");
    maps.create(&PostParams::default(), &map).await.expect("created");
    let event = tokio::time::timeout(SOON, watched.next()).await.expect("in time").expect("the watch goes on");
    assert!(matches!(event.expect("an event"), WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("late")));

    // They are the same after a restart.
    home.kill();
    home.start();
    let again = home.cert(&["list"]);
    for name in AUTHORITIES {
        assert_eq!(count(&again, name, "earlier authority CN=skiff-"), 2, "{again}");
    }
    home.secrets().await;
}
