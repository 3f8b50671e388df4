//! Keeps up to date how many volumes the node can have of a driver: drivers whose objects say how often are asked again
//! and again, and once a volume of theirs could not be attached because there are too many. What others have said holds.

use std::collections::BTreeMap;

use base::Drain;
use jiff::{SignedDuration, Timestamp};

use super::{Driver, node};
use crate::context::{Context, Shared};

/// A look though nothing is due.
const IDLE: SignedDuration = SignedDuration::from_hours(1);

/// Asks drivers as often as their objects say, until the drain signal.
pub async fn run(context: Shared, drain: Drain) {
    let (mut registered, mut objects) = (context.csi.registered(), context.csi.objects());
    let mut asked: BTreeMap<String, Timestamp> = BTreeMap::new();
    loop {
        let now = context.env.now();
        let wanted = context.csi.with_periods();
        asked.retain(|name, _| wanted.iter().any(|(driver, _)| driver.name == *name));
        let mut wait = IDLE;
        for (driver, period) in wanted {
            // Who registers is asked then.
            let last = asked.entry(driver.name.clone()).or_insert(now);
            if now.duration_since(*last) >= period {
                *last = now;
                refresh(&context, &driver).await;
            }
            wait = wait.min(period - now.duration_since(*last));
        }
        let wait = std::time::Duration::try_from(wait).unwrap_or_default();
        tokio::select! {
            () = drain.drained() => return,
            changed = registered.changed() => if changed.is_err() { return },
            _ = objects.next() => {}
            () = context.env.sleep(wait) => {}
        }
    }
}

/// Asks a driver again of which the node has too many volumes, if it can be asked.
pub async fn after_failure(context: &Context, driver: &str) {
    let asked = context.csi.with_periods().into_iter().find(|(one, _)| one.name == driver);
    if let Some((driver, _)) = asked {
        refresh(context, &driver).await;
    }
}

async fn refresh(context: &Context, driver: &Driver) {
    let updated = match driver.info().await {
        Ok(info) => node::announce(context, &driver.name, &info).await,
        Err(err) => Err(err),
    };
    if let Err(err) = updated {
        tracing::warn!(driver = driver.name, err, "how many volumes the node can have cannot be updated");
    }
}
