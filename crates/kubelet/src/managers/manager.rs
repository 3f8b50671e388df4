//! What the managers of the machine have in common: a policy that gives, what it has given, and the file that says so.
//!
//! A [`Policy`] computes; [`Manager`] holds what is whose, asks the policy one call after the other, and writes down
//! what came of it before anybody is told. Without a policy nothing is given, and the file says that.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;

use super::checkpoint::{Checkpoint, CheckpointError, Content};
use super::counts::Counts;
use super::topology::{AllocationError, Hint, HintProvider, Hints};

/// What is whose.
pub trait State: Clone + Default + PartialEq + Send + 'static {
    /// The file below the kubelet's directory.
    const FILE: &'static str;
    /// What the file holds.
    type File: Content;

    /// The file of a policy's state.
    fn to_file(&self, policy: &str) -> Self::File;

    /// The state that a file holds, and the name of the policy that it is of.
    fn of_file(file: Self::File) -> (String, Self);

    /// The pods that have something, by UID.
    fn holders(&self) -> Vec<String>;
}

/// Who gets what.
pub trait Policy: Send + Sync + 'static {
    /// What is given, as operators call it.
    const NAME: &'static str;
    /// What is whose.
    type State: State;
    /// What init containers of the pod that is being let in leave to the containers after them.
    type Reusable: Default + Send;
    /// Why the policy does not go with a state.
    type Error: Error + Send + Sync + 'static;

    /// Checks a state that was kept, or begins with one where all is free.
    fn begin(&self, state: Self::State) -> Result<Self::State, Self::Error>;

    /// Whether a container asks for something.
    fn is_asked(&self, pod: &Pod, container: &Container) -> bool;

    /// Where what one container asks for could come from.
    fn container_hints(
        &self,
        state: &Self::State,
        reusable: &Self::Reusable,
        pod: &Pod,
        container: &Container,
    ) -> Hints;

    /// Where what all containers of a pod ask for could come from.
    fn pod_hints(&self, state: &Self::State, reusable: &Self::Reusable, pod: &Pod) -> Hints;

    /// Gives a container what it asks for; false where it gets nothing or has it already.
    fn allocate(
        &self,
        state: &mut Self::State,
        reusable: &mut Self::Reusable,
        who: (&Pod, &Container),
        hint: Hint,
    ) -> Result<bool, AllocationError>;

    /// Takes back what a pod has; false where it had nothing.
    fn release(&self, state: &mut Self::State, uid: &str) -> bool;
}

/// A state file does not do.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is another policy's.
    #[error("configured policy {configured:?} differs from state checkpoint policy {found:?}")]
    OtherPolicy {
        /// The policy that is set.
        configured: &'static str,
        /// The policy of the file.
        found: String,
    },
    /// The policy does not go with it.
    #[error(transparent)]
    State(Box<dyn Error + Send + Sync>),
}

