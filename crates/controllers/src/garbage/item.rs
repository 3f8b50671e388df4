//! What the garbage collector works on.

use std::fmt;

use client::discovery::Offered;
use client::{Metadata, ObjectKey};
use kube::core::ApiResource;

/// An object of any kind, by all that identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) resource: ApiResource,
    pub(super) key: ObjectKey,
    pub(super) uid: String,
}

impl Item {
    pub(super) fn of(offered: &Offered, object: &Metadata) -> Self {
        Self {
            resource: offered.resource.clone(),
            key: ObjectKey {
                namespace: object.metadata.namespace.clone(),
                name: object.metadata.name.clone().unwrap_or_default(),
            },
            uid: object.metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// What the queue holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// Look whether an object has to go, or whether what it waits for is done.
    Item(Item),
    /// Look which kinds there are.
    Discover,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(item) => write!(f, "{} {} {}", item.resource.kind, item.key, item.uid),
            Self::Discover => f.write_str("discovery"),
        }
    }
}
