//! The kubelet's log files: what containers write is taken from Docker's logs, whole or after a restart from where the
//! file ends.

mod collector;
mod file;
mod line;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Env, Spawner};
use bollard::Docker;
use cri::{ReopenContainerLogRequest, ReopenContainerLogResponse, Status};
use tokio::sync::watch;

use crate::container::Container;
use crate::engine::Engine;
use crate::record::ContainerRecord;
use collector::Collector;
use file::LogFile;

/// How long is waited for the end of a log, which comes right after the end of its container.
const COMPLETION: Duration = Duration::from_secs(5);

/// The log of a container that is being followed, or was.
#[derive(Clone, Debug)]
struct Followed {
    file: Arc<Mutex<Option<LogFile>>>,
    is_complete: watch::Receiver<bool>,
    is_wanted: Arc<watch::Sender<bool>>,
}

/// All logs.
#[derive(Debug)]
pub(crate) struct Logs {
    docker: Docker,
    env: Env,
    spawner: Spawner,
    followed: Mutex<HashMap<String, Followed>>,
}

impl Logs {
    pub(crate) fn new(docker: Docker, env: Env, spawner: Spawner) -> Self {
        Self { docker, env, spawner, followed: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what a container writes until it ends.
    pub(crate) fn follow(&self, id: &str, record: &ContainerRecord) {
        let mut followed = self.lock();
        let is_followed = followed.get(id).is_some_and(|followed| !*followed.is_complete.borrow());
        if record.log_path.is_empty() || is_followed {
            return;
        }
        let (complete, is_complete) = watch::channel(false);
        let is_wanted = Arc::new(watch::channel(true).0);
        let file = Arc::default();
        let collector = Collector {
            docker: self.docker.clone(),
            env: self.env.clone(),
            id: id.to_owned(),
            path: PathBuf::from(&record.log_path),
            file: Arc::clone(&file),
            is_wanted: is_wanted.subscribe(),
        };
        followed.insert(id.to_owned(), Followed { file, is_complete, is_wanted });
        self.spawner.spawn(format!("log of container {id}"), async move {
            collector.run().await;
            complete.send_replace(true);
        });
    }

    /// Waits until all that a container wrote before it ended is in its file.
    pub(crate) async fn complete(&self, id: &str) {
        let followed = self.lock().get(id).cloned();
        if let Some(mut followed) = followed {
            tokio::select! {
                _ = followed.is_complete.wait_for(|is_complete| *is_complete) => {}
                () = self.env.sleep(COMPLETION) => tracing::warn!(container = id, "the end of its log is not there yet"),
            }
        }
    }

    /// Forgets a container that is gone.
    pub(crate) fn forget(&self, id: &str) {
        if let Some(followed) = self.lock().remove(id) {
            followed.is_wanted.send_replace(false);
        }
    }
}

/// `ReopenContainerLog`: the kubelet has given the file another name.
pub(crate) async fn reopen(
    engine: &Arc<Engine>,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse, Status> {
    let container = Container::running(engine, &request.container_id).await?;
    let followed = engine.logs.lock().get(&container.id).cloned();
    if let Some(followed) = followed {
        let mut file = followed.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut() {
            file.reopen().map_err(|err| Status::internal(format!("cannot open the log anew: {err}")))?;
        }
    }
    Ok(ReopenContainerLogResponse {})
}
