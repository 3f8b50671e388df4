//! Plain HTTP requests from inside a machine's namespace, one at a time or as a steady load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::machine;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// GETs `path`; the body of a 200 answer.
fn get_here(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(body.trim().to_owned())
}

/// GETs `path` from a server, as a client in `namespace`.
pub fn get(namespace: &str, address: SocketAddr, path: &str) -> io::Result<String> {
    let (namespace, path) = (namespace.to_owned(), path.to_owned());
    let request = std::thread::spawn(move || {
        machine::enter(&namespace);
        get_here(address, &path)
    });
    request.join().expect("the request does not panic")
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct LoadResult {
    /// Requests answered with 200.
    pub answered: usize,
    /// How each other request failed.
    pub failures: Vec<String>,
}

/// Requests that go on, one after the other, until it is finished.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<LoadResult>,
}

impl Load {
    /// Starts asking for `path`, as a client in `namespace`.
    pub fn start(namespace: &str, address: SocketAddr, path: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (stop.clone(), answered.clone());
        let (namespace, path) = (namespace.to_owned(), path.to_owned());
        let thread = std::thread::spawn(move || {
            machine::enter(&namespace);
            let mut result = LoadResult::default();
            while !stopped.load(Ordering::Relaxed) {
                match get_here(address, &path) {
                    Ok(_) => {
                        result.answered += 1;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(err) => result.failures.push(err.to_string()),
                }
            }
            result
        });
        Self { stop, answered, thread }
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the load.
    pub fn finish(self) -> LoadResult {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}
