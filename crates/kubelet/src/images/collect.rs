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

/// So long it is remembered who may use an image that is not there.
const MEMORY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Removes images until the drain signal.
pub async fn collect(context: Shared, drain: Drain) {
    // From now on it is known how long images have been here.
    if let Some(Err(err)) = drain.until(context.image_collector.look(&context)).await {
        tracing::warn!(err = %err.message(), "images cannot be listed");
    }
    let mut has_failed = false;
    while drain.until(context.env.sleep(context.config.images.interval)).await.is_some() {
        let Some(outcome) = drain.until(context.image_collector.collect(&context)).await else { return };
        if let Err(err) = &outcome {
            tracing::warn!(err = %err, "images cannot be collected");
            // Once may be because the runtime was just started anew.
            if has_failed {
                let node = node_reference(&context.config.node_name);
                context.recorder.event(&node, EventType::Warning, "ImageGCFailed", err.to_string());
            }
        }
        has_failed = outcome.is_err();
    }
}

/// Images cannot be removed, or not all of those that should be.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The runtime does not say which images and containers there are.
    #[error("the runtime does not tell of its images: {}", .0.message())]
    Runtime(#[from] v1::Status),
    /// Some could not be removed. Whatever could be was.
    #[error("{} of the images to remove could not be removed: {}", .0.len(), .0.join("; "))]
    Kept(Vec<String>),
    /// The disk of images has no room at all, by what the kernel says of it.
    #[error("invalid capacity 0 on image filesystem")]
    NoCapacity,
    /// There are not enough images to remove.
    #[error(
        "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {found} bytes eligible to free."
    )]
    Short {
        /// How many bytes should be freed.
        wanted: u64,
        /// How many were.
        found: u64,
    },
}

/// Knows which images were used when.
#[derive(Default)]
pub struct ImageCollector(Mutex<Option<HashMap<String, Seen>>>);

impl ImageCollector {
    async fn look(&self, context: &Context) -> Result<(), v1::Status> {
        unused(context, &mut *self.0.lock().await, context.env.now()).await.map(drop)
    }

    /// Removes images that nothing has used for long, and others where the disk is full.
    async fn collect(&self, context: &Context) -> Result<(), CollectError> {
        let mut seen = self.0.lock().await;
        let now = context.env.now();
        let mut client = context.images.clone();
        let candidates = unused(context, &mut seen, now).await?;
        let info = client.image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
        let place = info.image_filesystems.first().and_then(|fs| fs.fs_id.clone()).map(|id| id.mountpoint);
        let Some(usage) = place.and_then(|place| disk_usage(place.as_ref())) else { return Ok(()) };
        if usage.1 == 0 {
            let node = node_reference(&context.config.node_name);
            let message = CollectError::NoCapacity.to_string();
            context.recorder.event(&node, EventType::Warning, "InvalidDiskCapacity", message);
            return Err(CollectError::NoCapacity);
        }
        let settings = &context.config.images;
        let (old, candidates): (Vec<Candidate>, Vec<Candidate>) =
            candidates.into_iter().partition(|image| image.is_old(settings.maximum_age, now));
        let mut freed = free(old, u64::MAX, |id| remove(context, id, Why::Age)).await;
        let wanted = surplus(usage, settings.gc_percent);
        let for_space = free(in_order(candidates, settings, now), wanted, |id| remove(context, id, Why::Space)).await;
        freed.kept.extend(for_space.kept);
        if for_space.bytes < wanted {
            let short = CollectError::Short { wanted, found: for_space.bytes };
            let node = node_reference(&context.config.node_name);
            context.recorder.event(&node, EventType::Warning, "FreeDiskSpaceFailed", short.to_string());
            freed.complete()?;
            return Err(short);
        }
        freed.complete()
    }

