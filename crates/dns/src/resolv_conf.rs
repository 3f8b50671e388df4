//! The upstream resolvers, from a resolv.conf that may change at any time.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How often the file is looked at, at most; only questions make it so.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Who is asked for names outside the cluster.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The name servers in a file of resolv.conf's form.
    ResolvConf(PathBuf),
    /// These.
    Servers(Vec<SocketAddr>),
}

/// The upstream resolvers as they are now.
#[derive(Debug)]
pub(crate) struct Upstreams {
    upstream: Upstream,
    /// This server's own addresses: asking itself would be a loop.
    own: Vec<SocketAddr>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    modified: Option<SystemTime>,
    servers: Arc<[SocketAddr]>,
}

impl Upstreams {
    pub fn new(upstream: Upstream, own: Vec<SocketAddr>) -> Self {
        Self { upstream, own, known: Mutex::default() }
    }

    /// The servers to ask, in order.
    pub fn servers(&self, now: Instant) -> Arc<[SocketAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_some_and(|looked| now < looked + LOOK_AGAIN) {
            return known.servers.clone();
        }
        known.looked = Some(now);
        let not_us = |server: &SocketAddr| !self.own.contains(server);
        match &self.upstream {
            Upstream::Servers(servers) => known.servers = servers.iter().copied().filter(not_us).collect(),
            Upstream::ResolvConf(path) => {
                let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
                if modified != known.modified || modified.is_none() {
                    known.modified = modified;
                    known.servers = read(path).into_iter().filter(not_us).collect();
                    tracing::debug!(servers = ?known.servers, "upstream resolvers read");
                }
            }
        }
        known.servers.clone()
    }
}

fn read(path: &Path) -> Vec<SocketAddr> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text),
        Err(err) => {
            tracing::warn!(path = %path.display(), err = %err, "upstream resolvers cannot be read");
            Vec::new()
        }
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // A zone (`fe80::1%eth0`) names an interface and cannot be part of an address here.
        address.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(server).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_and_ourselves_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("resolv.conf");
        let text = "# made by hand\nsearch example.com\nnameserver 192.0.2.1\n nameserver\t2001:db8::1\nnameserver 10.43.0.10\nnameserver x\n";
        std::fs::write(&path, text).expect("write");
        let own = vec!["10.43.0.10:53".parse().expect("an address")];
        let upstreams = Upstreams::new(Upstream::ResolvConf(path), own);
        let servers: Vec<_> = upstreams.servers(Instant::now()).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }
}
