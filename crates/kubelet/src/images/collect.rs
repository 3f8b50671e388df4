//! Removes images that nothing uses when the disk fills.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use base::Drain;
use client::EventType;
use cri as v1;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::settings::ImageSettings;
use crate::context::{Context, Shared};
use crate::node::{disk_usage, node_reference};

/// How often the disk is looked at. There is no event for a disk that fills.
const INTERVAL: Duration = Duration::from_secs(300);
/// So long it is remembered who may use an image that is not there.
const MEMORY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Removes images until the drain signal.
pub async fn collect(context: Shared, drain: Drain) {
    // From now on it is known how long images have been here.
    if let Some(Err(err)) = drain.until(context.image_collector.look(&context)).await {
        tracing::warn!(err = %err.message(), "images cannot be listed");
    }
    while drain.until(context.env.sleep(INTERVAL)).await.is_some() {
        match drain.until(context.image_collector.collect(&context)).await {
            Some(Err(err)) => tracing::warn!(err = %err.message(), "images cannot be collected"),
            Some(Ok(())) => {}
            None => return,
        }
    }
}

/// Knows which images were used when.
#[derive(Default)]
pub struct ImageCollector(Mutex<Option<HashMap<String, Seen>>>);

impl ImageCollector {
    async fn look(&self, context: &Context) -> Result<(), v1::Status> {
        unused(context, &mut *self.0.lock().await, context.env.now()).await.map(drop)
    }

    /// Removes images that nothing has used for long, and others where the disk is full.
    async fn collect(&self, context: &Context) -> Result<(), v1::Status> {
        let mut seen = self.0.lock().await;
        let now = context.env.now();
        let mut client = context.images.clone();
        let candidates = unused(context, &mut seen, now).await?;
        let info = client.image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
        let place = info.image_filesystems.first().and_then(|fs| fs.fs_id.clone()).map(|id| id.mountpoint);
        let Some(usage) = place.and_then(|place| disk_usage(place.as_ref())) else { return Ok(()) };
        let settings = &context.config.images;
        let (old, candidates): (Vec<Candidate>, Vec<Candidate>) =
            candidates.into_iter().partition(|image| image.is_old(settings.maximum_age, now));
        let old: Vec<String> = old.into_iter().map(|image| image.id).collect();
        remove(context, &old, Why::Age).await?;
        let chosen = choose(candidates, usage, settings, now);
        remove(context, &chosen.ids, Why::Space).await?;
        if chosen.missing > 0 {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {} bytes, but only found {} bytes eligible to free.",
                chosen.wanted,
                chosen.wanted - chosen.missing
            );
            let node = node_reference(&context.config.node_name);
            context.recorder.event(&node, EventType::Warning, "FreeDiskSpaceFailed", message);
        }
        Ok(())
    }

    /// Removes all images that nothing uses, but for young ones.
    pub async fn remove_unused(&self, context: &Context) -> Result<(), v1::Status> {
        let mut seen = self.0.lock().await;
        let now = context.env.now();
        let candidates = unused(context, &mut seen, now).await?.into_iter();
        let ids: Vec<String> = candidates
            .filter(|image| !image.is_young(context.config.images.minimum_age, now))
            .map(|image| image.id)
            .collect();
        remove(context, &ids, Why::Space).await
    }
}

/// The images that nothing uses and that may be removed.
async fn unused(
    context: &Context,
    seen: &mut Option<HashMap<String, Seen>>,
    now: Timestamp,
) -> Result<Vec<Candidate>, v1::Status> {
    let mut client = context.images.clone();
    let images = client.list_images(v1::ListImagesRequest { filter: None }).await?.into_inner().images;
    let containers = context.runtime.clone().list_containers(v1::ListContainersRequest { filter: None }).await?;
    let used: HashSet<String> = containers
        .into_inner()
        .containers
        .into_iter()
        .flat_map(|container| [container.image_ref, container.image_id, container.image.unwrap_or_default().image])
        .collect();
    let was_here = seen.is_none();
    let seen = seen.get_or_insert_default();
    seen.retain(|id, _| images.iter().any(|image| image.id == *id));
    for image in &images {
        let entry = seen.entry(image.id.clone()).or_insert(Seen { first: now, was_here, used: None });
        let names = [&image.id].into_iter().chain(&image.repo_tags).chain(&image.repo_digests);
        if names.clone().any(|name| used.contains(name)) {
            entry.used = Some(now);
        }
    }
    let known: BTreeSet<String> = images.iter().map(|image| image.id.clone()).collect();
    context.puller.retain(&known, now.saturating_sub(MEMORY).unwrap_or(Timestamp::MIN));
    let candidates = images
        .into_iter()
        .filter(|image| !image.pinned)
        .filter_map(|image| Some(Candidate { seen: *seen.get(&image.id)?, size: image.size, id: image.id }))
        .filter(|image| image.seen.used != Some(now))
        .collect();
    Ok(candidates)
}

