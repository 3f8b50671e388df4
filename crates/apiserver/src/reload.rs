//! Configuration files that may change while the server runs.

use std::path::PathBuf;

use base::{Drain, FileWatch};

/// A configuration file, and what it said when it was read last.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl ConfigFile {
    /// Gives `apply` the text of the file whenever it is another, until `drain`. What it refuses changes nothing.
    pub(crate) async fn follow(mut self, apply: impl Fn(&str) -> Result<(), String>, drain: Drain) {
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
                    match apply(&text) {
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
