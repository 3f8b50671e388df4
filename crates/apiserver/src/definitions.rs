//! CustomResourceDefinitions: the part of the server that gives them their names, establishes them, and empties them
//! when they are deleted.
//!
//! One task watches the definitions in the cache. Names are given one definition after another, because each looks at
//! what others have; definitions that are deleted are emptied side by side, each until its last instance is gone.

mod emptying;
mod naming;

pub(crate) use emptying::{FINALIZER, pending};

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use base::Drain;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use crate::access::Identity;
use crate::cache::{Selection, Watcher};
use crate::registry::{Caller, Part, Registry, Scope, Writer};

/// Who writes statuses of definitions: upstream's server does it over a connection to itself, under no other name.
const WRITER: Writer<'static> = Writer { manager: "Go-http-client", subresource: "status" };

/// The wait before what has failed is done again.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the definitions' statuses until `drain`.
pub(crate) async fn run(registry: Arc<Registry>, drain: Drain) {
    let Some(resource) = api::kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions") else { return };
    let definitions = Definitions { registry, resource };
    while drain.until(definitions.follow()).await.is_some_and(|followed| followed.is_err()) {
        // The watch fell behind: start again from what is there.
    }
}

/// The watch on the definitions cannot be followed.
struct Lost;

/// The definitions of a registry.
struct Definitions {
    registry: Arc<Registry>,
    resource: &'static Arc<Resource>,
}

type Emptied = BoxFuture<'static, (String, Result<(), Status>)>;

impl Definitions {
    async fn follow(&self) -> Result<(), Lost> {
        if self.registry.wait_for(1).await.is_err() {
            return Err(Lost);
        }
        let cache = self.registry.resource_cache(self.resource).map_err(|_| Lost)?;
        let (snapshot, mut watcher) =
            Watcher::from_now(self.registry.cache.clone(), cache.clone(), Selection::everything());
        let mut due: BTreeSet<String> = snapshot.range(None).map(|object| object.name().to_owned()).collect();
        let mut emptied: FuturesUnordered<Emptied> = FuturesUnordered::new();
        let mut in_work: HashSet<String> = HashSet::new();
        loop {
            let mut failed = false;
            for name in std::mem::take(&mut due) {
                if self.is_deleting(&name) {
                    if in_work.insert(name.clone()) {
                        emptied.push(self.empty(name));
                    }
                } else if let Err(status) = self.name(&name).await {
                    tracing::warn!(name, err = %status.message, "definition could not be given its names");
                    failed = true;
                    due.insert(name);
                }
            }
            tokio::select! {
                changes = watcher.changes() => {
                    let changes = changes.map_err(|_| Lost)?;
                    due.extend(changes.iter().map(|change| change.object.name().to_owned()));
                    // What one definition gives up, another may be waiting for.
                    due.extend(naming::refused(&self.registry.kinds()));
                }
                Some((name, result)) = emptied.next(), if !emptied.is_empty() => {
                    in_work.remove(&name);
                    if let Err(status) = result {
                        tracing::warn!(name, err = %status.message, "definition could not be emptied");
                        due.insert(name);
                        self.registry.env.sleep(RETRY).await;
                    }
                }
                () = self.registry.env.sleep(RETRY), if failed => {}
            }
        }
    }

    fn is_deleting(&self, name: &str) -> bool {
        self.registry.cached(self.resource, name).is_some_and(|crd| api::meta::is_deleting(&crd.value()))
    }

    fn empty(&self, name: String) -> Emptied {
        let (registry, resource) = (self.registry.clone(), self.resource);
        Box::pin(async move {
            let result = emptying::empty(&registry, resource, &name).await;
            (name, result)
        })
    }

    async fn name(&self, name: &str) -> Result<(), Status> {
        let cache = self.registry.resource_cache(self.resource)?;
        let now = self.registry.env.now();
        let kinds = self.registry.kinds();
        let change = |crd: &Value| Ok(naming::named(crd, &kinds, now));
        let Some(current) = cache.get(name) else { return Ok(()) };
        let current = current.value();
        if change(&current)? == current {
            return Ok(());
        }
        write_status(&self.registry, self.resource, name, &change).await
    }
}

/// Writes the status of a definition, unless that is gone, and waits until the cache has it.
async fn write_status(
    registry: &Registry,
    resource: &Resource,
    name: &str,
    change: &crate::registry::Change<'_>,
) -> Result<(), Status> {
    let identity = Identity::server();
    let caller = Caller { subresource: "status", writer: Some(WRITER), ..Caller::of(&identity) };
    let scope = Scope { resource, namespace: None };
    match registry.update(scope, name, Part::Status, caller, change).await {
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
        Ok(_) => registry.fresh().await.map(drop),
    }
}