    /// Removes all images that nothing uses, but for young ones.
    pub async fn remove_unused(&self, context: &Context) -> Result<(), CollectError> {
        let mut seen = self.0.lock().await;
        let now = context.env.now();
        let candidates = in_order(unused(context, &mut seen, now).await?, &context.config.images, now);
        free(candidates, u64::MAX, |id| remove(context, id, Why::Space)).await.complete()
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

async fn remove(context: &Context, id: String, why: Why) -> Result<(), v1::Status> {
    let spec = v1::ImageSpec { image: id.clone(), ..v1::ImageSpec::default() };
    context.images.clone().remove_image(v1::RemoveImageRequest { image: Some(spec) }).await?;
    context.metrics.runtime.image_collected(why.as_str());
    tracing::info!(image = id, reason = why.as_str(), "removed an unused image");
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

/// What came of removing images.
#[derive(Debug, Default, PartialEq, Eq)]
struct Freed {
    bytes: u64,
    /// Those that could not be removed, and why.
    kept: Vec<String>,
}

impl Freed {
    fn complete(self) -> Result<(), CollectError> {
        if self.kept.is_empty() { Ok(()) } else { Err(CollectError::Kept(self.kept)) }
    }
}

/// Removes one image after the other until enough is freed. One that cannot be removed does not keep others.
async fn free<F: Future<Output = Result<(), v1::Status>>>(
    images: Vec<Candidate>,
    wanted: u64,
    remove: impl Fn(String) -> F,
) -> Freed {
    let mut freed = Freed::default();
    for image in images {
        if freed.bytes >= wanted {
            break;
        }
        match remove(image.id.clone()).await {
            Ok(()) => freed.bytes = freed.bytes.saturating_add(image.size),
            Err(err) => freed.kept.push(format!("{}: {}", image.id, err.message())),
        }
    }
    freed
}

/// How many bytes have to be freed of a disk, of which so many are used and so many there are.
fn surplus((used, total): (u64, u64), (high, low): (u8, u8)) -> u64 {
    // At a hundred nothing is ever removed for the disk's sake.
    if total == 0 || high >= 100 || used * 100 < total * u64::from(high) {
        return 0;
    }
    used.saturating_sub(total * u64::from(low) / 100)
}

/// The images that are not young, those unused for longest first.
fn in_order(mut images: Vec<Candidate>, settings: &ImageSettings, now: Timestamp) -> Vec<Candidate> {
    images.retain(|image| !image.is_young(settings.minimum_age, now));
    images.sort_by_key(|image| (image.seen.used, image.seen.first));
    images
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    /// Images of ten bytes: two were used at some time.
    fn images() -> Vec<Candidate> {
        let image = |id: &str, used| Candidate {
            id: id.to_owned(),
            size: 10,
            seen: Seen { first: at(0), was_here: false, used },
        };
        vec![image("late", Some(at(900))), image("never", None), image("early", Some(at(100)))]
    }

    /// The images that go at a time when so many of a hundred bytes are used, where those of `stuck` cannot be removed.
    #[track_caller]
    fn check(used: u64, percent: (u8, u8), now: i64, stuck: &[&str], gone: &[&str], missing: u64) {
        let removed = RefCell::new(Vec::new());
        let remove = |id: String| {
            if stuck.contains(&id.as_str()) {
                return std::future::ready(Err(v1::Status::internal("it is in use")));
            }
            removed.borrow_mut().push(id);
            std::future::ready(Ok(()))
        };
        let settings = ImageSettings { gc_percent: percent, ..ImageSettings::new("/x".into()) };
        let wanted = surplus((used, 100), percent);
        let freed = futures::executor::block_on(free(in_order(images(), &settings, at(now)), wanted, remove));
        assert_eq!(*removed.borrow(), gone);
        assert_eq!(wanted.saturating_sub(freed.bytes), missing);
        let kept: Vec<String> = stuck.iter().map(|id| format!("{id}: it is in use")).collect();
        assert_eq!(freed.kept, kept);
    }

    #[test]
    fn images_unused_for_longest_go_first_until_enough_is_free() {
        check(80, (85, 80), 1000, &[], &[], 0);
        check(95, (85, 80), 1000, &[], &["never", "early"], 0);
        check(99, (85, 60), 1000, &[], &["never", "early", "late"], 9);
        // All are young.
        check(99, (85, 60), 100, &[], &[], 39);
        // Images stay however full the disk is.
        check(100, (100, 80), 1000, &[], &[], 0);
    }

    #[test]
    fn an_image_that_cannot_be_removed_keeps_no_other() {
        check(95, (85, 80), 1000, &["never"], &["early", "late"], 0);
        check(95, (85, 80), 1000, &["never", "early"], &["late"], 5);
    }

    #[test]
    fn images_that_nothing_has_used_for_long_are_old() {
        let old = |age: Option<u64>| -> Vec<String> {
            let is_old = |image: &Candidate| image.is_old(age.map(Duration::from_secs), at(1000));
            images().into_iter().filter(is_old).map(|image| image.id).collect()
        };
        assert_eq!(old(None), Vec::<String>::new());
        assert_eq!(old(Some(500)), ["never", "early"]);
    }
}
