//! How fast an image of one gzipped layer becomes a root to start containers from: `cargo bench -p skiff-runtime`.
//!
//! Runs as root. The time is that of the whole import: receiving, hashing, storing, unpacking, making durable. The peers
//! are containerd, which imports the same archive, where the machine has it, and GNU tar, which unpacks the same layer and
//! syncs the disk, without any of the rest.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};
use skiff_runtime::{Config, Images};
use tar::{Builder, Header};

/// Files of the layer.
const FILES: usize = 3000;
/// Words of a file.
const WORDS: usize = 6000;
/// How often each is measured; the best counts, because others use the machine too.
const TIMES: usize = 3;
/// How long the runtime may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A layer as large as those of real images, whose files compress about as well.
fn layer() -> Outcome<Vec<u8>> {
    let words = ["lib", "usr", "share", "return", "static", "include", "\n", "const", "0x7f454c46", "=", "(", ");"];
    let mut state = 1_u64;
    let mut next = || {
        // Knuth's generator: any stream that is the same each time will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut archive = Builder::new(Vec::new());
    for file in 0..FILES {
        let mut content = String::new();
        for _ in 0..WORDS {
            let number = next();
            content.push_str(words[usize::try_from(number % 12)?]);
            if number % 5 == 0 {
                content.push_str(&number.to_string());
            }
            content.push(' ');
        }
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        archive.append_data(&mut header, format!("usr/lib/{}/file-{file}", file % 100), content.as_bytes())?;
    }
    Ok(archive.into_inner()?)
}

fn add(archive: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) -> Outcome<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, name, content)?)
}

/// What `docker save` would write of an image with this layer.
fn image(plain: &[u8], packed: &[u8]) -> Outcome<Vec<u8>> {
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(plain)));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let rootfs = json!({"type": "layers", "diff_ids": [diff_id]});
    let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs});
    let manifest = json!([{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": ["layer.tar"]}]);
    let mut archive = Builder::new(Vec::new());
    add(&mut archive, "layer.tar", packed)?;
    add(&mut archive, "config.json", config.to_string().as_bytes())?;
    add(&mut archive, "manifest.json", manifest.to_string().as_bytes())?;
    Ok(archive.into_inner()?)
}

/// A runtime that ends with this value.
struct Runtime(Child);

impl Drop for Runtime {
    fn drop(&mut self) {
        // Gone or not, it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn import(dir: &Path, archive: &[u8]) -> Outcome<Duration> {
    let instance = base::Instance::new(dir.join("data"), dir.join("run"));
    let socket = Config::default_socket(&instance);
    let process = Command::new(env!("CARGO_BIN_EXE_skiff-runtime"))
        .arg("serve")
        .args([dir.join("data"), dir.join("run")])
        .stdin(Stdio::null())
        .spawn()?;
    let runtime = Runtime(process);
    let began = Instant::now();
    while cri::connect(&socket).await.is_err() {
        if began.elapsed() > PATIENCE {
            return Err("the runtime does not start".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    Images::new(&socket).import(std::io::Cursor::new(archive.to_vec()), None).await?;
    let took = began.elapsed();
    drop(runtime);
    skiff_runtime::cleanup(&instance, true)?;
    Ok(took)
}

/// A containerd of its own for the images alone.
struct Containerd {
    process: Child,
    socket: PathBuf,
}

impl Containerd {
    fn start(dir: &Path) -> Outcome<Self> {
        let socket = dir.join("containerd.sock");
        let config = dir.join("containerd.toml");
        let (root, state) = (dir.join("containerd-data"), dir.join("containerd-run"));
        let text = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Self { process: command.spawn()?, socket };
        let began = Instant::now();
        while !started.ctr(&["version"])? {
            if began.elapsed() > PATIENCE {
                return Err("containerd does not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    fn ctr(&self, args: &[&str]) -> Outcome<bool> {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&self.socket).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status()?.success())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Gone or not, it is reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long containerd takes for the same archive; `None` where there is none.
fn containerd(dir: &Path, archive: &[u8]) -> Outcome<Option<Duration>> {
    if !Path::new("/usr/bin/containerd").exists() || !Path::new("/usr/bin/ctr").exists() {
        return Ok(None);
    }
    let file = dir.join("image.tar");
    std::fs::write(&file, archive)?;
    let containerd = Containerd::start(dir)?;
    let began = Instant::now();
    let imported = containerd.ctr(&["images", "import", &file.display().to_string()])?;
    // It leaves the files to the page cache; ours are on the disk when the call returns.
    let synced = Command::new("sync").arg("-f").arg(dir).status()?;
    let took = began.elapsed();
    if !imported || !synced.success() {
        return Err("ctr images import failed".into());
    }
    Ok(Some(took))
}

fn tar(dir: &Path, packed: &[u8]) -> Outcome<Duration> {
    let (file, root) = (dir.join("layer.tar.gz"), dir.join("root"));
    std::fs::write(&file, packed)?;
    std::fs::create_dir(&root)?;
    let began = Instant::now();
    let unpacked = Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&root).status()?;
    let synced = Command::new("sync").arg("-f").arg(&root).status()?;
    let took = began.elapsed();
    if !unpacked.success() || !synced.success() {
        return Err("tar failed".into());
    }
    std::fs::remove_dir_all(root)?;
    Ok(took)
}

fn main() -> Outcome<()> {
    let plain = layer()?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&plain)?;
    let packed = packed.finish()?;
    let archive = image(&plain, &packed)?;
    let threads = tokio::runtime::Runtime::new()?;
    let (mut ours, mut of_tar, mut of_containerd) = (Duration::MAX, Duration::MAX, None::<Duration>);
    for _ in 0..TIMES {
        let dir = tempfile::tempdir()?;
        ours = ours.min(threads.block_on(import(dir.path(), &archive))?);
        of_tar = of_tar.min(tar(dir.path(), &packed)?);
        of_containerd = of_containerd.into_iter().chain(containerd(dir.path(), &archive)?).min();
    }
    let megabytes = plain.len() as f64 / 1e6;
    let speed = |took: Duration| megabytes / took.as_secs_f64();
    println!("a layer of {megabytes:.0} MB, {:.0} MB gzipped, {FILES} files", packed.len() as f64 / 1e6);
    println!("bench: node.image-unpack {:.0} MB/s {:.2} vs tar -xzf", speed(ours), speed(ours) / speed(of_tar));
    match of_containerd.map(speed) {
        Some(peer) => {
            println!("bench: node.image-import {:.0} MB/s {:.2} vs containerd", speed(ours), speed(ours) / peer)
        }
        None => println!("SKIPPED: no containerd and ctr"),
    }
    Ok(())
}
