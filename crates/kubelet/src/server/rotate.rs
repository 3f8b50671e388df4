//! Rotates containers' logs before they grow too large. What is left of them is in order by [`rotated`].

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Drain;
use cri::{self as v1, RuntimeClient};
use futures::{StreamExt, stream};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::rotated;
use crate::context::Shared;

/// How often the runtime is asked which containers run: to forget those that ended, and for those that ran before.
const LIST: Duration = Duration::from_secs(10);

/// The logs of containers that run, by the containers' identifiers.
#[derive(Debug, Default)]
pub struct RunningLogs(Mutex<HashMap<String, PathBuf>>);

impl RunningLogs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, PathBuf>> {
        // Every change is one insert or removes what is known to have ended.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the log of a container that was started.
    pub fn started(&self, container: &str, path: PathBuf) {
        self.lock().insert(container.to_owned(), path);
    }

    /// Brings them in line with what the runtime has.
    async fn refresh(&self, mut runtime: RuntimeClient) -> Result<(), v1::Status> {
        // One that is started while the list is made is looked at the next time.
        let known: Vec<String> = self.lock().keys().cloned().collect();
        let state = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 };
        let filter = v1::ContainerFilter { state: Some(state), ..v1::ContainerFilter::default() };
        let list = runtime.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await?.into_inner();
        let running: HashSet<String> = list.containers.into_iter().map(|container| container.id).collect();
        self.lock().retain(|id, _| running.contains(id) || !known.contains(id));
        for id in running.into_iter().filter(|id| !known.contains(id)) {
            let request = v1::ContainerStatusRequest { container_id: id.clone(), verbose: false };
            // It may have ended since.
            let Ok(answer) = runtime.container_status(request).await else { continue };
            let path = PathBuf::from(answer.into_inner().status.unwrap_or_default().log_path);
            if !path.as_os_str().is_empty() {
                self.started(&id, path);
            }
        }
        Ok(())
    }
}

/// Rotates logs until the drain signal.
pub async fn run(context: Shared, drain: Drain) {
    // The kernel has no event for a size.
    let interval = context.config.container_log_interval;
    let mut list_at = context.env.instant();
    while drain.until(context.env.sleep(interval)).await.is_some() {
        if context.env.instant() >= list_at {
            list_at = context.env.instant() + LIST;
            let Some(result) = drain.until(context.logs.refresh(context.runtime.clone())).await else { return };
            if let Err(err) = result {
                tracing::debug!(err = %err.message(), "containers cannot be listed for log rotation");
            }
        }
        if drain.until(rotate_all(&context)).await.is_none() {
            return;
        }
    }
}

async fn rotate_all(context: &Shared) {
    let logs: Vec<(String, PathBuf)> =
        context.logs.lock().iter().map(|(id, path)| (id.clone(), path.clone())).collect();
    let rotate_one = async |(container_id, path): (String, PathBuf)| {
        let request = v1::ReopenContainerLogRequest { container_id };
        let reopen = || {
            let (mut runtime, request) = (context.runtime.clone(), request.clone());
            async move { runtime.reopen_container_log(request).await.map(drop) }
        };
        let stamp = context.env.now().strftime("%Y%m%d-%H%M%S").to_string();
        let limits = (context.config.container_log_max_bytes, context.config.container_log_max_files);
        if let Err(err) = rotate(&path, &stamp, limits, reopen).await {
            tracing::warn!(path = %path.display(), err = %err, "log cannot be rotated");
        }
    };
    stream::iter(logs).for_each_concurrent(context.config.container_log_max_workers.max(1), rotate_one).await;
}

