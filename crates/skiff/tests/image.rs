//! `skiff image` as people type it: the program, against a runtime and a registry.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::{DrainTrigger, Env, Instance};
use runtime::{Config, RunError, Runtime};
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime whose images are managed.
struct Host {
    dir: tempfile::TempDir,
    drain: DrainTrigger,
    running: JoinHandle<Result<(), RunError>>,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Host {
    /// Starts one, where the tests may.
    async fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: not root");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("skiff-image-").tempdir().expect("a temporary directory");
        let mut config = Config::new(instance(dir.path()), Env::system());
        config.registry_config_dir = dir.path().join("certs.d");
        let runtime = Runtime::build(config).await.expect("built");
        let (drain, drained) = base::drain();
        Some(Self { running: tokio::spawn(runtime.run(drained)), dir, drain })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `skiff image`.
    async fn image(&self, args: &[&str]) -> Done {
        run(self.dir.path(), args).await
    }

    /// The same; it has to work, and what it printed is told.
    #[track_caller]
    fn works(&self, args: &[&str]) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            let done = self.image(args).await;
            assert_eq!(done.code, 0, "{place}: {args:?}: {done:?}");
            done.stdout
        }
    }

    /// The same; it has to fail, and say so with these words.
    async fn fails(&self, args: &[&str], code: i32, words: &str) {
        let done = self.image(args).await;
        assert!(done.code == code && done.stderr.contains(words), "{args:?}: {done:?}");
    }

    /// Makes an image with one file: its identifier.
    async fn build(&self, name: &str, content: &str) -> String {
        // A file that is written anew has another time, and makes another image.
        let rootfs = self.path(content);
        if !rootfs.exists() {
            fs::create_dir(&rootfs).expect("made");
            fs::write(rootfs.join("file"), content).expect("written");
        }
        let built = self.works(&["build", "--tag", name, "--from-rootfs", &rootfs.display().to_string()]).await;
        let (id, names) = built.trim_end().split_once("  ").expect("an identifier and names");
        assert!(names.split(' ').any(|known| known == name), "{built}");
        id.to_owned()
    }

    /// The names of all images.
    async fn names(&self) -> Vec<String> {
        let listed = self.works(&["list"]).await;
        let mut lines = listed.lines();
        assert!(lines.next().is_some_and(|head| head.starts_with("IMAGE ")), "{listed}");
        lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    async fn stop(mut self) {
        self.drain.drain();
        (&mut self.running).await.expect("it ends").expect("it ends well");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The run directory is a mount of its own. A failing test must leave nothing behind either.
        if let Err(err) = runtime::cleanup(&instance(self.dir.path()), true) {
            eprintln!("cannot clean up: {err}");
        }
    }
}

fn instance(dir: &Path) -> Instance {
    Instance::new(dir.join("data"), dir.join("run"))
}

