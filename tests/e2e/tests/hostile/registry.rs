//! A registry that gives what nobody should take, or takes its time.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};
use skiff_e2e::Cluster;

/// How blobs of a repository are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As one should.
    Whole,
    /// A byte a second.
    Drip,
    /// The head of the answer, and nothing of it.
    Silent,
}

/// What the registry has.
#[derive(Default)]
struct Content {
    /// By `repository/manifests/reference`, and `repository/blobs/digest`.
    documents: HashMap<String, Arc<Vec<u8>>>,
    manners: HashMap<String, Manner>,
}

/// A registry on a cluster's first machine, until it is dropped.
pub struct Registry {
    /// Host and port, as that machine sees it.
    pub address: String,
    content: Arc<Mutex<Content>>,
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

/// A layer as it is sent, and the digest of what is in it.
#[derive(Clone)]
pub struct Layer {
    pub packed: Vec<u8>,
    pub diff_id: String,
}

/// The digests of an image.
pub struct Stored {
    pub manifest: String,
    pub config: String,
    pub layer: String,
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

impl Layer {
    /// One with busybox, a program that says `unharmed` and stays, and a file of this name.
    pub fn greeter(name: &str) -> Self {
        let busybox = std::fs::read("/usr/bin/busybox").expect("busybox-static is installed");
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            archive.append_data(&mut header, path, content).expect("appended");
        };
        add(name, b"");
        add("bin/busybox", &busybox);
        add("bin/greet", b"#!/bin/sh\necho unharmed\ntrap 'exit 0' TERM\nsleep 1000 & wait\n");
        for applet in ["sh", "sleep", "echo"] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("appended");
        }
        let packed = archive.into_inner().expect("finished");
        Self { diff_id: digest(&packed), packed }
    }

    /// One that is so many MiB of the same letter, in very few bytes: the same piece again and again.
    pub fn bomb(mebibytes: usize) -> Self {
        let pack = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).expect("packed");
            encoder.finish().expect("packed")
        };
        let mut header = tar::Header::new_gnu();
        header.set_path("large").expect("a path");
        header.set_size((mebibytes as u64) << 20);
        header.set_mode(0o644);
        header.set_cksum();
        let (head, piece, end) = (pack(header.as_bytes()), pack(&vec![b'x'; 1 << 20]), pack(&[0; 1024]));
        // It is never read to its end.
        Self { packed: [head, piece.repeat(mebibytes), end].concat(), diff_id: digest(b"whatever") }
    }
}

impl Registry {
    pub fn start(cluster: &Cluster) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let listener = Arc::new(skiff_e2e::run_inside(cluster.machines().first(), bind));
        let address = listener.local_addr().expect("an address").to_string();
        let content = Arc::<Mutex<Content>>::default();
        let (accepting, shared) = (listener.clone(), content.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let content = shared.clone();
                // Each ends with its client, which ends with the cluster.
                std::thread::spawn(move || serve(&stream, &content));
            }
        });
        Self { address, content, listener, thread: Some(thread) }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        lock(&self.content)
    }

    /// Puts an image of one layer there, as `repository:1`.
    pub fn put(&self, repository: &str, layer: &Layer) -> Stored {
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/greet"], "Labels": {"repository": repository}},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        });
        let config = config.to_string().into_bytes();
        let sized = |media_type: &str, bytes: &[u8]| {
            let media_type = format!("application/vnd.oci.image.{media_type}");
            json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": sized("config.v1+json", &config),
            "layers": [sized("layer.v1.tar", &layer.packed)],
        });
        let manifest = manifest.to_string().into_bytes();
        let stored = Stored { manifest: digest(&manifest), config: digest(&config), layer: digest(&layer.packed) };
        let documents = [
            (format!("blobs/{}", stored.config), config),
            (format!("blobs/{}", stored.layer), layer.packed.clone()),
            (format!("manifests/{}", stored.manifest), manifest.clone()),
            ("manifests/1".to_owned(), manifest),
        ];
        let documents = documents.into_iter().map(|(path, bytes)| (format!("{repository}/{path}"), Arc::new(bytes)));
        self.content().documents.extend(documents);
        stored
    }

    /// Has something else where a manifest is looked for by its digest.
    pub fn spoil_manifest(&self, repository: &str, digest: &str) {
        self.spoil(&format!("{repository}/manifests/{digest}"));
    }

    /// Has another blob of the same length where this one is looked for.
    pub fn spoil_blob(&self, repository: &str, digest: &str) {
        self.spoil(&format!("{repository}/blobs/{digest}"));
    }

    fn spoil(&self, path: &str) {
        let mut content = self.content();
        let document = content.documents.get_mut(path).expect("it is there");
        Arc::make_mut(document).iter_mut().for_each(|byte| *byte ^= 1);
    }

    /// How the blobs of a repository are sent from now on.
    pub fn send(&self, repository: &str, manner: Manner) {
        self.content().manners.insert(repository.to_owned(), manner);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The thread that waits for connections wakes up by this.
        let _ = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&*self.listener),
            nix::sys::socket::Shutdown::Both,
        );
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request. A client that goes away is no error.
fn serve(stream: &TcpStream, content: &Mutex<Content>) {
    let _ = answer(stream, content);
    let _ = stream.shutdown(Shutdown::Both);
}

fn answer(mut stream: &TcpStream, content: &Mutex<Content>) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut start = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    let path = first.split(' ').nth(1).and_then(|path| path.strip_prefix("/v2/")).unwrap_or_default();
    let (document, manner) = {
        let content = lock(content);
        let repository = path.split('/').next().unwrap_or_default();
        let manner = content.manners.get(repository).copied().filter(|_| path.contains("/blobs/"));
        (content.documents.get(path).cloned(), manner.unwrap_or(Manner::Whole))
    };
    let Some(document) = document else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let (total, rest) = (document.len(), document.get(start..).unwrap_or_default());
    let status = match start {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}", total.saturating_sub(1)),
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let length = rest.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    match manner {
        Manner::Whole => stream.write_all(rest),
        Manner::Drip => {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            // What waits for a client that says nothing more wakes up when that has gone.
            rest.iter().try_for_each(|byte| match stream.read(&mut [0]) {
                Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    stream.write_all(&[*byte])
                }
                read => read.and(Err(io::ErrorKind::ConnectionAborted.into())),
            })
        }
        Manner::Silent => stream.read(&mut [0]).map(drop),
    }
}
