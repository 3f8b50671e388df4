//! The signal that asks tasks to finish.

use tokio_util::sync::CancellationToken;

/// Tells its [`Drain`]s to finish, when [`DrainTrigger::drain`] is called or the trigger is dropped.
#[derive(Debug)]
pub struct DrainTrigger(CancellationToken);

/// Held by every task: it completes when the owner wants the task to end.
///
/// A task that sees the signal stops taking new work, finishes or abandons what it does as its documentation says, and
/// returns. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(CancellationToken);

/// A trigger and the signal that it fires.
pub fn drain() -> (DrainTrigger, Drain) {
    let token = CancellationToken::new();
    (DrainTrigger(token.clone()), Drain(token))
}

impl DrainTrigger {
    /// Fires the signal. Calling it again does nothing.
    pub fn drain(&self) {
        self.0.cancel();
    }
}

impl Drop for DrainTrigger {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Drain {
    /// Completes when the signal has fired. Cancel safe.
    pub async fn drained(&self) {
        self.0.cancelled().await;
    }

    /// The same, without borrowing.
    pub async fn drained_owned(self) {
        self.0.cancelled_owned().await;
    }

    /// Whether the signal has fired.
    pub fn is_draining(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A signal that fires with this one, or earlier by its own trigger.
    pub fn child(&self) -> (DrainTrigger, Drain) {
        let token = self.0.child_token();
        (DrainTrigger(token.clone()), Drain(token))
    }

    /// Runs `future` until it completes or the signal fires; `None` in the second case, where `future` is dropped.
    pub async fn until<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.run_until_cancelled(future).await
    }
}
