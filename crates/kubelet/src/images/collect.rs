//! Removes images that nothing uses when the disk fills.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base::Drain;
use client::EventType;
use cri as v1;
use jiff::Timestamp;

use crate::context::Shared;
use crate::node::{disk_usage, node_reference};

/// How often the disk is looked at. There is no event for a disk that fills.
const INTERVAL: Duration = Duration::from_secs(300);
/// An image younger than this is kept: it may be about to be used.
const MIN_AGE: Duration = Duration::from_secs(120);

/// Removes images until the drain signal.
pub async fn collect(context: Shared, drain: Drain) {
    let mut seen = HashMap::new();
    while drain.until(context.env.sleep(INTERVAL)).await.is_some() {
        match drain.until(collect_once(&context, &mut seen)).await {
            Some(Err(err)) => tracing::warn!(err = %err.message(), "images cannot be collected"),
            Some(Ok(())) => {}
            None => return,
        }
    }
}

async fn collect_once(context: &Shared, seen: &mut HashMap<String, Seen>) -> Result<(), v1::Status> {
    let now = context.env.now();
    let mut client = context.images.clone();
    let images = client.list_images(v1::ListImagesRequest { filter: None }).await?.into_inner().images;
    let containers = context.runtime.clone().list_containers(v1::ListContainersRequest { filter: None }).await?;
    let used: HashSet<String> = containers
        .into_inner()
        .containers
        .into_iter()
        .flat_map(|container| [container.image_ref, container.image_id, container.image.unwrap_or_default().image])
        .collect();
    let info = client.image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
    let Some(mountpoint) = info.image_filesystems.first().and_then(|fs| fs.fs_id.clone()).map(|id| id.mountpoint)
    else {
        return Ok(());
    };
    seen.retain(|id, _| images.iter().any(|image| image.id == *id));
    for image in &images {
        let entry = seen.entry(image.id.clone()).or_insert(Seen { first: now, used: None });
        let names = [&image.id].into_iter().chain(&image.repo_tags).chain(&image.repo_digests);
        if names.clone().any(|name| used.contains(name)) {
            entry.used = Some(now);
        }
    }
    let Some(usage) = disk_usage(mountpoint.as_ref()) else { return Ok(()) };
    let images = images.into_iter().map(|image| Candidate {
        in_use: seen.get(&image.id).is_some_and(|entry| entry.used == Some(now)) || image.pinned,
        seen: seen.get(&image.id).copied().unwrap_or(Seen { first: now, used: None }),
        size: image.size,
        id: image.id,
    });
    let (high, low) = context.config.image_gc_percent;
    let chosen = choose(images.collect(), usage, (high, low), now);
    for id in &chosen.ids {
        let spec = v1::ImageSpec { image: id.clone(), ..v1::ImageSpec::default() };
        client.remove_image(v1::RemoveImageRequest { image: Some(spec) }).await?;
        tracing::info!(image = id, "removed an unused image");
    }
    if chosen.missing > 0 {
        let message = format!(
            "Failed to garbage collect required amount of images. Attempted to free {} bytes, but only found {} bytes eligible to free.",
            chosen.wanted,
            chosen.wanted - chosen.missing
        );
        context.recorder.event(
            &node_reference(&context.config.node_name),
            EventType::Warning,
            "FreeDiskSpaceFailed",
            message,
        );
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    used: Option<Timestamp>,
}

struct Candidate {
    id: String,
    size: u64,
    seen: Seen,
    in_use: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    ids: Vec<String>,
    wanted: u64,
    missing: u64,
}

/// The images to remove, those unused for longest first, until enough is freed.
fn choose(mut images: Vec<Candidate>, usage: (u64, u64), (high, low): (u8, u8), now: Timestamp) -> Chosen {
    let (used, total) = usage;
    if total == 0 || used * 100 < total * u64::from(high) {
        return Chosen::default();
    }
    let wanted = used.saturating_sub(total * u64::from(low) / 100);
    let mut chosen = Chosen { wanted, missing: wanted, ids: Vec::new() };
    images.sort_by_key(|image| (image.seen.used, image.seen.first));
    let min_age = jiff::SignedDuration::try_from(MIN_AGE).unwrap_or_default();
    for image in images {
        if chosen.missing == 0 {
            break;
        }
        if image.in_use || now.duration_since(image.seen.first) < min_age {
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
        let image = |id: &str, used, in_use| Candidate {
            id: id.to_owned(),
            size: 10,
            seen: Seen { first: at(0), used },
            in_use,
        };
        let images = || {
            vec![
                image("busy", Some(at(1000)), true),
                image("late", Some(at(900)), false),
                image("never", None, false),
                image("early", Some(at(100)), false),
            ]
        };
        assert_eq!(choose(images(), (80, 100), (85, 80), at(1000)).ids, Vec::<String>::new());
        assert_eq!(choose(images(), (95, 100), (85, 80), at(1000)).ids, ["never", "early"]);
        assert_eq!(choose(images(), (99, 100), (85, 60), at(1000)).missing, 9);
    }
}