/// Why images go.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// Nothing has used them for long.
    Age,
    /// The disk is full.
    Space,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Space => "space",
        }
    }
}

async fn remove(context: &Context, ids: &[String], why: Why) -> Result<(), v1::Status> {
    let mut client = context.images.clone();
    for id in ids {
        let spec = v1::ImageSpec { image: id.clone(), ..v1::ImageSpec::default() };
        client.remove_image(v1::RemoveImageRequest { image: Some(spec) }).await?;
        context.metrics.runtime.image_collected(why.as_str());
        tracing::info!(image = id, reason = why.as_str(), "removed an unused image");
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    /// Whether it was here when the kubelet started.
    was_here: bool,
    used: Option<Timestamp>,
}

struct Candidate {
    id: String,
    size: u64,
    seen: Seen,
}

impl Candidate {
    /// Whether it has come so lately that it may be about to be used.
    fn is_young(&self, minimum_age: Duration, now: Timestamp) -> bool {
        !self.seen.was_here && now.duration_since(self.seen.first) < signed(minimum_age)
    }

    /// Whether nothing has used it for longer than images are kept.
    fn is_old(&self, maximum_age: Option<Duration>, now: Timestamp) -> bool {
        let last = self.seen.used.unwrap_or(self.seen.first);
        maximum_age.is_some_and(|age| now.duration_since(last) > signed(age))
    }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    ids: Vec<String>,
    wanted: u64,
    missing: u64,
}

/// The images to remove, those unused for longest first, until enough is freed.
fn choose(mut images: Vec<Candidate>, usage: (u64, u64), settings: &ImageSettings, now: Timestamp) -> Chosen {
    let ((used, total), (high, low)) = (usage, settings.gc_percent);
    // At a hundred nothing is ever removed for the disk's sake.
    if total == 0 || high >= 100 || used * 100 < total * u64::from(high) {
        return Chosen::default();
    }
    let wanted = used.saturating_sub(total * u64::from(low) / 100);
    let mut chosen = Chosen { wanted, missing: wanted, ids: Vec::new() };
    images.sort_by_key(|image| (image.seen.used, image.seen.first));
    for image in images {
        if chosen.missing == 0 {
            break;
        }
        if image.is_young(settings.minimum_age, now) {
            continue;
        }
        chosen.missing = chosen.missing.saturating_sub(image.size);
        chosen.ids.push(image.id);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_unused_for_longest_go_first_until_enough_is_free() {
        let at = |second| Timestamp::from_second(second).expect("a valid time");
        let image = |id: &str, used| Candidate {
            id: id.to_owned(),
            size: 10,
            seen: Seen { first: at(0), was_here: false, used },
        };
        let images = || vec![image("late", Some(at(900))), image("never", None), image("early", Some(at(100)))];
        let ids = |used: u64, high: u8, low: u8, now: i64| {
            let settings = ImageSettings { gc_percent: (high, low), ..ImageSettings::new("/x".into()) };
            choose(images(), (used, 100), &settings, at(now))
        };
        assert_eq!(ids(80, 85, 80, 1000).ids, Vec::<String>::new());
        assert_eq!(ids(95, 85, 80, 1000).ids, ["never", "early"]);
        assert_eq!(ids(99, 85, 60, 1000).missing, 9);
        assert_eq!(ids(99, 85, 60, 100).ids, Vec::<String>::new(), "all are young");
        assert_eq!(ids(100, 100, 80, 1000).ids, Vec::<String>::new(), "images stay however full the disk is");
        let old = |age: Option<u64>| -> Vec<String> {
            let is_old = |image: &Candidate| image.is_old(age.map(Duration::from_secs), at(1000));
            images().into_iter().filter(is_old).map(|image| image.id).collect()
        };
        assert_eq!(old(None), Vec::<String>::new());
        assert_eq!(old(Some(500)), ["never", "early"]);
    }
}
