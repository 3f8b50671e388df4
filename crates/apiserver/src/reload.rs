//! Configuration files that may change while the server runs.

use std::path::PathBuf;
use std::sync::LazyLock;

use base::{Drain, Env, FileWatch};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Opts};
use sha2::{Digest, Sha256};

use crate::metrics::{FIXED, counters};

/// A configuration file, and what it said when it was read last.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    pub(crate) reloads: Reloads,
}

/// How often a configuration was taken up again, under upstream's names.
#[derive(Clone, Debug)]
pub(crate) struct Reloads {
    count: IntCounterVec,
    last: GaugeVec,
}

impl Reloads {
    /// Those of a part of the server: `authentication` or `authorization`.
    fn new(part: &str) -> Self {
        let prefix = format!("apiserver_{part}_config_controller_automatic_reload");
        let labels = ["status", "apiserver_id_hash"];
        let last = Opts::new(format!("{prefix}_last_timestamp_seconds"), "When the configuration was last taken up.");
        Self {
            count: counters(&format!("{prefix}s_total"), "How often the configuration was taken up again.", &labels),
            last: GaugeVec::new(last, &labels).expect(FIXED),
        }
    }

    /// Another configuration was taken up, or could not be.
    fn count(&self, is_taken: bool, env: &Env) {
        let labels = [if is_taken { "success" } else { "failure" }, &SERVER_ID];
        self.count.with_label_values(&labels).inc();
        self.last.with_label_values(&labels).set(env.now().as_duration().as_secs_f64());
    }

    pub(crate) fn collect(&self) -> Vec<MetricFamily> {
        [self.count.collect(), self.last.collect()].concat()
    }
}

/// The hash of the name that upstream gives to a server: that is made of the name of the machine.
static SERVER_ID: LazyLock<String> = LazyLock::new(|| {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = format!("apiserver-{}", base32(&Sha256::digest(machine)[..16]));
    format!("sha256:{}", hex::encode(Sha256::digest(name)))
});

/// Bytes in base 32, in small letters and without padding.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| (byte >> (7 - at % 8)) & 1);
    let digit = |first: usize| (first..first + 5).fold(0, |digit, at| (digit << 1) | usize::from(bit(at)));
    (0..bytes.len() * 8).step_by(5).map(|first| char::from(DIGITS[digit(first)])).collect()
}

impl ConfigFile {
    /// The file of a part of the server, which says this.
    pub(crate) fn new(path: PathBuf, text: String, part: &str) -> Self {
        Self { path, text, reloads: Reloads::new(part) }
    }

    /// Gives `apply` the text of the file whenever it is another, until `drain`. What it refuses changes nothing.
    pub(crate) async fn follow(mut self, apply: impl Fn(&str) -> Result<(), String>, env: &Env, drain: Drain) {
        let path = self.path.display().to_string();
        let mut watch = match FileWatch::new(&self.path) {
            Ok(watch) => watch,
            Err(err) => {
                tracing::error!(path, %err, "a configuration file is not followed: its directory cannot be watched");
                return drain.drained().await;
            }
        };
        loop {
            // Read once before the first wait: it may have changed since it was read at the start.
            match std::fs::read_to_string(&self.path) {
                Ok(text) if text != self.text => {
                    let taken = apply(&text);
                    self.reloads.count(taken.is_ok(), env);
                    match taken {
                        Ok(()) => tracing::info!(path, "changed configuration file was taken"),
                        Err(why) => tracing::error!(path, why, "changed configuration file is not taken"),
                    }
                    self.text = text;
                }
                Ok(_) => {}
                Err(err) => tracing::warn!(path, %err, "configuration file cannot be read"),
            }
            match drain.until(watch.changed()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(err)) => {
                    tracing::error!(path, %err, "a configuration file is no longer followed");
                    return drain.drained().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_32_is_that_of_the_standard() {
        for (bytes, expected) in [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foobar", "mzxw6ytboi")] {
            assert_eq!(base32(bytes.as_bytes()), expected);
        }
    }
}
