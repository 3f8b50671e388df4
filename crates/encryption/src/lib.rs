//! Library: encryption at rest. An EncryptionConfiguration says which resources' objects are encrypted in the datastore
//! and with which keys; [`Transformers`] are what becomes of it.
//!
//! Values are stored as kube-apiserver stores them: a prefix such as `k8s:enc:aescbc:v1:key1:` names the provider and the
//! key that can read what follows. The first provider of a resource writes; all of them read. What was not written by
//! the first key of the first provider is stale: the next update writes it anew, even one that changes nothing.

mod configuration;
mod handle;
mod kms;
mod local;
mod metrics;
mod report;
mod rotation;
mod transformers;
mod validation;

pub use configuration::{EncryptionConfiguration, Identity, Key, Keys, Kms, Provider, ResourceConfiguration};
pub use handle::{Encryption, LoadError, Source};
pub use report::{KeyName, Report, ResourceReport, Stored};
pub use transformers::{OpenError, Opened, Resource, SealError, Transformers};
pub use validation::ConfigurationError;