async fn run(dir: &Path, args: &[&str]) -> Done {
    let (action, rest) = args.split_first().expect("what to do");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_skiff"))
        .args(["image", action, "--data-dir"])
        .arg(dir.join("data"))
        .arg("--run-dir")
        .arg(dir.join("run"))
        .args(rest)
        .env("HOME", dir)
        .output()
        .await
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Done {
        code: output.status.code().expect("it ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A registry on this machine.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    /// Starts one, where the machine has the program.
    async fn start(dir: &Path) -> Option<Self> {
        if !Path::new("/usr/bin/docker-registry").exists() {
            eprintln!("SKIPPED: no docker-registry");
            return None;
        }
        // The registry cannot be asked for a free port, so one is looked for.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.join("registry.yml");
        let storage = dir.join("registry").display().to_string();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: \"{address}\"}}\n",
        );
        fs::write(&config, text).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { process: command.spawn().expect("the registry starts"), address };
        let (deadline, mut ticks) = (Instant::now() + PATIENCE, tokio::time::interval(Duration::from_millis(10)));
        while TcpStream::connect(&registry.address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            ticks.tick().await;
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Gone or not, it is reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn images_are_built_listed_shown_and_removed_by_their_names() {
    let Some(host) = Host::start().await else { return };
    let id = host.build("skiff.local/a:1", "a").await;
    assert_eq!(host.names().await, ["skiff.local/a:1"]);
    assert_eq!(host.build("skiff.local/a:2", "a").await, id);
    assert_eq!(host.build("skiff.local/b:1", "a").await, id);
    let listed = host.works(&["ls"]).await;
    assert!(listed.contains(&id["sha256:".len()..][..12]) && listed.contains("yes"), "{listed}");
    let shown = host.works(&["inspect", "skiff.local/a:1", &id]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown[0]["id"], &shown[0]), (&serde_json::json!(id), &shown[1]));
    let tags = serde_json::json!(["skiff.local/a:1", "skiff.local/a:2", "skiff.local/b:1"]);
    assert_eq!((&shown[0]["repoTags"], &shown[0]["pinned"]), (&tags, &serde_json::json!(true)));
    host.fails(&["inspect", "nobody"], 1, "no image \"nobody\"").await;

    // A name goes alone, and the image with its last one.
    assert_eq!(host.works(&["rm", "skiff.local/a:1"]).await, "Untagged: skiff.local/a:1\n");
    assert_eq!(host.names().await, ["skiff.local/a:2", "skiff.local/b:1"]);
    host.fails(&["rm", &id], 1, "use --force").await;
    let done = host.image(&["rm", "nobody", "skiff.local/a:2", "nobody:2"]).await;
    assert!(done.code == 1 && done.stdout.starts_with("Untagged: skiff.local/a:2\n"), "{done:?}");
    for words in ["cannot remove nobody: no image \"nobody\"", "cannot remove nobody:2: no image"] {
        assert!(done.stderr.contains(words), "{done:?}");
    }
    let removed = host.works(&["rm", "skiff.local/b:1"]).await;
    assert!(removed.contains("Untagged: skiff.local/b:1\n") && removed.ends_with(&format!("Deleted: {id}\n")));
    assert!(host.names().await.is_empty());
    for name in ["skiff.local/a:1", "skiff.local/b:1"] {
        host.build(name, "a").await;
    }
    assert!(host.works(&["rm", "--force", &id]).await.ends_with(&format!("Deleted: {id}\n")));
    host.fails(&["build", "--tag", "NO", "--from-rootfs", "/etc"], 1, "must be lowercase").await;
    let none = host.path("none").display().to_string();
    host.fails(&["build", "--tag", "x", "--from-rootfs", &none], 1, "none is not a directory").await;
    host.fails(&["rm"], 2, "required").await;
    host.stop().await;
}

#[tokio::test]
async fn archives_leave_and_come() {
    let Some(host) = Host::start().await else { return };
    let id = host.build("skiff.local/a:1", "a").await;
    let other = host.build("skiff.local/b:1", "b").await;
    let file = host.path("both.tar").display().to_string();
    let told = host.works(&["export", "--output", &file, "skiff.local/a:1", &other]).await;
    assert!(told.starts_with(&format!("{file}  ")) && told.contains("KiB"), "{told}");
    host.fails(&["export", "--output", &file, "skiff.local/a:1", "nobody"], 1, "no image \"nobody\"").await;
    let none = host.path("none.tar").display().to_string();
    host.fails(&["save", "-o", &none, "nobody"], 1, "no image \"nobody\"").await;
    assert!(!host.path("none.tar").exists() && !host.path("none.tar.part").exists(), "half an archive is left");
    host.works(&["prune"]).await;
    assert_eq!(host.names().await.len(), 2, "what came from archives stays");
    assert!(host.works(&["prune", "--all"]).await.contains("removed 2 images of "));
    assert!(host.names().await.is_empty());
    let imported = host.works(&["import", &file]).await;
    let mut lines: Vec<&str> = imported.lines().collect();
    lines.sort_unstable();
    let mut expected = [format!("{id}  skiff.local/a:1"), format!("{other}  skiff.local/b:1")];
    expected.sort();
    assert_eq!(lines, expected);
    host.fails(&["import", &host.path("no.tar").display().to_string()], 1, "cannot read").await;
    fs::write(host.path("wrong.tar"), "nonsense").expect("written");
    host.fails(&["import", &host.path("wrong.tar").display().to_string()], 1, "cannot import").await;
    assert_eq!(host.names().await.len(), 2);
    host.stop().await;
}

#[tokio::test]
async fn images_go_to_a_registry_and_come_back() {
    let Some(host) = Host::start().await else { return };
    let Some(registry) = Registry::start(host.dir.path()).await else { return };
    let id = host.build("skiff.local/a:1", "a").await;
    let name = format!("{}/team/a:1", registry.address);
    let pushed = host.works(&["push", "skiff.local/a:1", &name]).await;
    assert!(pushed.starts_with(&format!("{id}  {}/team/a@sha256:", registry.address)), "{pushed}");
    host.works(&["rm", "skiff.local/a:1"]).await;
    assert_eq!(host.works(&["pull", &name]).await, format!("{id}  {name}\n"));
    assert_eq!(host.names().await, std::slice::from_ref(&name));
    let missing = format!("{}/team/a:2", registry.address);
    host.fails(&["pull", &missing], 1, &format!("cannot pull {missing}")).await;
    host.fails(&["pull", &missing], 1, "not found").await;
    host.fails(&["push", "nobody", &name], 1, "no image \"nobody\"").await;
    host.fails(&["push", &name, &format!("{}/x@{id}", registry.address)], 1, "name a tag").await;
    host.fails(&["pull", "--creds", "me", &name], 1, "USER:PASSWORD").await;
    // Nothing uses it, and it can be had again.
    assert!(host.works(&["prune"]).await.contains("removed 1 images of "));
    drop(registry);
    host.fails(&["pull", &name], 1, "cannot pull").await;
    host.stop().await;
}

#[tokio::test]
async fn who_has_no_runtime_is_told_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for args in [&["list"][..], &["rm", "x"], &["prune"], &["pull", "x"], &["inspect", "x"]] {
        let done = run(dir.path(), args).await;
        assert!(done.code == 1 && done.stderr.contains("cri.sock"), "{args:?}: {done:?}");
    }
}
