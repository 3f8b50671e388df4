//! When the last shutdown's pods ended: kept over it, as whoever scrapes the node sees it only afterwards.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Upstream's name of the file.
const FILE: &str = "graceful_node_shutdown_state";

/// What the file has. Upstream writes the year 1 where there is no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Timestamp>,
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    times: Mutex<Times>,
}

impl Record {
    /// What was written below the kubelet's directory, if anything was.
    pub fn restore(kubelet_dir: &Path) -> Self {
        let path = kubelet_dir.join(FILE);
        let times = std::fs::read(&path).ok().and_then(|text| {
            serde_json::from_slice(&text)
                .inspect_err(|err| tracing::warn!(path = %path.display(), err = %err, "the last shutdown is not known"))
                .ok()
        });
        Self { path, times: Mutex::new(times.unwrap_or_default()) }
    }

    /// Pods begin to end.
    pub fn begin(&self, now: Timestamp) {
        self.keep(Times { start_time: Some(now), end_time: None });
    }

    /// They have ended, or their time is over.
    pub fn end(&self, now: Timestamp) {
        let start_time = self.lock().start_time;
        self.keep(Times { start_time, end_time: Some(now) });
    }

    /// Beginning and end in seconds since the epoch; 0 where there is no end yet.
    pub fn times(&self) -> Option<(f64, f64)> {
        let Times { start_time, end_time } = *self.lock();
        let seconds = |time: Timestamp| time.as_duration().as_secs_f64().max(0.0);
        Some((seconds(start_time?), end_time.map_or(0.0, seconds))).filter(|(start, _)| *start > 0.0)
    }

    fn keep(&self, times: Times) {
        *self.lock() = times;
        let draft = self.path.with_extension("new");
        let write = || {
            std::fs::write(&draft, serde_json::to_vec(&times)?)?;
            std::fs::rename(&draft, &self.path)
        };
        if let Err(err) = write() {
            tracing::warn!(path = %self.path.display(), err = %err, "the shutdown cannot be written down");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn the_next_kubelet_knows_of_the_last_shutdown() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = Record::restore(dir.path());
        assert_eq!(record.times(), None);
        record.begin(at(100));
        assert_eq!(Record::restore(dir.path()).times(), Some((100.0, 0.0)));
        record.end(at(130));
        assert_eq!(Record::restore(dir.path()).times(), Some((100.0, 130.0)));
    }

    #[test]
    fn what_upstreams_kubelet_wrote_is_understood() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = r#"{"startTime":"2026-01-02T03:04:05.5Z","endTime":"0001-01-01T00:00:00Z"}"#;
        std::fs::write(dir.path().join(FILE), text).expect("written");
        assert_eq!(Record::restore(dir.path()).times(), Some((1_767_323_045.5, 0.0)));
    }
}