/// Why a log was not rotated.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error("cannot look at it: {0}")]
    Look(#[source] io::Error),
    #[error("cannot rename it: {0}")]
    Rename(#[source] io::Error),
    #[error("the runtime cannot open it anew: {}", .0.message())]
    Reopen(v1::Status),
    #[error("cannot remove or compress older ones: {0}")]
    Settle(#[source] io::Error),
}

/// Rotates a log that is larger than it may be. `reopen` has the runtime write to the path anew.
async fn rotate<F: Future<Output = Result<(), v1::Status>>>(
    path: &Path,
    stamp: &str,
    (max_bytes, max_files): (u64, usize),
    reopen: impl Fn() -> F,
) -> Result<(), RotateError> {
    match tokio::fs::metadata(path).await {
        Ok(metadata) if metadata.len() <= max_bytes => return Ok(()),
        Ok(_) => {
            let rotated = rotated::name(path, stamp);
            rename_new(path, &rotated).map_err(RotateError::Rename)?;
            if let Err(err) = reopen().await {
                // The container still writes into the renamed file, which gets its name back; unless it was opened
                // anew though the answer was lost: then the path is another file, which must not be replaced.
                let _ = rename_new(&rotated, path);
                return Err(RotateError::Reopen(err));
            }
        }
        // A rotation was broken off after the first step: the container still writes into the renamed file.
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            // Unless it has ended, and its log went with it: then it cannot, and is forgotten soon.
            let _ = reopen().await;
            return Ok(());
        }
        Err(err) => return Err(RotateError::Look(err)),
    }
    let path = path.to_owned();
    // The log itself is one of them.
    let settled = tokio::task::spawn_blocking(move || rotated::settle(&path, max_files.saturating_sub(1)));
    settled.await.map_err(io::Error::other).flatten().map_err(RotateError::Settle)
}

/// Renames a file to what is not there yet.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a runtime does when it is asked to open a log anew.
    #[derive(Clone, Copy)]
    enum Runtime {
        Opens,
        /// It is killed before.
        Dies,
        /// It is killed after that, before it answers.
        DiesLater,
    }

    /// A container that goes on writing a line a step, while its log is rotated in each.
    #[track_caller]
    fn check(steps: &[Runtime], is_rotated: bool) {
        use std::io::{Read, Write};
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let open = || std::fs::File::options().create(true).append(true).open(&path).expect("opened");
        let file = std::cell::RefCell::new(open());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for (number, step) in steps.iter().enumerate() {
            writeln!(file.borrow_mut(), "{number}").expect("written");
            let reopen = || {
                if !matches!(step, Runtime::Dies) {
                    *file.borrow_mut() = open();
                }
                let dead = v1::Status::unavailable("it was killed");
                std::future::ready(if matches!(step, Runtime::Opens) { Ok(()) } else { Err(dead) })
            };
            // Told by the log.
            let _ = runtime.block_on(rotate(&path, &format!("2024010{number}-000000"), (1, 9), reopen));
        }
        writeln!(file.borrow_mut(), "{}", steps.len()).expect("written");
        let mut text = String::new();
        for mut content in rotated::all(&path).expect("listed").iter().map(|one| one.open().expect("opened")) {
            content.read_to_string(&mut text).expect("read");
        }
        text.push_str(&std::fs::read_to_string(&path).expect("read"));
        let numbers: Vec<String> = (0..=steps.len()).map(|number| number.to_string()).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), numbers);
        assert_eq!(!rotated::all(&path).expect("listed").is_empty(), is_rotated);
    }

    #[test]
    fn no_line_is_lost_when_a_rotation_is_broken_off() {
        check(&[Runtime::Opens, Runtime::Opens], true);
        check(&[Runtime::Dies], false);
        check(&[Runtime::Dies, Runtime::Opens], true);
        check(&[Runtime::DiesLater], true);
        check(&[Runtime::DiesLater, Runtime::Dies, Runtime::Opens], true);
    }

    #[test]
    fn a_log_without_its_name_is_opened_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        std::fs::write(rotated::name(&path, "20240101-000000"), "the kubelet was killed here").expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let reopen =
            || std::future::ready(std::fs::write(&path, "").map_err(|err| v1::Status::internal(err.to_string())));
        runtime.block_on(rotate(&path, "20240102-000000", (1, 9), reopen)).expect("no error");
        assert!(path.exists());
    }
}
