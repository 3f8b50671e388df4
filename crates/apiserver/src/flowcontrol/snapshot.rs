//! The configuration as requests are judged by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::bootstrap;
use super::level::{Level, LevelSpec};
use super::metrics::{Counters, Metrics};
use super::schema::{Digest, Schema, SchemaSpec};

/// Schemas in the order in which they are asked, and levels by name.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) schemas: Vec<Arc<Schema>>,
    pub(super) levels: BTreeMap<String, Arc<Level>>,
    pub(super) metrics: Arc<Metrics>,
}

/// An object with its specification.
struct Found<T> {
    name: String,
    uid: HeaderValue,
    spec: T,
}

/// The objects that can be read, and the mandatory ones that are missing.
fn found<T: for<'de> Deserialize<'de>>(objects: &[Value], mandatory: &[Value]) -> Vec<Found<T>> {
    let is_there = |name: &str| objects.iter().any(|object| api::meta::name(object) == name);
    let missing = mandatory.iter().filter(|object| !is_there(api::meta::name(object)));
    let read = |object: &Value| {
        let name = api::meta::name(object).to_owned();
        // Validation lets nothing in that cannot be read; what is there all the same must not stop the server.
        let spec =
            T::deserialize(&object["spec"]).map_err(|err| tracing::warn!(name, %err, "not a specification")).ok()?;
        let uid = HeaderValue::from_str(api::meta::uid(object).unwrap_or_default());
        Some(Found { name, uid: uid.unwrap_or(HeaderValue::from_static("")), spec })
    };
    objects.iter().chain(missing).filter_map(read).collect()
}

impl Snapshot {
    /// The configuration of these objects; levels that stay keep their queues.
    pub(super) fn next(&self, schemas: &[Value], levels: &[Value], seats: u32, now: Instant) -> Self {
        let levels: Vec<Found<LevelSpec>> = found(levels, &bootstrap::mandatory_levels());
        let shares: u32 = levels.iter().map(|level| level.spec.share().shares).sum();
        let (mut kept, mut uids) = (BTreeMap::new(), BTreeMap::new());
        for Found { name, uid, spec } in levels {
            let mode = spec.mode();
            let is_exempt = mode == super::queueset::Mode::Exempt;
            let same = self.levels.get(&name).filter(|level| level.is_exempt == is_exempt).cloned();
            let level = same.unwrap_or_else(|| Arc::new(Level::new(name.clone(), mode, now)));
            level.configure(mode, spec.share().bounds(seats, shares), now);
            uids.insert(name.clone(), uid);
            kept.insert(name, level);
        }
        let schema = |Found { name, uid, spec }: Found<SchemaSpec>| {
            let level = &spec.priority_level_configuration.name;
            // A schema without its level is passed over.
            let level = (kept.get(level)?.clone(), uids.get(level)?.clone());
            let counters = Counters::new(self.metrics.clone(), &level.0.name, &name);
            Some(Arc::new(Schema::new((name, uid), level, spec, counters)))
        };
        let mut schemas: Vec<_> =
            found(schemas, &bootstrap::mandatory_schemas()).into_iter().filter_map(schema).collect();
        schemas.sort_by(|one, other| one.order().cmp(&other.order()));
        Self { schemas, levels: kept, metrics: self.metrics.clone() }
    }

    /// The first schema that matches.
    pub(super) fn classify(&self, digest: Digest<'_>) -> Arc<Schema> {
        let found = self.schemas.iter().find(|schema| schema.matches(digest));
        // The last one is for all users, and every user is in one of its groups.
        found.or(self.schemas.last()).expect("the mandatory schemas are always there").clone()
    }
}
