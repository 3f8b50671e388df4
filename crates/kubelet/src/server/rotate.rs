//! Rotates containers' logs before they grow too large.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Drain;
use cri as v1;

use crate::context::Shared;

/// How often sizes are looked at. The kernel has no event for a size.
const INTERVAL: Duration = Duration::from_secs(10);

/// Rotates logs until the drain signal.
pub async fn run(context: Shared, drain: Drain) {
    while drain.until(context.env.sleep(INTERVAL)).await.is_some() {
        let Some(result) = drain.until(rotate_all(&context)).await else { return };
        if let Err(err) = result {
            tracing::debug!(err = %err.message(), "containers cannot be listed for log rotation");
        }
    }
}

async fn rotate_all(context: &Shared) -> Result<(), v1::Status> {
    let state = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 };
    let filter = v1::ContainerFilter { state: Some(state), ..v1::ContainerFilter::default() };
    let mut runtime = context.runtime.clone();
    let list = runtime.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await?.into_inner();
    for container in list.containers {
        let request = v1::ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
        // It may have ended since.
        let Ok(answer) = runtime.container_status(request).await else { continue };
        let path = PathBuf::from(answer.into_inner().status.unwrap_or_default().log_path);
        let large = tokio::fs::metadata(&path)
            .await
            .is_ok_and(|metadata| metadata.len() > context.config.container_log_max_bytes);
        if !large {
            continue;
        }
        let stamp = context.env.now().strftime("%Y%m%d-%H%M%S").to_string();
        let rotated = rotated_name(&path, &stamp);
        if let Err(err) = tokio::fs::rename(&path, &rotated).await {
            tracing::warn!(path = %path.display(), err = %err, "log cannot be rotated");
            continue;
        }
        let request = v1::ReopenContainerLogRequest { container_id: container.id };
        if let Err(err) = runtime.reopen_container_log(request).await {
            // The container still writes into the renamed file: it gets its name back.
            tracing::warn!(path = %path.display(), err = %err.message(), "log cannot be reopened");
            let _ = tokio::fs::rename(&rotated, &path).await;
            continue;
        }
        if let Err(err) = remove_oldest(&path, context.config.container_log_max_files) {
            tracing::debug!(path = %path.display(), err = %err, "old logs cannot be removed");
        }
    }
    Ok(())
}

/// What a log is called once it was rotated at the given time.
pub fn rotated_name(path: &Path, stamp: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    PathBuf::from(name)
}

/// The rotated files of a log, the oldest first: their names sort by time.
pub fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut rotated: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    rotated.sort();
    Ok(rotated)
}

/// Removes rotated files, so that `keep` stay, the current one included.
fn remove_oldest(path: &Path, keep: usize) -> io::Result<()> {
    let rotated = rotated(path)?;
    let surplus = rotated.len().saturating_sub(keep.saturating_sub(1));
    rotated.iter().take(surplus).try_for_each(std::fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_rotated_files_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        for number in 0..7 {
            std::fs::write(rotated_name(&path, &format!("2024010{number}-000000")), "").expect("written");
        }
        std::fs::write(&path, "").expect("written");
        remove_oldest(&path, 5).expect("removed");
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 5);
        assert!(rotated_name(&path, "20240106-000000").exists());
    }
}
