//! Following one container's log.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use futures::StreamExt;
use tokio::sync::watch;

use super::file::{LogFile, Position};
use super::line::{Line, Stream};

/// Between attempts to follow a log that cannot be followed.
const RETRY: Duration = Duration::from_secs(1);

/// Between the end of what Docker tells and the next look: it ends a log right before its container.
const LOOK: Duration = Duration::from_millis(50);

/// So many messages that are there are written at once.
const BATCH: usize = 512;

/// Follows one log.
pub(super) struct Collector {
    pub docker: Docker,
    pub env: Env,
    pub id: String,
    pub path: PathBuf,
    pub file: Arc<Mutex<Option<LogFile>>>,
    /// Whether the container is there still.
    pub is_wanted: watch::Receiver<bool>,
}

/// Why a log is not followed for the moment.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error("Docker does not tell: {0}")]
    Docker(#[from] Error),
    #[error("the file cannot be written: {0}")]
    File(#[from] io::Error),
}

impl Collector {
    /// Until the container has ended and all that it wrote is in the file, or nobody wants it.
    pub(super) async fn run(self) {
        let mut is_wanted = self.is_wanted.clone();
        tokio::select! {
            () = self.collect() => {}
            _ = is_wanted.wait_for(|is_wanted| !is_wanted) => {}
        }
    }

    async fn collect(&self) {
        let mut was_told = false;
        loop {
            let pause = match self.round().await {
                Ok(true) => return,
                Ok(false) => LOOK,
                Err(Interruption::Docker(err)) if is_gone(&err) => return,
                Err(err) => {
                    if !std::mem::replace(&mut was_told, true) {
                        tracing::warn!(container = self.id, %err, "a log cannot be followed for the moment");
                    }
                    RETRY
                }
            };
            self.env.sleep(pause).await;
        }
    }

    /// Follows the log until Docker says no more; whether that is all.
    async fn round(&self) -> Result<bool, Interruption> {
        self.read(true).await?;
        if !self.has_ended().await {
            return Ok(false);
        }
        // Who follows a log to its end may miss what Docker (20.10) writes last.
        self.read(false).await?;
        Ok(true)
    }

    /// Reads the log from where the file ends, until Docker says no more.
    async fn read(&self, follow: bool) -> Result<(), Interruption> {
        let (file, mut position) = LogFile::open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        let options = LogsOptionsBuilder::new().follow(follow).stdout(true).stderr(true).timestamps(true);
        let options = options.since(position.since()).tail("all").build();
        let messages = self.docker.logs(&self.id, Some(options)).ready_chunks(BATCH);
        let mut messages = std::pin::pin!(messages);
        while let Some(batch) = messages.next().await {
            let mut lines = Vec::new();
            let mut end = Ok(());
            for message in batch {
                match message {
                    Ok(message) => convert(&message, &mut position, &mut lines),
                    Err(err) => end = Err(err),
                }
            }
            if let Some(file) = self.file.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                file.append(&lines)?;
            }
            end?;
        }
        Ok(())
    }

    /// Whether nothing more can come: the container does not run, or is gone.
    async fn has_ended(&self) -> bool {
        match self.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await {
            Ok(container) => !container.state.and_then(|state| state.running).unwrap_or(false),
            Err(err) => is_gone(&err),
        }
    }
}

/// Whether Docker does not know the container.
fn is_gone(err: &Error) -> bool {
    matches!(err, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Adds what is new in a message.
fn convert(message: &LogOutput, position: &mut Position, lines: &mut Vec<u8>) {
    let (stream, message) = match message {
        LogOutput::StdErr { message } => (Stream::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
            (Stream::Stdout, message)
        }
    };
    Line::read_docker(stream, message, |line| {
        if position.advance(&line) {
            line.write(lines);
        }
    });
}