/// A manager cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// With what the one before it has left.
    #[error(
        "could not restore state from checkpoint: {source}, please drain this node and delete the {manager} manager \
         checkpoint file {path:?} before restarting Kubelet"
    )]
    Restore {
        /// What it gives.
        manager: &'static str,
        /// Why.
        source: RestoreError,
        /// The file.
        path: PathBuf,
    },
    /// The first state cannot be written.
    #[error("{manager} manager: {source}")]
    Keep {
        /// What it gives.
        manager: &'static str,
        /// Why.
        source: CheckpointError,
    },
    /// The policy does not go with the node.
    #[error("{manager} manager: {source}")]
    Policy {
        /// What it gives.
        manager: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ManagerError {
    /// A policy that does not go with the node.
    pub fn policy<P: Policy>(source: P::Error) -> Self {
        Self::Policy { manager: P::NAME, source: Box::new(source) }
    }
}

/// The manager of what a policy gives.
pub struct Manager<P: Policy> {
    policy: Option<P>,
    /// The policy's name in the configuration and the file.
    configured: &'static str,
    inner: Mutex<Inner<P>>,
    file: Checkpoint,
    /// Counts changes of what is whose.
    changes: watch::Sender<u64>,
    counts: Counts,
}

struct Inner<P: Policy> {
    state: P::State,
    reusable: P::Reusable,
}

impl<P: Policy> Manager<P> {
    /// The manager with the state that was kept in `dir`; without a policy it gives nothing.
    pub fn open(configured: &'static str, policy: Option<P>, dir: &Path) -> Result<Self, ManagerError> {
        let file = Checkpoint::new(&dir.join(P::State::FILE));
        let restored = Self::restore(configured, policy.as_ref(), &file);
        let (state, is_kept) = restored.map_err(|source| ManagerError::Restore {
            manager: P::NAME,
            source,
            path: file.path().to_owned(),
        })?;
        if !is_kept {
            let written = file.write(state.to_file(configured));
            written.map_err(|source| ManagerError::Keep { manager: P::NAME, source })?;
        }
        let inner = Mutex::new(Inner { state, reusable: P::Reusable::default() });
        let changes = watch::channel(0).0;
        Ok(Self { policy, configured, inner, file, changes, counts: Counts::default() })
    }

    /// The state to begin with, and whether the file says it already.
    fn restore(
        configured: &'static str,
        policy: Option<&P>,
        file: &Checkpoint,
    ) -> Result<(P::State, bool), RestoreError> {
        let kept = match file.read::<<P::State as State>::File>()?.map(P::State::of_file) {
            Some((found, _)) if found != configured => return Err(RestoreError::OtherPolicy { configured, found }),
            Some((_, state)) => Some(state),
            None => None,
        };
        let mut state = kept.clone().unwrap_or_default();
        if let Some(policy) = policy {
            state = policy.begin(state).map_err(|err| RestoreError::State(Box::new(err)))?;
        }
        let is_kept = kept.as_ref() == Some(&state);
        Ok((state, is_kept))
    }

    /// Whether containers are given something.
    pub fn is_static(&self) -> bool {
        self.policy.is_some()
    }

    /// Looks at the policy and at what is whose; `None` where nothing is given.
    pub fn look<T>(&self, at: impl FnOnce(&P, &P::State) -> T) -> Option<T> {
        let policy = self.policy.as_ref()?;
        Some(at(policy, &self.lock().state))
    }

    /// How often it was asked, and could not give.
    pub fn counts(&self) -> (u64, u64) {
        self.counts.all()
    }

    /// Tells when it changes what is whose.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is whose, and lets it be known.
    async fn keep(&self) -> Result<(), CheckpointError> {
        let kept = self.file.keep(|| self.lock().state.to_file(self.configured)).await;
        self.changes.send_modify(|count| *count += 1);
        kept
    }

    fn take(&self, pod: &Pod, container: &Container, hint: Hint) -> Result<bool, AllocationError> {
        let Some(policy) = &self.policy else { return Ok(false) };
        if policy.is_asked(pod, container) {
            self.counts.asked();
        }
        let mut inner = self.lock();
        let Inner { state, reusable } = &mut *inner;
        let taken = policy.allocate(state, reusable, (pod, container), hint);
        if taken.is_err() {
            self.counts.failed();
        }
        taken
    }

    fn hints(&self, of: impl FnOnce(&P, &P::State, &P::Reusable) -> Hints) -> Hints {
        let Some(policy) = &self.policy else { return Hints::new() };
        let inner = self.lock();
        of(policy, &inner.state, &inner.reusable)
    }
}

impl<P: Policy> HintProvider for Manager<P> {
    fn container_hints(&self, pod: &Pod, container: &Container) -> Hints {
        self.hints(|policy, state, reusable| policy.container_hints(state, reusable, pod, container))
    }

    fn pod_hints(&self, pod: &Pod) -> Hints {
        self.hints(|policy, state, reusable| policy.pod_hints(state, reusable, pod))
    }

    fn allocate<'a>(
        &'a self,
        pod: &'a Pod,
        container: &'a Container,
        hint: Hint,
    ) -> BoxFuture<'a, Result<(), AllocationError>> {
        async move {
            if self.take(pod, container, hint)? {
                self.keep().await.map_err(AllocationError::unexpected)?;
            }
            Ok(())
        }
        .boxed()
    }

    fn release<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let released = self.policy.as_ref().is_some_and(|policy| policy.release(&mut self.lock().state, uid));
            if released && let Err(err) = self.keep().await {
                // The next change writes it; a restart before that finds the pod gone and releases again.
                tracing::warn!(manager = P::NAME, uid, err = %err, "what a pod gave back cannot be written down");
            }
        }
        .boxed()
    }

    fn holders(&self) -> Vec<String> {
        self.lock().state.holders()
    }
}
