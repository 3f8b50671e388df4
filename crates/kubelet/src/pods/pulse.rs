//! Whether the loop over pods is alive: it answers who asks.

use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};

/// The loop's pulse.
pub struct Pulse {
    asks: mpsc::UnboundedSender<oneshot::Sender<()>>,
    asked: Mutex<Option<mpsc::UnboundedReceiver<oneshot::Sender<()>>>>,
}

impl Default for Pulse {
    fn default() -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        Self { asks, asked: Mutex::new(Some(asked)) }
    }
}

impl Pulse {
    /// Asks the loop; completes when it answers, with false where it is not there any more.
    pub async fn beat(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).is_ok() && answered.await.is_ok()
    }

    /// What the loop is asked: for the one loop.
    pub(super) fn take(&self) -> Option<mpsc::UnboundedReceiver<oneshot::Sender<()>>> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// Answers the next one who asks.
pub(super) async fn answer(asked: &mut Option<mpsc::UnboundedReceiver<oneshot::Sender<()>>>) {
    match asked {
        Some(asked) => {
            if let Some(answer) = asked.recv().await {
                // Who asked may have gone.
                let _ = answer.send(());
            }
        }
        None => std::future::pending().await,
    }
}
