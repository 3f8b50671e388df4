//! Work on pods' volumes that blocks and makes something in the pods' directories. Nobody can end it: whoever gives up waiting for it (the pod is deleted, say) leaves it
//! running, and the pod's volumes are not taken away before it is through, or it would bring back what was removed.

use crate::locks::Locks;

/// What goes on, by the pods' UIDs.
#[derive(Debug, Default)]
pub struct VolumeWork(Locks<String>);

impl VolumeWork {
    /// Does work for a pod; an error is a message for the user.
    pub async fn run<T: Send + 'static>(
        &self,
        uid: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let held = self.0.of(uid.to_owned()).lock_owned().await;
        let work = move || {
            let _held = held;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|err| err.to_string())
    }

    /// Waits until nothing goes on for a pod.
    pub async fn ended(&self, uid: &str) {
        let _ = self.0.of(uid.to_owned()).lock().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_waited_for_before_volumes_go() {
        let work = Arc::new(VolumeWork::default());
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let given_up = tokio::spawn({
            let work = Arc::clone(&work);
            async move {
                let blocked = move || {
                    let _ = begun.send(());
                    let _ = ends.recv();
                };
                work.run("web", blocked).await
            }
        });
        begins.await.expect("it begins");
        given_up.abort();
        given_up.await.expect_err("nobody waits");
        let ended = tokio::spawn(async move { work.ended("web").await });
        tokio::task::yield_now().await;
        let is_early = ended.is_finished();
        drop(end);
        ended.await.expect("it ends");
        assert!(!is_early, "something goes on");
    }

    #[tokio::test]
    async fn pods_do_not_wait_for_each_other() {
        let work = VolumeWork::default();
        let (end, ends) = mpsc::channel::<()>();
        let blocked = work.run("web", move || ends.recv().is_err());
        let other = async {
            work.ended("api").await;
            drop(end);
        };
        assert_eq!(tokio::join!(blocked, other).0, Ok(true));
    }
}
