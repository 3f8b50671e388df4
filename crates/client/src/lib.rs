//! Library: how every component but the API server itself reaches the cluster.
//!
//! One constructor for a client over an in-process service or over HTTPS ([`connect`]), and one for clients that act as
//! service accounts ([`Accounts`]); shared [`Informers`] with
//! their [`Lister`]s; the keyed work [`Queue`] and the [`Controller`] that ties informers to a sync function; the
//! [`EventRecorder`]; [`leader`] election by Lease; [`Expectations`]; [`discovery`] of what the server offers; and
//! small helpers on [`objects`] and errors that controllers share.

mod accounts;
mod connect;
mod controller;
pub mod discovery;
mod expectations;
mod informer;
mod key;
mod kubeconfig;
pub mod leader;
pub mod objects;
mod queue;
mod recorder;
mod stack;

pub use accounts::{Accounts, RemoteAccounts};
pub use connect::{
    ConnectError, InProcessService, Source, connect, connect_anonymously, connect_as, in_process, in_process_service,
};
pub use controller::{Controller, RunError as ControllerError};
pub use expectations::Expectations;
pub use informer::{Event, Events, Informer, Informers, ListSelector, Lister, Object, RunError as InformersError};
pub use key::ObjectKey;
pub use queue::{Backoff, Queue, run_workers};
pub use recorder::{EventRecorder, EventType, EventWriter};

/// Metadata of an object of a kind that is known only at run time.
pub type Metadata = kube::core::PartialObjectMeta<kube::core::DynamicObject>;
